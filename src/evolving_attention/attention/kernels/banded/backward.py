"""The backward pass, band by band: what the forward pass did not keep is made again.

The gradient of a map goes through the softmax, the activation and the convolution, which is a
convolution with the turned kernel: it reaches below what the kernel reaches above, and above what
the kernel reaches below. Shape letters and arguments: see arguments.py.
"""

import numpy as np

from evolving_attention.attention.kernels.banded.arguments import Sizes
from evolving_attention.attention.kernels.banded.forward import (
    bias_start,
    keep_last_lines,
    mix_lines,
    prepare_sample,
    row_start,
)
from evolving_attention.attention.kernels.banded.jit import jit
from evolving_attention.attention.kernels.banded.lines import (
    drop,
    hand_on,
    start_gradient,
    through_map,
    through_softmax,
)
from evolving_attention.attention.kernels.banded.tiles import combine, correlate
from evolving_attention.attention.kernels.banded.vectors import never_inline

__all__ = ["backward", "backward_scratch"]


def backward_scratch(sizes: Sizes) -> int:
    """Return how many numbers of scratch memory the backward pass needs."""
    H, N, _, E, V, K, P, S, R, *_ = sizes
    lines = R + K - 1
    samples = H * N * E + 2 * H * (E + V) * P
    return samples + 2 * H * lines * S + H * lines * P + lines * P + H * R * P + H * H * K * K


@jit
def map_gradients(
    layer, results, gradients, sizes, b, first, last, band, inner_first, inner_last, scratch, seed,
    threshold, values, value_gradients, shares, maps, convolved, bias_gradients,
):  # fmt: skip
    """Write gradients of rows ``first`` to ``last`` of the map, and of the convolved map.

    The buffers' first line is row ``band - bottom``. Gradients of values and of the convolution's
    bias count the inner rows alone: the others are those of other chunks.
    """
    never_inline()
    H, N, M, V, K, P, S = sizes.H, sizes.N, sizes.M, sizes.V, sizes.K, sizes.P, sizes.S
    lines, bottom, right = sizes.R + K - 1, K - 1 - sizes.top, K - 1 - sizes.left
    zero, one = scratch.dtype.type(0), scratch.dtype.type(1)
    slope, kept = layer.numbers[3], layer.numbers[4]
    begin, end = max(first, 0), min(last, N)
    output, given, own_map, signs, stats, mask = (
        gradients.output.reshape(-1),
        gradients.own_map.reshape(-1),
        results.own_map.reshape(-1),
        results.signs.reshape(-1),
        results.stats.reshape(-1),
        layer.mask.reshape(-1),
    )
    for h in range(H):
        top = convolved + (h * lines + bottom - band) * S + right  # of row 0
        for i in range(first, last):
            if i < 0 or i >= N:
                for j in range(M):
                    scratch[top + i * S + j] = zero
        if end <= begin:
            continue
        combine(
            scratch, top + begin * S, S, end - begin,
            output, row_start(gradients.output, b, h, begin), V, 1,
            scratch, values + h * V * P, layer.steps, V, P, 0,
        )  # fmt: skip
        for i in range(begin, end):
            gradient, line = top + i * S, shares + (i - begin) * P
            row, note = (b * H + h) * N + i, row_start(results.stats, b, h, i)
            opened = row_start(layer.mask, b, h, i)
            if kept != one:
                drop(scratch, gradient, M, seed, row, threshold, kept)
            (total,) = through_softmax(
                M, stats[note], stats[note + 1],
                scratch, line, own_map, row_start(results.own_map, b, h, i), mask, opened,
                scratch, gradient,
            )  # fmt: skip
            (total,) = through_map(
                M, total, slope, scratch, gradient, scratch, line,
                given, row_start(gradients.own_map, b, h, i), mask, opened,
                signs, row_start(results.signs, b, h, i),
                scratch, maps + (h * lines + bottom - band + i) * P,
            )  # fmt: skip
            if inner_first <= i < inner_last:
                bias_gradients[h] += total
            if kept != one:
                drop(scratch, line, M, seed, row, threshold, kept)
        start, stop = max(begin, inner_first), min(end, inner_last)
        if stop > start:
            combine(
                scratch, value_gradients + h * V * P, P, V,
                output, row_start(gradients.output, b, h, start), 1, V,
                scratch, shares + (start - begin) * P, layer.steps, stop - start, P, 1,
            )  # fmt: skip


