"""The kernels of the forward pass.

``reach_kernel`` finds where each query's keys end, so that tiles beyond are skipped (half of a
causal map). ``convolve_kernel`` makes a convolved map: a program owns some rows of a sample's map
and all their columns and heads; it goes through the columns tile by tile, puts the mix of a tile
into scratch memory with the heads side by side, and convolves it from there by small matrix
products, one for each neighbour. ``attend_kernel`` takes softmax and values, and makes the map
itself where nothing is convolved; a program owns some rows of one head's map.

Letters as in :mod:`evolving_attention.attention.functional`.
"""

import triton
import triton.language as tl

from evolving_attention.attention.kernels.triton.tiles import (
    attendable,
    blend,
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
def reach_kernel(mask, reach, N, M, HEADS, COLUMNS: tl.constexpr):
    """Write for a row of the mask the number of columns up to the last that is attended."""
    row = tl.program_id(0) % N
    batch = tl.program_id(0) // N // HEADS
    head = tl.program_id(0) // N % HEADS
    columns = tl.arange(0, COLUMNS)
    last = tl.zeros([COLUMNS], tl.int32)
    for start in range(0, M, COLUMNS):
        column = start + columns
        allowed = attendable(mask, batch, head, row, column, column < M)
        last = tl.maximum(last, tl.where(allowed, column + 1, 0))
    tl.store(reach + tl.program_id(0), tl.max(last, axis=0))


@triton.jit
def convolve_kernel(
    query,
    key,
    previous_map,
    map_bias,
    mask,
    reach,
    shares,
    weights,
    bias,
    own_map,
    signs,
    scratch,
    scale,
    B,
    H,
    N,
    M,
    E,
    top,
    left,
    K: tl.constexpr,
    SLOPE: tl.constexpr,
    HEADS: tl.constexpr,
    CHUNKS: tl.constexpr,
    DEPTH: tl.constexpr,
    GROUP: tl.constexpr,
    SLICE: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Write some rows of the convolved map, and the signs of the convolution for the backward."""
    OWN: tl.constexpr = ROWS - K + 1
    OUT: tl.constexpr = HEADS if HEADS > 16 else 16
    plane = scratch + tl.cast(tl.program_id(0), tl.int64) * (ROWS * 2 * COLUMNS * HEADS)
    alpha, beta = tl.load(shares), tl.load(shares + 1)
    pixel = tl.arange(0, ROWS * COLUMNS)
    pixel_row = pixel // COLUMNS
    out_head = tl.arange(0, OUT)[None, :]
    lag = K - 1 - left  # columns to the right that a window reads
    tiles = tl.cdiv(N, OWN)

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
            mix_into_scratch(
                query, key, previous_map, map_bias, mask, plane, scale, alpha, batch, first - top,
                start, H, N, M, E, HEADS, GROUP, SLICE, ROWS, COLUMNS, OPERAND, PRECISION,
            )  # fmt: skip
            tl.debug_barrier()
            column = start - lag + pixel % COLUMNS
            convolved = tl.zeros([ROWS * COLUMNS, OUT], tl.float32)
            for chunk in tl.range(0, CHUNKS, num_stages=3):
                window = neighbours(
                    plane, chunk, pixel_row, column - left, K, ROWS, COLUMNS, HEADS, DEPTH
                )
                inner = chunk * DEPTH + tl.arange(0, DEPTH)
                weight = tl.load(weights + inner[:, None] * OUT + out_head)
                convolved = multiply(window, weight, convolved, OPERAND, PRECISION)
            if bias is not None:
                convolved += tl.load(bias + out_head, mask=out_head < H, other=0).to(tl.float32)

            out_column = column[:, None]
            inside = owned & (out_column >= 0) & (out_column < M)
            if signs is not None:
                bits = tl.sum(tl.where(inside & (convolved > 0), 1 << out_head, 0), axis=1)
                place = (tl.cast(batch, tl.int64) * N + first + pixel_row) * M + column
                seen = (pixel_row < OWN) & (first + pixel_row < N) & (column >= 0) & (column < M)
                tl.store(signs + place, bits, mask=seen)
            here = scratch_places(
                plane, pixel_row[:, None] + top, out_column, out_head, COLUMNS, HEADS
            )
            mixed = tl.load(here, mask=inside, other=0).to(tl.float32)
            convolved = tl.where(convolved > 0, convolved, SLOPE * convolved)
            allowed = attendable(mask, batch, out_head, out_row, out_column, inside)
            values = tl.where(allowed, blend(mixed, convolved, beta), 0.0)
            write(own_map, batch, out_head, out_row, out_column, values, inside)
            tl.debug_barrier()
        for start in range(tl.cdiv(stop + lag, COLUMNS) * COLUMNS, M + lag, COLUMNS):
            out_column = start - lag + pixel[:, None] % COLUMNS
            inside = owned & (out_column >= 0) & (out_column < M)
            write(own_map, batch, out_head, out_row, out_column, 0.0, inside)


@triton.jit
def mix_into_scratch(
    query,
    key,
    previous_map,
    map_bias,
    mask,
    plane,
    scale,
    alpha,
    batch,
    first,
    start,
    H,
    N,
    M,
    E,
    HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    SLICE: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Write a tile of all heads' mix into the scratch, 0 outside of the map and where masked."""
    rows, columns = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    row, column = first + rows[None, :, None], start + columns[None, None, :]
    for group in range(0, HEADS, GROUP):
        heads = group + tl.arange(0, GROUP)
        head = heads[:, None, None]
        inside_rows = (head < H) & (row >= 0) & (row < N)
        # As rows of the right operand, the columns stand in its last axis too.
        logits = scale * products_by_head(
            query, key, batch, head, row, column, inside_rows, (head < H) & (column < M), E,
            SLICE, OPERAND, PRECISION,
        )  # fmt: skip
        allowed = attendable(mask, batch, head, row, column, inside_rows & (column < M))
        mixed = mix(logits, previous_map, map_bias, alpha, batch, head, row, column, allowed)
        pointers = scratch_places(
            plane,
            rows[:, None, None],
            start + columns[None, :, None],
            heads[None, None, :],
            COLUMNS,
            HEADS,
        )
        tl.store(pointers, tl.permute(mixed, (1, 2, 0)))


@triton.jit
def attend_kernel(
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
    output,
    normalizer,
    scale,
    dropout,
    H,
    N,
    M,
    E,
    V,
    MAKES_MAP: tl.constexpr,
    E_WIDTH: tl.constexpr,
    V_WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Write some rows of a head's output, and of its map where nothing is convolved."""
    tiles = tl.cdiv(N, ROWS)
    batch_head = tl.program_id(0) // tiles
    batch, head = batch_head // H, batch_head % H
    rows = tl.program_id(0) % tiles * ROWS + tl.arange(0, ROWS)
    row = rows[:, None]
    across = tl.arange(0, V_WIDTH)[None, :]
    alpha = tl.load(shares)
    stop = M
    if mask is not None:
        stop = tl.max(read(reach, batch, head, rows, 0, rows < N), 0)
    if MAKES_MAP:
        within = tl.arange(0, E_WIDTH)
        query_tile = read(
            query, batch, head, row, within[None, :], (row < N) & (within < E)[None, :]
        )
    highest = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    sums = tl.zeros([ROWS, V_WIDTH], tl.float32)

    for start in range(0, stop, COLUMNS):
        columns = start + tl.arange(0, COLUMNS)
        column = columns[None, :]
        inside = (row < N) & (column < M)
        allowed = attendable(mask, batch, head, row, column, inside)
        if MAKES_MAP:
            key_inside = (within < E)[:, None] & (column < M)
            key_tile = read(key, batch, head, column, within[:, None], key_inside)
            none = tl.zeros([ROWS, COLUMNS], tl.float32)
            logits = scale * multiply(query_tile, key_tile, none, OPERAND, PRECISION)
            logits = mix(logits, previous_map, map_bias, alpha, batch, head, row, column, allowed)
            logits = logits.to(own_map[0].dtype.element_ty)  # the backward pass reads it so
            write(own_map, batch, head, row, column, logits, inside)
            logits = logits.to(tl.float32)
        else:
            logits = read_float(own_map, batch, head, row, column, inside)
        logits = tl.where(allowed, logits, float("-inf"))
        new_highest = tl.maximum(highest, tl.max(logits, 1))
        finite = tl.where(new_highest == float("-inf"), 0.0, new_highest)  # nothing yet: no NaN
        shares_tile = tl.exp(logits - finite[:, None])
        shrink = tl.exp(highest - finite)
        total = total * shrink + tl.sum(shares_tile, 1)
        shares_tile = dropped(shares_tile, seed, dropout, batch_head, row, column, M)
        value_inside = (columns < M)[:, None] & (across < V)
        value_tile = read(value, batch, head, columns[:, None], across, value_inside)
        sums = multiply(shares_tile, value_tile, sums * shrink[:, None], OPERAND, PRECISION)
        highest = new_highest

    total_or_one = tl.where(total > 0, total, 1.0)
    finite = tl.where(total > 0, highest, 0.0)
    write(output, batch, head, row, across, sums / total_or_one[:, None], (row < N) & (across < V))
    place = tl.cast(batch_head, tl.int64) * N + rows
    tl.store(normalizer + place, finite + tl.log(total_or_one), mask=rows < N)
    if MAKES_MAP:
        for start in range(tl.cdiv(stop, COLUMNS) * COLUMNS, M, COLUMNS):
            column = start + tl.arange(0, COLUMNS)[None, :]
            write(own_map, batch, head, row, column, 0.0, (row < N) & (column < M))
