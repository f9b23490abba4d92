"""The forward pass: bands of query rows through all of the layer, in scratch memory that fits the cache.

Shape letters and arguments: see arguments.py.
"""

import numpy as np

from evolving_attention.attention.kernels.banded.arguments import Layer, Results, Sizes
from evolving_attention.attention.kernels.banded.jit import jit
from evolving_attention.attention.kernels.banded.lines import (
    activate_and_mix,
    blend,
    drop,
    open_keys,
    restrict,
    softmax_line,
)
from evolving_attention.attention.kernels.banded.tiles import combine, correlate

__all__ = ["forward", "forward_scratch", "keep_last_lines", "mix_lines", "transpose_into"]


def forward_scratch(sizes: Sizes) -> int:
    """Return how many numbers of scratch memory the forward pass needs."""
    H, N, _, E, V, K, P, S, R, *_ = sizes
    return H * N * E + H * (E + V) * P + H * (R + K - 1) * S + H * P + R * P * H + P


@jit
def transpose_into(scratch, start, source, M, width, P):
    """Write ``[M, width]`` as ``[width, P]``, 0 behind the last key."""
    zero = scratch.dtype.type(0)
    for e in range(width):
        for j in range(M):
            scratch[start + e * P + j] = source[j, e]
        for j in range(M, P):
            scratch[start + e * P + j] = zero


@jit
def keep_last_lines(scratch, start, heads, lines, kept, width):
    """Move the last lines of each head's buffer to its beginning."""
    for h in range(heads):
        begin = start + h * lines * width
        end = begin + (lines - kept) * width
        for j in range(kept * width):
            scratch[begin + j] = scratch[end + j]


@jit
def mix_lines(layer, sizes, b, first, last, band, scratch, queries, keys, mixed, open_line):
    """Write lines ``first`` to ``last`` of the mixed map into the buffer whose first line is
    ``band - top``: logits, bias, the previous map's share, 0 where masked or outside.
    """
    H, N, M, E, P, S = sizes.H, sizes.N, sizes.M, sizes.E, sizes.P, sizes.S
    lines = sizes.R + sizes.K - 1
    zero = scratch.dtype.type(0)
    begin, end = max(first, 0), min(last, N)
    for h in range(H):
        top = mixed + (h * lines + sizes.top - band) * S + sizes.left  # of row 0
        for i in range(first, last):
            if i < 0 or i >= N:
                scratch[top + i * S : top + i * S + M] = zero
        if end > begin:
            combine(
                scratch, top + begin * S, S, end - begin, scratch, queries + (h * N + begin) * E,
                E, 1, scratch, keys + h * E * P, layer.steps, E, P, 0,
            )  # fmt: skip
        for i in range(begin, end):
            line = scratch[top + i * S : top + i * S + M]
            if layer.map_bias.shape[0]:
                added = layer.map_bias[b % layer.map_bias.shape[0], h % layer.map_bias.shape[1], i]
                for j in range(M):
                    line[j] += added[j]
            if layer.previous.shape[0]:
                blend(line, layer.previous[b, h, i], layer.numbers[0])
            if layer.mask.shape[0]:
                open_keys(layer.mask, b, h, i, scratch[open_line : open_line + P], M)
                restrict(line, scratch[open_line : open_line + M])


@jit
def forward(layer, results, sizes, scratch, seed, threshold, first_b, last_b, first_i, last_i):
    """Compute rows ``first_i`` to ``last_i`` of some samples."""
    H, N, M, E, V, K = sizes.H, sizes.N, sizes.M, sizes.E, sizes.V, sizes.K
    P, S, R, top, left = sizes.P, sizes.S, sizes.R, sizes.top, sizes.left
    lines, bottom = R + K - 1, K - 1 - top
    convolves = layer.weight.size > 0
    scale, beta, slope, kept = (
        layer.numbers[2],
        layer.numbers[1],
        layer.numbers[3],
        layer.numbers[4],
    )
    zero, one = scratch.dtype.type(0), scratch.dtype.type(1)
    queries = 0
    keys = queries + H * N * E
    values = keys + H * E * P
    mixed = values + H * V * P
    convolved = mixed + H * lines * S
    shares = convolved + H * P
    open_at = shares + H * R * P
    open_line = scratch[open_at : open_at + P]
    scratch[mixed : mixed + H * lines * S] = zero
    open_line[:M] = one
    open_line[M:] = zero
    flat_output = results.output.reshape(-1)
    flat_stats = results.stats.reshape(-1)
    flat_signs = results.signs.reshape(-1)
    for b in range(first_b, last_b):
        for h in range(H):
            for i in range(N):
                for e in range(E):
                    scratch[queries + (h * N + i) * E + e] = scale * layer.query[b, h, i, e]
            transpose_into(scratch, keys + h * E * P, layer.key[b, h], M, E, P)
            transpose_into(scratch, values + h * V * P, layer.value[b, h], M, V, P)
        for band in range(first_i, last_i, R):
            rows = min(R, last_i - band)
            if band > first_i:
                keep_last_lines(scratch, mixed, H, lines, K - 1, S)
            first = band - top if band == first_i else band + bottom
            mix_lines(
                layer, sizes, b, first, band + rows + bottom, band, scratch,
                queries, keys, mixed, open_at,
            )  # fmt: skip
            for row in range(rows):
                i = band + row
                if convolves:
                    combine(
                        scratch, convolved, P, H, layer.weight, 0, H * K * K, 1,
                        scratch, mixed + row * S, layer.offsets, H * K * K, P, 0,
                    )  # fmt: skip
                for h in range(H):
                    any_open = open_keys(layer.mask, b, h, i, open_line, M)
                    at = mixed + (h * lines + row + top) * S + left
                    line = scratch[shares + (h * R + row) * P : shares + (h * R + row + 1) * P]
                    if convolves:
                        own = scratch[convolved + h * P : convolved + (h + 1) * P]
                        activate_and_mix(
                            own, scratch[at : at + P], layer.bias[h], slope, beta,
                            flat_signs, ((b * H + h) * N + i) * (P // 16),
                        )  # fmt: skip
                        restrict(own, open_line)
                        line[:] = own
                    else:
                        line[:] = scratch[at : at + P]
                    results.own_map[b, h, i] = line[:M]
                    softmax_line(line, open_line, any_open, flat_stats, ((b * H + h) * N + i) * 2)
                    if kept != one:
                        drop(line, seed, (b * H + h) * N + i, threshold, kept)
            for h in range(H):
                results.output[b, h, band : band + rows] = zero
                correlate(
                    flat_output, ((b * H + h) * N + band) * V, V, rows, scratch,
                    shares + h * R * P, P, scratch, values + h * V * P, layer.steps, V, 1, 0, 0, P,
                )  # fmt: skip