@jit
def own_gradients(
    layer, gradients, sizes, b, band, rows, scratch, queries, keys, key_gradients, gradient,
    own_share, learns_alpha,
):  # fmt: skip
    """Hand the mixed map's gradient on, to the previous map, the bias, queries and keys.

    Returns the part of alpha's gradient.
    """
    never_inline()
    H, N, M, E, P, R = sizes.H, sizes.N, sizes.M, sizes.E, sizes.P, sizes.R
    zero, alpha, scale = scratch.dtype.type(0), layer.numbers[0], layer.numbers[2]
    alpha_gradient = 0.0
    mask, nothing = layer.mask.reshape(-1), layer.nothing.reshape(-1)
    previous = layer.previous.reshape(-1)
    to_previous, to_bias = gradients.previous.reshape(-1), gradients.map_bias.reshape(-1)
    query = gradients.query.reshape(-1)
    for h in range(H):
        for row in range(rows):
            i = band + row
            (total,) = hand_on(
                M, alpha, own_share, scratch, gradient + (h * R + row) * P,
                mask, row_start(layer.mask, b, h, i),
                previous if learns_alpha else nothing,
                row_start(layer.previous, b, h, i) if learns_alpha else 0,
                layer.map_bias if learns_alpha else nothing,
                bias_start(layer, b, h, i) if learns_alpha else 0,
                to_previous, row_start(gradients.previous, b, h, i),
                to_bias, row_start(gradients.map_bias, b, h, i),
            )  # fmt: skip
            alpha_gradient += np.float64(total)
        at = row_start(gradients.query, b, h, band)
        for j in range(rows * E):
            query[at + j] = zero
        correlate(
            query, at, E, rows, scratch, gradient + h * R * P, P,
            scratch, keys + h * E * P, layer.steps, E, 1, 0, 0, P,
        )  # fmt: skip
        combine(
            scratch, key_gradients + h * E * P, P, E, scratch, queries + (h * N + band) * E, 1, E,
            scratch, gradient + h * R * P, layer.steps, rows, P, 1,
        )  # fmt: skip
        for j in range(rows * E):
            if learns_alpha:
                product = query[at + j] * scratch[queries + (h * N + band) * E + j]
                alpha_gradient -= np.float64(product)
            query[at + j] *= scale * own_share
    return alpha_gradient


@jit
def turn_kernel(layer, H, K, scratch, turned):
    """Write beta times the kernel with inputs and outputs exchanged, upside down and mirrored."""
    n = turned
    for h in range(H):
        for o in range(H):
            for place in range(K * K):
                from_end = (o * H + h + 1) * K * K - 1 - place
                scratch[n] = layer.numbers[1] * layer.weight[from_end]
                n += 1


@jit
def finish_sample(
    gradients, sizes, chunk, b, scratch, key_gradients, value_gradients, own_share
):  # fmt: skip
    """Turn gradients of keys and values the right way round."""
    never_inline()
    for h in range(sizes.H):
        for e in range(sizes.E):
            at = key_gradients + (h * sizes.E + e) * sizes.P
            for j in range(sizes.M):
                gradients.key[chunk, b, h, j, e] = own_share * scratch[at + j]
        for e in range(sizes.V):
            at = value_gradients + (h * sizes.V + e) * sizes.P
            for j in range(sizes.M):
                gradients.value[chunk, b, h, j, e] = scratch[at + j]


