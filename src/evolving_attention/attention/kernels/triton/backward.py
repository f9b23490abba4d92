"""The kernels of the backward pass: first the gradient of the mix, then those of what made it.

``convolution_gradient_kernel`` mirrors ``convolve_kernel``: the gradient of the map, recomputed
from the map and its rows' normalizers, goes into scratch memory and is convolved with the turned
kernel.
``query_gradient_kernel`` (a program owns rows) and ``key_gradient_kernel`` (a program owns columns)
follow. Sums over programs, for the weights and the shares, are written in parts and added up
afterwards: nothing is added atomically, and the same input gives the same bits.

Letters as in :mod:`evolving_attention.attention.functional`.
"""

import triton
import triton.language as tl

from evolving_attention.attention.kernels.triton.tiles import (
    attendable,
    dropped,
    mix,
    multiply,
    neighbours,
    products_by_head,
    read,
    read_float,
    scratch_places,
    write,
)


@triton.jit
def softmax_gradient(
    products, own_map, own_gradient, normalizer, overlap, seed, dropout, batch, head, H, N, M, row,
    column, allowed,
):  # fmt: skip
    """Return the gradient of the map, from ``products`` of the output's gradient and the values."""
    place = (tl.cast(batch, tl.int64) * H + head) * N + row
    inside = (row >= 0) & (row < N) & (head < H)
    shares = tl.exp(
        read_float(own_map, batch, head, row, column, allowed)
        - tl.load(normalizer + place, mask=inside, other=0)
    )
    products = dropped(products, seed, dropout, batch * H + head, row, column, M)
    gradient = shares * (products - tl.load(overlap + place, mask=inside, other=0))
    if own_gradient is not None:
        gradient += read_float(own_gradient, batch, head, row, column, allowed)
    return tl.where(allowed, gradient, 0.0)


