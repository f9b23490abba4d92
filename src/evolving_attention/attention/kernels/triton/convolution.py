"""The kernel that makes a convolved map.

A program owns some rows of a sample's map and all their columns and heads. It goes through the
columns tile by tile, puts the mix of a tile into scratch memory with the heads side by side, and
convolves it from there by small matrix products, one for each neighbour.

Letters as in :mod:`evolving_attention.attention.functional`.
"""

import triton
import triton.language as tl

from evolving_attention.attention.kernels.triton.tiles import (
    attendable,
    blend,
    mix,
    multiply,
    neighbours,
    products_by_head,
    read,
    scratch_places,
    write,
)


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