@jit
def backward(
    layer, results, gradients, sizes, scratch, seed, threshold, learns_alpha,
    chunk, first_b, last_b, first_i, last_i,
):  # fmt: skip
    """Compute what rows ``first_i`` to ``last_i`` of some samples give to each gradient."""
    H, N, M, E, V, K = sizes.H, sizes.N, sizes.M, sizes.E, sizes.V, sizes.K
    P, S, R, top, left = sizes.P, sizes.S, sizes.R, sizes.top, sizes.left
    lines, bottom, right = R + K - 1, K - 1 - top, K - 1 - left
    convolves, depth = layer.weight.size > 0, H * K * K
    zero, one = scratch.dtype.type(0), scratch.dtype.type(1)
    beta, own_share = layer.numbers[1], one - layer.numbers[0]
    queries = 0
    keys = queries + H * N * E
    values = keys + H * E * P
    key_gradients = values + H * V * P
    value_gradients = key_gradients + H * E * P
    mixed = value_gradients + H * V * P
    convolved = mixed + H * lines * S
    maps = convolved + H * lines * S
    shares = maps + H * lines * P
    gradient = shares + lines * P
    for j in range(mixed, gradient + H * R * P):
        scratch[j] = zero
    turned = gradient + H * R * P
    if convolves:
        turn_kernel(layer, H, K, scratch, turned)
    weight_gradients = gradients.weight.reshape(-1)
    reach = max(top, bottom)
    for b in range(first_b, last_b):
        prepare_sample(
            layer, sizes, b, first_i - reach, last_i + reach, scratch, queries, keys, values
        )
        for j in range(key_gradients, mixed):
            scratch[j] = zero
        weight = (chunk * gradients.weight.shape[1] + b) * H * depth
        for j in range(weight, weight + H * depth):
            weight_gradients[j] = zero
        bias_gradients = gradients.bias[chunk, b]
        for h in range(H):
            bias_gradients[h] = zero
        alpha_gradient = beta_gradient = 0.0
        for band in range(first_i, last_i, R):
            rows = min(R, last_i - band)
            if band > first_i:
                keep_last_lines(scratch, convolved, H, lines, K - 1, S)
                keep_last_lines(scratch, maps, H, lines, K - 1, P)
                keep_last_lines(scratch, mixed, H, lines, K - 1, S)
            first = band - bottom if band == first_i else band + top
            map_gradients(
                layer, results, gradients, sizes, b, first, band + rows + top, band,
                first_i, last_i, scratch, seed, threshold,
                values, value_gradients, shares, maps, convolved, bias_gradients,
            )  # fmt: skip
            if convolves:
                first = band - top if band == first_i else band + bottom
                last = band + rows + bottom
                mix_lines(layer, sizes, b, first, last, band, scratch, queries, keys, mixed)
                correlate(
                    weight_gradients, weight, depth, H,
                    scratch, convolved + bottom * S + right, lines * S,
                    scratch, mixed, layer.offsets, depth, rows, S, S, P,
                )  # fmt: skip
            for h in range(H):
                for row in range(rows):
                    (total,) = start_gradient(
                        M, one - beta, scratch, gradient + (h * R + row) * P,
                        scratch, maps + (h * lines + bottom + row) * P,
                        scratch, mixed + (h * lines + top + row) * S + left,
                    )  # fmt: skip
                    beta_gradient -= np.float64(total)
            if convolves:
                for row in range(rows):
                    combine(
                        scratch, gradient + row * P, R * P, H, scratch, turned, depth, 1,
                        scratch, convolved + row * S, layer.offsets, depth, P, 1,
                    )  # fmt: skip
            alpha_gradient += own_gradients(
                layer, gradients, sizes, b, band, rows, scratch, queries, keys, key_gradients,
                gradient, own_share, learns_alpha,
            )  # fmt: skip
        finish_sample(
            gradients, sizes, chunk, b, scratch, key_gradients, value_gradients, own_share
        )
        # The activations are homogeneous: act(x) = act'(x) x, so what beta weighs is in the sums.
        for n in range(layer.weight.size):
            beta_gradient += np.float64(layer.weight[n] * weight_gradients[weight + n])
        for h in range(H):
            beta_gradient += np.float64(layer.bias[h] * bias_gradients[h])
        gradients.numbers[chunk, b, 0] = alpha_gradient
        gradients.numbers[chunk, b, 1] = beta_gradient
