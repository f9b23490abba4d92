"""The kernel of the backward pass through the convolution.

``convolution_gradient_kernel`` mirrors ``convolve_kernel``: the gradient of the map, recomputed
from the map and its rows' normalizers, goes into scratch memory and is convolved with the turned
kernel. Sums over programs, for weights, bias and beta, are written in parts and added up
afterwards: nothing is added atomically, and the same input gives the same bits.

Letters as in :mod:`evolving_attention.attention.functional`.
"""

import triton
import triton.language as tl

from evolving_attention.attention.kernels.triton.tiles import (
    attendable,
    mix,
    multiply,
    neighbours,
    products_by_head,
    read,
    scratch_places,
    softmax_gradient,
    write,
)


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
