"""The backward pass, band by band: what the forward pass did not keep is made again.

The gradient of a map goes through the softmax, the activation and the convolution, which is a
convolution with the turned kernel, whose reach above is the kernel's reach below and whose reach
below is the one above. Shape letters and arguments: see arguments.py.
"""

import numpy as np

from evolving_attention.attention.kernels.banded.arguments import Gradients, Layer, Results, Sizes
from evolving_attention.attention.kernels.banded.forward import (
    keep_last_lines,
    mix_lines,
    transpose_into,
)
from evolving_attention.attention.kernels.banded.jit import jit
from evolving_attention.attention.kernels.banded.lines import (
    drop,
    open_keys,
    probabilities_again,
    restrict,
    through_activation,
    through_softmax,
)
from evolving_attention.attention.kernels.banded.tiles import combine, correlate

__all__ = ["backward", "backward_scratch"]


def backward_scratch(sizes: Sizes) -> int:
    """Return how many numbers of scratch memory the backward pass needs."""
    H, N, _, E, V, K, P, S, R, *_ = sizes
    lines = R + K - 1
    constant = H * N * E + 2 * H * (E + V) * P + P
    return constant + 2 * H * lines * S + H * lines * P + lines * P + H * R * P


@jit
def _map_gradients(
    layer, results, gradients, sizes, b, first, last, band, inner, scratch, seed, threshold,
    values, value_gradients, shares, maps, convolved, open_at,
):  # fmt: skip
    """Write gradients of rows ``first`` to ``last`` of the map, and of what was convolved."""
    H, N, M, V, K, P, S = sizes.H, sizes.N, sizes.M, sizes.V, sizes.K, sizes.P, sizes.S
    lines, bottom = sizes.R + K - 1, K - 1 - sizes.top
    right = K - 1 - sizes.left
    zero, one = scratch.dtype.type(0), scratch.dtype.type(1)
    slope, kept = layer.numbers[3], layer.numbers[4]
    begin, end = max(first, 0), min(last, N)
    open_line = scratch[open_at : open_at + P]
    flat_output = gradients.output.reshape(-1)
    flat_stats = results.stats.reshape(-1)
    flat_signs = results.signs.reshape(-1)
    for h in range(H):
        top = convolved + (h * lines + bottom - band) * S + right  # of row 0
        for i in range(first, last):
            if i < 0 or i >= N:
                scratch[top + i * S : top + i * S + P] = zero
        if end <= begin:
            continue
        combine(
            scratch, top + begin * S, S, end - begin,
            flat_output, ((b * H + h) * N + begin) * V, V, 1,
            scratch, values + h * V * P, layer.steps, V, P, 0,
        )  # fmt: skip
        for i in range(begin, end):
            row = (b * H + h) * N + i
            gradient = scratch[top + i * S : top + i * S + P]
            line = scratch[shares + (i - begin) * P : shares + (i - begin + 1) * P]
            own = maps + (h * lines + bottom - band + i) * P
            open_keys(layer.mask, b, h, i, open_line, M)
            probabilities_again(results.own_map[b, h, i], open_line, flat_stats, row * 2, line)
            if kept != one:
                drop(gradient, seed, row, threshold, kept)
            through_softmax(line, gradient)
            if gradients.own_map.shape[0]:
                given = gradients.own_map[b, h, i]
                for j in range(M):
                    gradient[j] += given[j]
            restrict(gradient, open_line)
            scratch[own : own + P] = gradient
            through_activation(gradient, slope, flat_signs, row * (P // 16))
            if kept != one:
                drop(line, seed, row, threshold, kept)
        start, stop = max(begin, inner[0]), min(end, inner[1])
        if stop > start:
            combine(
                scratch, value_gradients + h * V * P, P, V,
                flat_output, ((b * H + h) * N + start) * V, 1, V,
                scratch, shares + (start - begin) * P, layer.steps, stop - start, P, 1,
            )  # fmt: skip


@jit
def _share_gradient(left, right, open_line):
    """Sum of the products of two lines where they are open."""
    zero = left.dtype.type(0)
    total = zero
    for j in range(right.size):
        total += left[j] * right[j] if open_line[j] > zero else zero
    return np.float64(total)


@jit
def backward(
    layer, results, gradients, sizes, scratch, seed, threshold, learns_alpha, learns_beta,
    chunk, first_b, last_b, first_i, last_i,
):  # fmt: skip
    """Compute what rows ``first_i`` to ``last_i`` of some samples give to each gradient."""
    H, N, M, E, V, K = sizes.H, sizes.N, sizes.M, sizes.E, sizes.V, sizes.K
    P, S, R, top, left = sizes.P, sizes.S, sizes.R, sizes.top, sizes.left
    lines, bottom, right = R + K - 1, K - 1 - top, K - 1 - left
    convolves, mixes = layer.weight.size > 0, layer.previous.shape[0] > 0
    size = H * H * K * K
    zero, one = scratch.dtype.type(0), scratch.dtype.type(1)
    alpha, beta, scale = layer.numbers[0], layer.numbers[1], layer.numbers[2]
    own_share = one - alpha if mixes else one
    queries = 0
    keys = queries + H * N * E
    values = keys + H * E * P
    key_gradients = values + H * V * P
    value_gradients = key_gradients + H * E * P
    open_at = value_gradients + H * V * P
    mixed = open_at + P
    convolved = mixed + H * lines * S
    maps = convolved + H * lines * S
    shares = maps + H * lines * P
    gradient = shares + lines * P
    scratch[mixed : mixed + 2 * H * lines * S] = zero
    open_line = scratch[open_at : open_at + P]
    open_line[:M] = one
    open_line[M:] = zero
    flat_query = gradients.query.reshape(-1)
    flat_weight = gradients.weight.reshape(-1)
    for b in range(first_b, last_b):
        for h in range(H):
            for i in range(N):
                for e in range(E):
                    scratch[queries + (h * N + i) * E + e] = scale * layer.query[b, h, i, e]
            transpose_into(scratch, keys + h * E * P, layer.key[b, h], M, E, P)
            transpose_into(scratch, values + h * V * P, layer.value[b, h], M, V, P)
        scratch[key_gradients : key_gradients + H * (E + V) * P] = zero
        if convolves:
            gradients.weight[chunk, b] = zero
            gradients.bias[chunk, b] = zero
        alpha_gradient = beta_gradient = 0.0
        for band in range(first_i, last_i, R):
            rows = min(R, last_i - band)
            # The turned kernel reads from `bottom` rows above to `top` rows below.
            if band > first_i:
                keep_last_lines(scratch, convolved, H, lines, K - 1, S)
                keep_last_lines(scratch, maps, H, lines, K - 1, P)
            first = band - bottom if band == first_i else band + top
            _map_gradients(
                layer, results, gradients, sizes, b, first, band + rows + top, band,
                (first_i, last_i), scratch, seed, threshold,
                values, value_gradients, shares, maps, convolved, open_at,
            )  # fmt: skip
            if convolves:
                if band > first_i:
                    keep_last_lines(scratch, mixed, H, lines, K - 1, S)
                first = band - top if band == first_i else band + bottom
                mix_lines(
                    layer, sizes, b, first, band + rows + bottom, band, scratch,
                    queries, keys, mixed, open_at,
                )  # fmt: skip
                correlate(
                    flat_weight, (chunk * layer.query.shape[0] + b) * size, H * K * K, H,
                    scratch, convolved + bottom * S + right, lines * S,
                    scratch, mixed, layer.offsets, H * K * K, rows, S, S, P,
                )  # fmt: skip
            for h in range(H):
                for row in range(rows):
                    at = maps + (h * lines + bottom + row) * P
                    to = gradient + (h * R + row) * P
                    if not convolves:
                        scratch[to : to + P] = scratch[at : at + P]
                        continue
                    for j in range(P):
                        scratch[to + j] = (one - beta) * scratch[at + j]
                    start = convolved + (h * lines + bottom + row) * S + right
                    total = zero
                    for j in range(P):
                        total += scratch[start + j]
                    gradients.bias[chunk, b, h] += total
                    if learns_beta:
                        start = mixed + (h * lines + top + row) * S + left
                        for j in range(M):
                            beta_gradient -= np.float64(scratch[at + j] * scratch[start + j])
            if convolves:
                for row in range(rows):
                    combine(
                        scratch, gradient + row * P, R * P, H, layer.weight, size, H * K * K, 1,
                        scratch, convolved + row * S, layer.offsets, H * K * K, P, 1,
                    )  # fmt: skip
            for h in range(H):
                for row in range(rows):
                    i = band + row
                    to = gradient + (h * R + row) * P
                    line = scratch[to : to + P]
                    open_keys(layer.mask, b, h, i, open_line, M)
                    restrict(line, open_line)
                    if mixes:
                        if learns_alpha:
                            alpha_gradient += _share_gradient(
                                line, layer.previous[b, h, i], open_line
                            )
                            if layer.map_bias.shape[0]:
                                own_bias = layer.map_bias[
                                    b % layer.map_bias.shape[0], h % layer.map_bias.shape[1], i
                                ]
                                alpha_gradient -= _share_gradient(line, own_bias, open_line)
                        if gradients.previous.shape[0]:
                            passed = gradients.previous[b, h, i]
                            for j in range(M):
                                passed[j] = alpha * line[j]
                    if gradients.map_bias.shape[0]:
                        passed = gradients.map_bias[b, h, i]
                        for j in range(M):
                            passed[j] = own_share * line[j]
                gradients.query[b, h, band : band + rows] = zero
                correlate(
                    flat_query, ((b * H + h) * N + band) * E, E, rows,
                    scratch, gradient + h * R * P, P,
                    scratch, keys + h * E * P, layer.steps, E, 1, 0, 0, P,
                )  # fmt: skip
                combine(
                    scratch, key_gradients + h * E * P, P, E,
                    scratch, queries + (h * N + band) * E, 1, E,
                    scratch, gradient + h * R * P, layer.steps, rows, P, 1,
                )  # fmt: skip
                for i in range(band, band + rows):
                    for e in range(E):
                        raw = gradients.query[b, h, i, e]
                        if learns_alpha:
                            alpha_gradient -= np.float64(raw * scratch[queries + (h * N + i) * E + e])
                        gradients.query[b, h, i, e] = scale * own_share * raw
        for h in range(H):
            for e in range(E):
                for j in range(M):
                    gradients.key[chunk, b, h, j, e] = (
                        own_share * scratch[key_gradients + (h * E + e) * P + j]
                    )
            for e in range(V):
                for j in range(M):
                    gradients.value[chunk, b, h, j, e] = scratch[
                        value_gradients + (h * V + e) * P + j
                    ]
        if convolves and learns_beta:
            for n in range(size):
                beta_gradient += np.float64(
                    layer.weight[n] * flat_weight[(chunk * layer.query.shape[0] + b) * size + n]
                )
            for h in range(H):
                beta_gradient += np.float64(layer.bias[h] * gradients.bias[chunk, b, h])
        gradients.numbers[chunk, b, 0] = alpha_gradient
        gradients.numbers[chunk, b, 1] = beta_gradient