@triton.jit
def convolution_gradient_kernel(
    query,
    key,
    value,
    previous_map,
    map_bias,
    mask,
    reach,
    shares,
    weights,
    own_map,
    signs,
    seed,
    output_gradient,
    own_gradient,
    normalizer,
    overlap,
    mixed_gradient,
    weight_parts,
    bias_parts,
    beta_parts,
    scratch,
    scale,
    dropout,
    B,
    H,
    N,
    M,
    E,
    V,
    top,
    left,
    K: tl.constexpr,
    SLOPE: tl.constexpr,
    HEADS: tl.constexpr,
    CHUNKS: tl.constexpr,
    DEPTH: tl.constexpr,
    GROUP: tl.constexpr,
    E_SLICE: tl.constexpr,
    V_SLICE: tl.constexpr,
    SPLITS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Write some rows of the mix's gradient, and parts of those of the weights, bias and beta.

    ``top`` and ``left`` are the padding of the turned kernel. The scratch has three planes: the
    gradient of the convolution (but for beta), of the map, and the mix.
    """
    OWN: tl.constexpr = ROWS - K + 1
    OUT: tl.constexpr = HEADS if HEADS > 16 else 16
    PLANE: tl.constexpr = ROWS * 2 * COLUMNS * HEADS
    program = tl.cast(tl.program_id(0), tl.int64)
    plane = scratch + program * (3 * PLANE)
    alpha, beta = tl.load(shares), tl.load(shares + 1)
    pixel = tl.arange(0, ROWS * COLUMNS)
    pixel_row = pixel // COLUMNS
    heads = tl.arange(0, OUT)
    out_head = heads[None, :]
    lag = K - 1 - left
    tiles = tl.cdiv(N, OWN)
    bias_sum = tl.zeros([OUT], tl.float32)
    beta_sum = tl.zeros([OUT], tl.float32)

    for tile in range(tl.program_id(0), B * tiles, tl.num_programs(0)):
        batch = tile // tiles
        first = tile % tiles * OWN
        out_row = first + pixel_row[:, None]
        owned = (pixel_row[:, None] < OWN) & (out_row < N) & (out_head < H)
        stop = M
        if mask is not None:
            stop = tl.max(tl.max(read(reach, batch, out_head, out_row, 0, owned), 1), 0)
        # The compiler must not fetch the scratch ahead of the stores: no software pipeline here.
        for start in tl.range(0, stop + lag, COLUMNS, num_stages=1):
            gradients_into_scratch(
                query, key, value, previous_map, map_bias, mask, own_map, signs, seed,
                output_gradient, own_gradient, normalizer, overlap, plane, scale, alpha, dropout,
                batch, first - top, start, H, N, M, E, V, SLOPE, HEADS, GROUP, E_SLICE, V_SLICE,
                ROWS, COLUMNS, OPERAND, PRECISION,
            )  # fmt: skip
            tl.debug_barrier()
            column = start - lag + pixel % COLUMNS
            out_column = column[:, None]
            inside = owned & (out_column >= 0) & (out_column < M)
            here = scratch_places(
                plane, pixel_row[:, None] + top, out_column, out_head, COLUMNS, HEADS
            )
            mixed = tl.load(here + 2 * PLANE, mask=inside, other=0)
            convolved = tl.zeros([ROWS * COLUMNS, OUT], tl.float32)
            for chunk in tl.range(0, CHUNKS, num_stages=3):
                window = neighbours(
                    plane, chunk, pixel_row, column - left, K, ROWS, COLUMNS, HEADS, DEPTH
                )
                place = (chunk * DEPTH + tl.arange(0, DEPTH))[:, None] * OUT + out_head
                weight = tl.load(weights + place)
                convolved = multiply(window, weight, convolved, OPERAND, PRECISION)
                if weight_parts is not None:
                    part = weight_parts + program * (CHUNKS * DEPTH * OUT) + place
                    sums = tl.load(part) + products_over_pixels(
                        window, mixed, SPLITS, OPERAND, PRECISION
                    )
                    tl.store(part, sums)
            gradient = tl.load(here + PLANE, mask=inside, other=0).to(tl.float32)
            if weight_parts is not None:
                bias_sum += tl.sum(tl.load(here, mask=inside, other=0).to(tl.float32), 0)
                beta_sum += tl.sum(gradient * mixed.to(tl.float32), 0)
            allowed = attendable(mask, batch, out_head, out_row, out_column, inside)
            gradient = tl.where(allowed, (1 - beta) * gradient + beta * convolved, 0.0)
            write(mixed_gradient, batch, out_head, out_row, out_column, gradient, inside)
            tl.debug_barrier()
        for start in range(tl.cdiv(stop + lag, COLUMNS) * COLUMNS, M + lag, COLUMNS):
            out_column = start - lag + pixel[:, None] % COLUMNS
            inside = owned & (out_column >= 0) & (out_column < M)
            write(mixed_gradient, batch, out_head, out_row, out_column, 0.0, inside)

    if weight_parts is not None:
        tl.store(bias_parts + program * OUT + heads, bias_sum)
        tl.store(beta_parts + program * OUT + heads, beta_sum)


@triton.jit
def products_over_pixels(
    left, right, SPLITS: tl.constexpr, OPERAND: tl.constexpr, PRECISION: tl.constexpr
):
    """Return ``left^T @ right``: long sums of few entries, so the warps divide the pixels."""
    pixels: tl.constexpr = left.shape[0] // SPLITS
    left = tl.reshape(left, [SPLITS, pixels, left.shape[1]])
    right = tl.reshape(right, [SPLITS, pixels, right.shape[1]])
    sums = tl.zeros([SPLITS, left.shape[2], right.shape[2]], tl.float32)
    sums = multiply(tl.permute(left, (0, 2, 1)), right, sums, OPERAND, PRECISION)
    return tl.sum(sums, 0)


@triton.jit
def gradients_into_scratch(
    query, key, value, previous_map, map_bias, mask, own_map, signs, seed, output_gradient,
    own_gradient, normalizer, overlap, plane, scale, alpha, dropout, batch, first, start, H, N, M,
    E, V,
    SLOPE: tl.constexpr,
    HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    E_SLICE: tl.constexpr,
    V_SLICE: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Write a tile of the three planes, 0 outside of the map and where masked."""
    PLANE: tl.constexpr = ROWS * 2 * COLUMNS * HEADS
    rows, columns = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    row, column = first + rows[None, :, None], start + columns[None, None, :]
    for group in range(0, HEADS, GROUP):
        heads = group + tl.arange(0, GROUP)
        head = heads[:, None, None]
        inside_rows = (head < H) & (row >= 0) & (row < N)
        inside_columns = (head < H) & (column < M)
        allowed = attendable(mask, batch, head, row, column, inside_rows & inside_columns)
        pointers = scratch_places(
            plane,
            rows[:, None, None],
            start + columns[None, :, None],
            heads[None, None, :],
            COLUMNS,
            HEADS,
        )
        logits = scale * products_by_head(
            query, key, batch, head, row, column, inside_rows, inside_columns, E, E_SLICE,
            OPERAND, PRECISION,
        )  # fmt: skip
        mixed = mix(logits, previous_map, map_bias, alpha, batch, head, row, column, allowed)
        tl.store(pointers + 2 * PLANE, tl.permute(mixed, (1, 2, 0)))

        products = products_by_head(
            output_gradient, value, batch, head, row, column, inside_rows, inside_columns, V,
            V_SLICE, OPERAND, PRECISION,
        )  # fmt: skip
        gradient = softmax_gradient(
            products, own_map, own_gradient, normalizer, overlap, seed, dropout, batch, head, H, N,
            M, row, column, allowed,
        )  # fmt: skip
        tl.store(pointers + PLANE, tl.permute(gradient, (1, 2, 0)))
        if signs is not None:
            place = (tl.cast(batch, tl.int64) * N + row) * M + column
            inside = (row >= 0) & (row < N) & (column < M)
            bits = tl.load(signs + place, mask=inside, other=0).to(tl.int32)
            gradient = tl.where(((bits >> head) & 1) != 0, gradient, SLOPE * gradient)
        tl.store(pointers, tl.permute(gradient, (1, 2, 0)))


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
