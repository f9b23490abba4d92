"""The kernels of the backward pass through softmax and products: queries, keys, values, alpha.

``query_gradient_kernel`` (a program owns rows) comes first, ``key_gradient_kernel`` (a program owns
columns) last: it may turn the gradient of the mix into the previous map's where it stands. Sums
over programs are written in parts and added up afterwards: nothing is added atomically, and the
same input gives the same bits.

Letters as in :mod:`evolving_attention.attention.functional`.
"""

import triton
import triton.language as tl

from evolving_attention.attention.kernels.triton.tiles import (
    attendable,
    dropped,
    multiply,
    read,
    read_float,
    softmax_gradient,
    write,
)


@triton.jit
def query_gradient_kernel(
    query,
    key,
    value,
    previous_map,
    map_bias,
    mask,
    reach,
    shares,
    own_map,
    seed,
    output_gradient,
    own_gradient,
    normalizer,
    overlap,
    mixed_gradient,
    query_gradient,
    alpha_parts,
    scale,
    dropout,
    H,
    N,
    M,
    E,
    V,
    FROM_MAP: tl.constexpr,
    E_WIDTH: tl.constexpr,
    V_WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Write some rows of a head's query gradient, a part of alpha's, and first the mix's gradient.

    The mix's gradient is that of the map where nothing is convolved (``FROM_MAP``), and is there
    already where something is.
    """
    tiles = tl.cdiv(N, ROWS)
    batch_head = tl.program_id(0) // tiles
    batch, head = batch_head // H, batch_head % H
    rows = tl.program_id(0) % tiles * ROWS + tl.arange(0, ROWS)
    row = rows[:, None]
    within = tl.arange(0, E_WIDTH)
    query_inside = (row < N) & (within < E)[None, :]
    alpha = tl.load(shares)
    stop = M
    if mask is not None:
        stop = tl.max(read(reach, batch, head, rows, 0, rows < N), 0)
    if FROM_MAP:
        across = tl.arange(0, V_WIDTH)
        arriving = read(
            output_gradient, batch, head, row, across[None, :], (row < N) & (across < V)[None, :]
        )
    if alpha_parts is not None:
        query_tile = read(query, batch, head, row, within[None, :], query_inside)
        alpha_sum = tl.zeros([ROWS], tl.float32)
    sums = tl.zeros([ROWS, E_WIDTH], tl.float32)
    none = tl.zeros([ROWS, COLUMNS], tl.float32)

    for start in range(0, stop, COLUMNS):
        column = start + tl.arange(0, COLUMNS)[None, :]
        inside = (row < N) & (column < M)
        allowed = attendable(mask, batch, head, row, column, inside)
        if FROM_MAP:
            value_inside = (across < V)[:, None] & (column < M)
            value_tile = read(value, batch, head, column, across[:, None], value_inside)
            gradient = softmax_gradient(
                multiply(arriving, value_tile, none, OPERAND, PRECISION), own_map, own_gradient,
                normalizer, overlap, seed, dropout, batch, head, H, N, M, row, column, allowed,
            )  # fmt: skip
            write(mixed_gradient, batch, head, row, column, gradient, inside)
        else:
            gradient = read_float(mixed_gradient, batch, head, row, column, inside)
        key_inside = (within < E)[:, None] & (column < M)
        key_tile = read(key, batch, head, column, within[:, None], key_inside)
        if alpha_parts is not None:
            logits = scale * multiply(query_tile, key_tile, none, OPERAND, PRECISION)
            if map_bias is not None:
                logits += read_float(map_bias, batch, head, row, column, allowed)
            handed = read_float(previous_map, batch, head, row, column, allowed)
            alpha_sum += tl.sum(tl.where(allowed, gradient * (handed - logits), 0.0), 1)
        sums = multiply(
            gradient.to(mixed_gradient[0].dtype.element_ty),
            tl.trans(key_tile),
            sums,
            OPERAND,
            PRECISION,
        )

    share = scale
    if previous_map is not None:
        share = scale * (1 - alpha)
    write(query_gradient, batch, head, row, within[None, :], share * sums, query_inside)
    if alpha_parts is not None:
        tl.store(alpha_parts + tl.program_id(0), tl.sum(alpha_sum, 0))
    if FROM_MAP:
        for start in range(tl.cdiv(stop, COLUMNS) * COLUMNS, M, COLUMNS):
            column = start + tl.arange(0, COLUMNS)[None, :]
            write(mixed_gradient, batch, head, row, column, 0.0, (row < N) & (column < M))


@triton.jit
def key_gradient_kernel(
    query,
    mask,
    reach,
    shares,
    own_map,
    seed,
    output_gradient,
    normalizer,
    mixed_gradient,
    key_gradient,
    value_gradient,
    scale,
    dropout,
    H,
    N,
    M,
    E,
    V,
    HAS_PREVIOUS: tl.constexpr,
    TO_PREVIOUS: tl.constexpr,
    E_WIDTH: tl.constexpr,
    V_WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Write some columns' key and value gradients.

    With ``TO_PREVIOUS`` the mix's gradient becomes the previous map's in its place.
    """
    tiles = tl.cdiv(M, COLUMNS)
    batch_head = tl.program_id(0) // tiles
    batch, head = batch_head // H, batch_head % H
    first = tl.program_id(0) % tiles * COLUMNS
    columns = first + tl.arange(0, COLUMNS)
    within, across = tl.arange(0, E_WIDTH)[None, :], tl.arange(0, V_WIDTH)[None, :]
    alpha = tl.load(shares)
    key_sums = tl.zeros([COLUMNS, E_WIDTH], tl.float32)
    value_sums = tl.zeros([COLUMNS, V_WIDTH], tl.float32)
    for start in range(0, N, ROWS):
        rows = start + tl.arange(0, ROWS)
        live = N > 0
        if mask is not None:
            live = tl.max(read(reach, batch, head, rows, 0, rows < N), 0) > first
        if live:
            key_sums, value_sums = add_rows(
                key_sums, value_sums, query, mask, own_map, seed, output_gradient, normalizer,
                mixed_gradient, alpha, dropout, batch, head, rows, columns, within, across, H, N, M,
                E, V, TO_PREVIOUS, OPERAND, PRECISION,
            )  # fmt: skip
    share = scale
    if HAS_PREVIOUS:
        share = scale * (1 - alpha)
    column = columns[:, None]
    inside = column < M
    write(key_gradient, batch, head, column, within, share * key_sums, inside & (within < E))
    write(value_gradient, batch, head, column, across, value_sums, inside & (across < V))


@triton.jit
def add_rows(
    key_sums, value_sums, query, mask, own_map, seed, output_gradient, normalizer, mixed_gradient,
    alpha, dropout, batch, head, rows, columns, within, across, H, N, M, E, V,
    TO_PREVIOUS: tl.constexpr,
    OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Add what a tile of rows gives to the key and value gradients."""
    row, column = rows[:, None], columns[None, :]
    inside = (row < N) & (column < M)
    allowed = attendable(mask, batch, head, row, column, inside)
    place = (tl.cast(batch, tl.int64) * H + head) * N + row
    shares = tl.exp(
        read_float(own_map, batch, head, row, column, allowed)
        - tl.load(normalizer + place, mask=row < N, other=0)
    )
    shares = dropped(
        tl.where(allowed, shares, 0.0), seed, dropout, batch * H + head, row, column, M
    )
    arriving = read(output_gradient, batch, head, row, across, (row < N) & (across < V))
    value_sums = multiply(
        tl.trans(shares).to(arriving.dtype), arriving, value_sums, OPERAND, PRECISION
    )
    gradient = read(mixed_gradient, batch, head, row, column, inside)
    query_tile = read(query, batch, head, row, within, (row < N) & (within < E))
    key_sums = multiply(tl.trans(gradient), query_tile, key_sums, OPERAND, PRECISION)
    if TO_PREVIOUS:
        write(mixed_gradient, batch, head, row, column, alpha * gradient.to(tl.float32), inside)
    return key_sums, value_sums
