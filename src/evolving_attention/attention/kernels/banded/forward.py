"""The forward pass: bands of query rows, in scratch memory that fits the cache.

Shape letters and arguments: see arguments.py.
"""

from evolving_attention.attention.kernels.banded.arguments import Sizes
from evolving_attention.attention.kernels.banded.jit import jit
from evolving_attention.attention.kernels.banded.lines import drop, evolve, exponentiate, mix
from evolving_attention.attention.kernels.banded.tiles import combine, correlate
from evolving_attention.attention.kernels.banded.vectors import never_inline

__all__ = [
    "bias_start",
    "forward",
    "forward_scratch",
    "keep_last_lines",
    "mix_lines",
    "prepare_sample",
    "row_start",
]


def forward_scratch(sizes: Sizes) -> int:
    """Return how many numbers of scratch memory the forward pass needs."""
    H, N, _, E, V, K, P, S, R, *_ = sizes
    return H * N * E + H * (E + V) * P + H * (R + K - 1) * S + H * P + H * R * P


@jit
def row_start(array, b, h, i):
    """Where a row begins in a flat array; an array of one sample, head or row serves all."""
    samples, heads, rows, width = array.shape
    sample, head = b if samples > 1 else 0, h if heads > 1 else 0
    return ((sample * heads + head) * rows + (i if rows > 1 else 0)) * width


@jit
def bias_start(layer, b, h, i):
    """Where a row of the map's bias begins."""
    return b * layer.bias_steps[0] + h * layer.bias_steps[1] + i * layer.bias_steps[2]


@jit
def prepare_sample(layer, sizes, b, first, last, scratch, queries, keys, values):
    """Write scaled queries, and keys and values the other way round, 0 behind the last key."""
    never_inline()
    N, M, E, V, P = sizes.N, sizes.M, sizes.E, sizes.V, sizes.P
    zero, scale = scratch.dtype.type(0), layer.numbers[2]
    for h in range(sizes.H):
        for i in range(max(first, 0), min(last, N)):
            for e in range(E):
                scratch[queries + (h * N + i) * E + e] = scale * layer.query[b, h, i, e]
        for e in range(E):
            at = keys + (h * E + e) * P
            for j in range(M):
                scratch[at + j] = layer.key[b, h, j, e]
            for j in range(M, P):
                scratch[at + j] = zero
        for e in range(V):
            at = values + (h * V + e) * P
            for j in range(M):
                scratch[at + j] = layer.value[b, h, j, e]
            for j in range(M, P):
                scratch[at + j] = zero


@jit
def keep_last_lines(scratch, start, heads, lines, kept, width):
    """Move the last lines of each head's buffer to its beginning."""
    for h in range(heads):
        begin = start + h * lines * width
        end = begin + (lines - kept) * width
        for j in range(kept * width):
            scratch[begin + j] = scratch[end + j]


@jit
def mix_lines(layer, sizes, b, first, last, band, scratch, queries, keys, mixed):
    """Write rows ``first`` to ``last`` of the mixed map, 0 outside the map, into the buffer.

    The buffer's first line is row ``band - top``.
    """
    never_inline()
    H, N, M, E, P, S = sizes.H, sizes.N, sizes.M, sizes.E, sizes.P, sizes.S
    zero, alpha = scratch.dtype.type(0), layer.numbers[0]
    begin, end = max(first, 0), min(last, N)
    previous, mask = layer.previous.reshape(-1), layer.mask.reshape(-1)
    for h in range(H):
        top = mixed + (h * (sizes.R + sizes.K - 1) + sizes.top - band) * S + sizes.left  # row 0
        for i in range(first, last):
            if i < 0 or i >= N:
                for j in range(M):
                    scratch[top + i * S + j] = zero
        if end > begin:
            combine(
                scratch, top + begin * S, S, end - begin, scratch, queries + (h * N + begin) * E,
                E, 1, scratch, keys + h * E * P, layer.steps, E, P, 0,
            )  # fmt: skip
        for i in range(begin, end):
            mix(
                M, alpha, scratch, top + i * S, layer.map_bias, bias_start(layer, b, h, i),
                previous, row_start(layer.previous, b, h, i), mask, row_start(layer.mask, b, h, i),
            )  # fmt: skip


@jit
def forward(layer, results, sizes, scratch, seed, threshold, first_b, last_b, first_i, last_i):
    """Compute rows ``first_i`` to ``last_i`` of some samples."""
    H, N, M, E, V, K = sizes.H, sizes.N, sizes.M, sizes.E, sizes.V, sizes.K
    P, S, R, top, left = sizes.P, sizes.S, sizes.R, sizes.top, sizes.left
    lines, bottom = R + K - 1, K - 1 - top
    convolves = layer.weight.size > 0
    beta, slope, kept = layer.numbers[1], layer.numbers[3], layer.numbers[4]
    zero, one = scratch.dtype.type(0), scratch.dtype.type(1)
    half = scratch.dtype.type(0.5)
    queries = 0
    keys = queries + H * N * E
    values = keys + H * E * P
    mixed = values + H * V * P
    convolved = mixed + H * lines * S
    shares = convolved + H * P
    for j in range(mixed, shares + H * R * P):
        scratch[j] = zero
    output, own_map, signs, stats, mask = (
        results.output.reshape(-1),
        results.own_map.reshape(-1),
        results.signs.reshape(-1),
        results.stats.reshape(-1),
        layer.mask.reshape(-1),
    )
    for b in range(first_b, last_b):
        prepare_sample(
            layer, sizes, b, first_i - top, last_i + bottom, scratch, queries, keys, values
        )
        for band in range(first_i, last_i, R):
            rows = min(R, last_i - band)
            if band > first_i:
                keep_last_lines(scratch, mixed, H, lines, K - 1, S)
            first = band - top if band == first_i else band + bottom
            last = band + rows + bottom
            mix_lines(layer, sizes, b, first, last, band, scratch, queries, keys, mixed)
            for row in range(rows):
                i = band + row
                if convolves:
                    combine(
                        scratch, convolved, P, H, layer.weight, 0, H * K * K, 1,
                        scratch, mixed + row * S, layer.offsets, H * K * K, P, 0,
                    )  # fmt: skip
                for h in range(H):
                    own = mixed + (h * lines + row + top) * S + left
                    line = shares + (h * R + row) * P
                    largest, attends = evolve(
                        M, layer.bias[h], slope, beta,
                        scratch, convolved + h * P if convolves else own, scratch, own,
                        mask, row_start(layer.mask, b, h, i),
                        own_map, row_start(results.own_map, b, h, i),
                        scratch, line, signs, row_start(results.signs, b, h, i),
                    )  # fmt: skip
                    note = row_start(results.stats, b, h, i)
                    if attends > half:
                        (total,) = exponentiate(M, largest, scratch, line)
                        stats[note], stats[note + 1] = largest, one / total
                    else:
                        stats[note] = stats[note + 1] = zero
                        for j in range(P):
                            scratch[line + j] = zero
                    if kept != one:
                        drop(scratch, line, M, seed, (b * H + h) * N + i, threshold, kept)
            for h in range(H):
                at = row_start(results.output, b, h, band)
                for j in range(rows * V):
                    output[at + j] = zero
                correlate(
                    output, at, V, rows, scratch, shares + h * R * P, P,
                    scratch, values + h * V * P, layer.steps, V, 1, 0, 0, P,
                )  # fmt: skip
                for row in range(rows):
                    inverse = stats[row_start(results.stats, b, h, band + row) + 1]
                    for j in range(V):
                        output[at + row * V + j] *= inverse
