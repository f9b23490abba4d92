"""What is done to one line of a map: mixing, activation, softmax, dropout, and their gradients.

A line is one head's row, in an array of its own size or in the scratch memory. Lines in the scratch
memory are ``P`` wide, a multiple of 16, and ``open_line`` is 1 where a query may attend and 0
elsewhere, also behind the last key, so that what stands there never counts.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from evolving_attention.attention.kernels.banded.jit import jit
from evolving_attention.attention.kernels.banded.tiles import LANES, Vectors

__all__ = [
    "activate_and_mix",
    "blend",
    "drop",
    "mix_line",
    "open_keys",
    "probabilities_again",
    "restrict",
    "softmax_line",
    "through_activation",
    "through_softmax",
]

_LN2 = {32: (0.693359375, -2.12194440e-4), 64: (6.93145751953125e-1, 1.42860682030941723212e-6)}
_DEGREE = {32: 7, 64: 13}  # of Taylor's polynomial, to the last bit for |x| <= ln(2) / 2
_LEAST = {32: -87.0, 64: -708.0}  # the result would have no full precision below


@intrinsic
def _exponential(_context: Any, x: Any) -> Any:
    """e to the power of x, for x <= 0; 0 where that is too small to be represented in full."""

    def generate(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        bits = sig.args[0].bitwidth
        real = ir.FloatType() if bits == 32 else ir.DoubleType()
        integer, mantissa = ir.IntType(bits), 23 if bits == 32 else 52

        def number(value: float) -> Any:
            return ir.Constant(real, float(real_type(value)))

        real_type = np.float32 if bits == 32 else np.float64
        floor = builder.module.declare_intrinsic("llvm.floor", [real])
        small = builder.fcmp_unordered("ult", values[0], number(_LEAST[bits]))
        nan = builder.fcmp_unordered("uno", values[0], values[0])
        safe = builder.select(small, number(0.0), values[0])
        halves = builder.fadd(builder.fmul(safe, number(1.4426950408889634)), number(0.5))
        power = builder.call(floor, [halves])
        rest = safe
        for part in _LN2[bits]:
            rest = builder.fsub(rest, builder.fmul(power, number(part)), flags=("contract",))
        total, factorial = number(0.0), 1.0
        coefficients = [1.0]
        for degree in range(1, _DEGREE[bits] + 1):
            factorial *= degree
            coefficients.append(1.0 / factorial)
        total = number(coefficients[-1])
        for coefficient in reversed(coefficients[:-1]):
            product = builder.fmul(total, rest, flags=("contract",))
            total = builder.fadd(product, number(coefficient), flags=("contract",))
        exponent = builder.add(
            builder.fptosi(power, integer), ir.Constant(integer, (1 << (bits - mantissa - 2)) - 1)
        )
        scale = builder.bitcast(builder.shl(exponent, ir.Constant(integer, mantissa)), real)
        result = builder.select(small, number(0.0), builder.fmul(total, scale))
        return builder.select(nan, values[0], result)

    return x(x), generate


@intrinsic
def _pack_positive(_context: Any, line: Any, start: Any, bits: Any, bits_start: Any) -> Any:
    """Write one bit for each of 16 numbers, whether it is positive."""

    def generate(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        emit = Vectors(context, builder, sig.args[0])
        numbers = emit.load(emit.start(sig.args[0], values[0], values[1]), emit.nothing)
        positive = builder.fcmp_ordered(">", numbers, emit.zero)
        word = builder.bitcast(positive, ir.IntType(LANES))
        builder.store(word, emit.start(sig.args[2], values[2], values[3]), align=2)
        return context.get_dummy_value()

    return types.void(line, start, bits, bits_start), generate


@intrinsic
def _scale_negative(
    _context: Any, line: Any, start: Any, bits: Any, bits_start: Any, slope: Any
) -> Any:
    """Multiply by ``slope`` those of 16 numbers whose bit is not set."""

    def generate(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        emit = Vectors(context, builder, sig.args[0])
        pointer = emit.start(sig.args[0], values[0], values[1])
        numbers = emit.load(pointer, emit.nothing)
        word = builder.load(emit.start(sig.args[2], values[2], values[3]), align=2)
        positive = builder.bitcast(word, ir.VectorType(ir.IntType(1), LANES))
        scaled = builder.fmul(numbers, emit.spread(values[4]))
        emit.store(builder.select(positive, numbers, scaled), pointer, emit.nothing)
        return context.get_dummy_value()

    return types.void(line, start, bits, bits_start, slope), generate


@jit
def open_keys(mask, b, h, i, open_line, M):
    """Write which keys a query may attend to, as 1 and 0; return whether there is one."""
    zero, one = open_line.dtype.type(0), open_line.dtype.type(1)
    if mask.shape[0] == 0:
        return True
    row = mask[b % mask.shape[0], h % mask.shape[1], i]
    count = 0
    for j in range(M):
        open_line[j] = one if row[j] else zero
        count += row[j]
    return count > 0


@jit
def blend(own, other, share):
    """``share * other + (1 - share) * own``: exactly ``own`` or ``other`` for shares of 0 and 1."""
    one, half = own.dtype.type(1), own.dtype.type(0.5)
    if share < half:
        for j in range(own.size):
            own[j] = own[j] + share * (other[j] - own[j])
    else:
        rest = one - share
        for j in range(own.size):
            own[j] = other[j] - rest * (other[j] - own[j])


@jit
def restrict(line, open_line):
    """Set to 0 what is not open."""
    zero = line.dtype.type(0)
    for j in range(line.size):
        line[j] = line[j] if open_line[j] > zero else zero


@jit
def activate_and_mix(convolved, mixed, bias, slope, share, signs, signs_start):
    """Turn a line of the convolution into one of the map, in place; note the signs."""
    zero, one = convolved.dtype.type(0), convolved.dtype.type(1)
    for j in range(convolved.size):
        convolved[j] += bias
    if slope != one:
        if signs.size:
            for v in range(convolved.size // LANES):
                _pack_positive(convolved, v * LANES, signs, signs_start + v)
        if slope == zero:
            for j in range(convolved.size):
                convolved[j] = zero if convolved[j] <= zero else convolved[j]
        else:
            for j in range(convolved.size):
                scaled = slope * convolved[j]
                convolved[j] = convolved[j] if convolved[j] > zero else scaled
    half = convolved.dtype.type(0.5)
    if share < half:
        for j in range(convolved.size):
            convolved[j] = mixed[j] + share * (convolved[j] - mixed[j])
    else:
        rest = one - share
        for j in range(convolved.size):
            convolved[j] = convolved[j] - rest * (convolved[j] - mixed[j])


@jit
def through_activation(gradient, slope, signs, signs_start):
    """Turn the gradient of an activated line into that of the convolved one, in place."""
    if slope != gradient.dtype.type(1):
        for v in range(gradient.size // LANES):
            _scale_negative(gradient, v * LANES, signs, signs_start + v, slope)


@jit
def softmax_line(line, open_line, any_open, stats, at):
    """Turn a line of a map into probabilities, in place; note its maximum and 1 / its sum."""
    zero, lowest = line.dtype.type(0), line.dtype.type(-3e38)
    if not any_open:
        for j in range(line.size):
            line[j] = zero
        stats[at] = stats[at + 1] = zero
        return
    for j in range(line.size):
        line[j] = line[j] if open_line[j] > zero else lowest
    largest = line[0]
    for j in range(line.size):
        largest = line[j] if line[j] > largest else largest
    total = zero
    for j in range(line.size):
        line[j] = _exponential(line[j] - largest)
        total += line[j]
    inverse = line.dtype.type(1) / total
    for j in range(line.size):
        line[j] *= inverse
    stats[at], stats[at + 1] = largest, inverse


@jit
def probabilities_again(own_map, open_line, stats, at, line):
    """Make the probabilities of a line again from its map and its notes."""
    zero = line.dtype.type(0)
    largest, inverse = stats[at], stats[at + 1]
    lowest = line.dtype.type(-3e38)
    for j in range(own_map.size):
        logit = own_map[j] if open_line[j] > zero else lowest
        line[j] = logit
    for j in range(own_map.size, line.size):
        line[j] = lowest
    for j in range(line.size):
        line[j] = _exponential(line[j] - largest) * inverse


@jit
def through_softmax(probabilities, gradient):
    """Turn the gradient of probabilities into that of their map, in place."""
    total = gradient.dtype.type(0)
    for j in range(gradient.size):
        total += probabilities[j] * gradient[j]
    for j in range(gradient.size):
        gradient[j] = probabilities[j] * (gradient[j] - total)


@jit
def drop(line, seed, row, threshold, scale):
    """Drop probabilities (or their gradients): the same ones for the same seed and row.

    A counter is hashed for each entry (MurmurHash3's last steps), so any row can be made again.
    """
    state = np.uint64(seed) ^ (np.uint64(row) * np.uint64(0x9E3779B97F4A7C15))
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    start = np.uint32((state ^ (state >> np.uint64(31))) & np.uint64(0xFFFFFFFF))
    zero = line.dtype.type(0)
    for j in range(line.size):
        x = np.uint32(start + np.uint32(j) * np.uint32(0x9E3779B9))
        x = np.uint32((x ^ (x >> np.uint32(16))) * np.uint32(0x85EBCA6B))
        x = np.uint32((x ^ (x >> np.uint32(13))) * np.uint32(0xC2B2AE35))
        x = np.uint32(x ^ (x >> np.uint32(16)))
        line[j] = line[j] * scale if x >= threshold else zero
