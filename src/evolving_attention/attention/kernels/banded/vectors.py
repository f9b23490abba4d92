"""Vector instructions for the compiled loops, 16 numbers wide; LLVM cuts them into what there is.

:func:`over_line` turns a Python function, which says what happens to 16 neighbouring entries, into
a loop over a line that Numba can call. Its positional parameters are streams (a flat array and a
position in it), which it reads and writes; its keyword parameters are numbers; what it returns are
sums and maxima. The entries behind the last whole vector are masked: nothing beyond a line's end
is read, written or summed.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = [
    "LANES",
    "Largest",
    "Sum",
    "Vectors",
    "exponential",
    "integer",
    "never_inline",
    "over_line",
    "where",
]

LANES = 16
_CONTRACT = ("contract",)  # a product and a sum may become one instruction
_BYTE = ir.IntType(8)


def integer(value: int, bits: int = 64) -> Any:
    """Return an integer constant."""
    return ir.Constant(ir.IntType(bits), value)


class Vectors:
    """Emits vector instructions for one type of numbers, ``types.float32`` or ``float64``."""

    def __init__(self, context: Any, builder: Any, number_type: Any) -> None:
        self.context, self.builder, self.bits = context, builder, number_type.bitwidth
        self.scalar = ir.FloatType() if self.bits == 32 else ir.DoubleType()
        self.vector = ir.VectorType(self.scalar, LANES)

    def number(self, value: float) -> Any:
        """Return a constant vector."""
        rounded = float(np.float32(value)) if self.bits == 32 else value
        return ir.Constant(self.vector, [rounded] * LANES)

    def start(self, array_type: Any, array: Any, position: Any) -> Any:
        """Return the pointer to an entry of a flat array."""
        data = self.context.make_array(array_type)(self.context, self.builder, array).data
        return self.builder.gep(data, [position])

    def at(self, pointer: Any, index: Any, vector: Any = None) -> Any:
        """Return the pointer to the vector that begins ``index`` numbers behind a pointer."""
        vector = self.vector if vector is None else vector
        return self.builder.bitcast(self.builder.gep(pointer, [index]), vector.as_pointer())

    def load(self, pointer: Any, index: Any) -> Any:
        """Read a vector."""
        return self.builder.load(self.at(pointer, index), align=self.bits // 8)

    def store(self, value: Any, pointer: Any, index: Any) -> None:
        """Write a vector."""
        self.builder.store(value, self.at(pointer, index), align=self.bits // 8)

    def spread(self, number: Any) -> Any:
        """Return a vector of equal numbers."""
        undefined = ir.Constant(self.vector, ir.Undefined)
        first = self.builder.insert_element(undefined, number, integer(0, 32))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return self.builder.shuffle_vector(first, undefined, lanes)

    def multiply_add(self, left: Any, right: Any, total: Any) -> Any:
        """Return ``left * right + total``."""
        product = self.builder.fmul(left, right, flags=_CONTRACT)
        return self.builder.fadd(product, total, flags=_CONTRACT)

    def fold(self, value: Any, join: Callable[[Any, Any], Any]) -> Any:
        """Halve a vector until one number is left."""
        for width in (LANES // 2, LANES // 4, LANES // 8, LANES // 16):
            low, high = (
                self.builder.shuffle_vector(
                    value,
                    value,
                    ir.Constant(ir.VectorType(ir.IntType(32), width), [*range(at, at + width)]),
                )
                for at in (0, width)
            )
            value = join(low, high)
        return self.builder.extract_element(value, integer(0, 32))

    def call(self, name: str, result: Any, *arguments: Any) -> Any:
        """Call a function of LLVM."""
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, arguments)


class Lanes:
    """Sixteen numbers (or truths) of a line, with the usual operators."""

    def __init__(self, emit: Vectors, value: Any) -> None:
        self.emit, self.value = emit, value

    def _of(self, other: "Lanes | float") -> Any:
        return other.value if isinstance(other, Lanes) else self.emit.number(other)

    def __add__(self, other: "Lanes | float") -> "Lanes":
        total = self.emit.builder.fadd(self.value, self._of(other), flags=_CONTRACT)
        return Lanes(self.emit, total)

    def __sub__(self, other: "Lanes | float") -> "Lanes":
        rest = self.emit.builder.fsub(self.value, self._of(other), flags=_CONTRACT)
        return Lanes(self.emit, rest)

    def __rsub__(self, other: float) -> "Lanes":
        return Lanes(self.emit, self._of(other)) - self

    def __mul__(self, other: "Lanes | float") -> "Lanes":
        product = self.emit.builder.fmul(self.value, self._of(other), flags=_CONTRACT)
        return Lanes(self.emit, product)

    def __gt__(self, other: "Lanes | float") -> "Lanes":
        truth = self.emit.builder.fcmp_ordered(">", self.value, self._of(other))
        return Lanes(self.emit, truth)

    def __lt__(self, other: "Lanes | float") -> "Lanes":
        truth = self.emit.builder.fcmp_ordered("<", self.value, self._of(other))
        return Lanes(self.emit, truth)


def where(truth: Lanes, yes: Lanes | float, no: Lanes | float) -> Lanes:
    """Choose number by number."""
    emit = truth.emit
    chosen = emit.builder.select(truth.value, truth._of(yes), truth._of(no))
    return Lanes(emit, chosen)


#: ln(2) in two parts, the first of few bits, so that its multiples are exact.
_LN2 = {32: (0.693359375, -2.12194440e-4), 64: (6.93145751953125e-1, 1.42860682030941723212e-6)}
_DEGREE = {32: 7, 64: 13}  # of Taylor's polynomial, to the last bit for |x| <= ln(2) / 2
_LEAST = {32: -87.0, 64: -708.0}  # below, the result is too small to have full precision


def exponential(x: Lanes) -> Lanes:
    """Return e to the power of x for x <= 0 (and not a number of not a number)."""
    emit, builder = x.emit, x.emit.builder
    small = x < _LEAST[emit.bits]
    safe = where(small, 0.0, x)
    suffix = f"v{LANES}f{emit.bits}"
    halves = safe * 1.4426950408889634 + 0.5
    power = Lanes(emit, emit.call(f"llvm.floor.{suffix}", emit.vector, halves.value))
    rest = safe
    for part in _LN2[emit.bits]:
        rest = rest - power * part
    coefficients = 1 / np.cumprod([1.0, *range(1, _DEGREE[emit.bits] + 1)])
    total = Lanes(emit, emit.number(float(coefficients[-1])))
    for coefficient in coefficients[-2::-1]:
        total = total * rest + float(coefficient)
    mantissa = 23 if emit.bits == 32 else 52
    whole = ir.VectorType(ir.IntType(emit.bits), LANES)
    bias, shift = (
        ir.Constant(whole, [number] * LANES)
        for number in ((1 << (emit.bits - mantissa - 2)) - 1, mantissa)
    )
    exponent = builder.add(builder.fptosi(power.value, whole), bias)
    scale = Lanes(emit, builder.bitcast(builder.shl(exponent, shift), emit.vector))
    return where(small, 0.0, total * scale)


@intrinsic
def never_inline(_context: Any) -> Any:
    """Keep the function that calls this a function: it is compiled once, not at each call."""

    def generate(context: Any, builder: Any, _sig: Any, _values: Any) -> Any:
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), generate


class Sum:
    """Sum of a line."""

    start = 0.0

    @staticmethod
    def join(emit: Vectors, left: Any, right: Any) -> Any:
        """Add."""
        return emit.builder.fadd(left, right)


class Largest(Sum):
    """Largest number of a line."""

    start = -3e38

    @staticmethod
    def join(emit: Vectors, left: Any, right: Any) -> Any:
        """Take the larger one."""
        return emit.builder.select(emit.builder.fcmp_ordered(">", right, left), right, left)


class Stream:
    """An array at the current vector: numbers, truths (bytes), or truths packed in 16 bits."""

    def __init__(self, emit: Vectors, array_type: Any, array: Any, start: Any) -> None:
        self.emit, self.kind = emit, array_type.dtype
        self.pointer = emit.start(array_type, array, start)
        self.index: Any = None  # of the vector
        self.mask: Any = None  # of the entries before the line's end; None: all

    def get(self) -> Lanes:
        """Read."""
        builder, bits = self.emit.builder, self.kind.bitwidth
        if bits == 16:
            word = builder.load(builder.gep(self.pointer, [self.index]))
            return Lanes(self.emit, builder.bitcast(word, ir.VectorType(ir.IntType(1), LANES)))
        vector = ir.VectorType(_BYTE, LANES) if bits == 8 else self.emit.vector
        at = self.emit.at(self.pointer, builder.mul(self.index, integer(LANES)), vector)
        if self.mask is None:
            value = builder.load(at, align=bits // 8)
        else:
            name = f"llvm.masked.load.v{LANES}{'i' if bits == 8 else 'f'}{bits}.p0"
            nothing = ir.Constant(vector, None)
            value = self.emit.call(name, vector, at, integer(bits // 8, 32), self.mask, nothing)
        if bits == 8:
            value = builder.icmp_unsigned("!=", value, ir.Constant(vector, None))
        return Lanes(self.emit, value)

    def set(self, lanes: Lanes) -> None:
        """Write."""
        builder, bits = self.emit.builder, self.kind.bitwidth
        if bits == 16:
            word = builder.bitcast(lanes.value, ir.IntType(LANES))
            builder.store(word, builder.gep(self.pointer, [self.index]))
            return
        at = self.emit.at(self.pointer, builder.mul(self.index, integer(LANES)))
        if self.mask is None:
            builder.store(lanes.value, at, align=bits // 8)
            return
        name = f"llvm.masked.store.v{LANES}f{bits}.p0"
        align = integer(bits // 8, 32)
        self.emit.call(name, ir.VoidType(), lanes.value, at, align, self.mask)


def over_line(*reductions: type[Sum]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make ``loop(length, number, ..., array, position, array, position, ...)`` of a function.

    The numbers (keyword parameters of the function) have the type of the first array. The loop
    returns what the function returns, reduced over the line: a tuple, or None.
    """

    def make(body: Callable[..., Any]) -> Callable[..., Any]:
        parameters = inspect.signature(body).parameters.values()
        names = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]

        def loop(_context: Any, length: Any, *given: Any) -> Any:
            kind = given[len(names)].dtype
            result = types.UniTuple(kind, len(reductions)) if reductions else types.none

            def generate(context: Any, builder: Any, sig: Any, values: Any) -> Any:
                emit = Vectors(context, builder, kind)
                totals = _emit_loop(emit, body, names, reductions, sig.args, values)
                if not reductions:
                    return context.get_dummy_value()
                return context.make_tuple(builder, result, totals)

            return result(length, *given), generate

        # Numba asks for the parameters one by one.
        streams = [each.name for each in parameters if each.kind is not each.KEYWORD_ONLY]
        places = [place for name in streams for place in (name, f"{name}_start")]
        loop.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD)
                for name in ("_context", "length", *names, *places)
            ]
        )
        return intrinsic(loop)

    return make


def _emit_loop(
    emit: Vectors,
    body: Callable[..., Any],
    names: list[str],
    reductions: tuple[type[Sum], ...],
    given_types: Any,
    given: Any,
) -> list[Any]:
    builder, count = emit.builder, len(names) + 1
    numbers = {name: Lanes(emit, emit.spread(given[at])) for at, name in enumerate(names, 1)}
    streams = [
        Stream(emit, given_types[at], given[at], given[at + 1])
        for at in range(count, len(given), 2)
    ]
    totals = [cgutils.alloca_once(builder, emit.vector) for _ in reductions]
    for total, reduction in zip(totals, reductions, strict=True):
        builder.store(emit.number(reduction.start), total)

    def step(index: Any, mask: Any) -> None:
        for stream in streams:
            stream.index, stream.mask = index, mask
        returned = body(*streams, **numbers) or ()
        for total, reduction, lanes in zip(totals, reductions, returned, strict=True):
            value = lanes.value
            if mask is not None:
                value = builder.select(mask, value, emit.number(reduction.start))
            builder.store(reduction.join(emit, builder.load(total), value), total)

    vectors = builder.sdiv(given[0], integer(LANES))
    with cgutils.for_range(builder, vectors) as loop:
        step(loop.index, None)
    rest = builder.srem(given[0], integer(LANES))
    with builder.if_then(builder.icmp_signed(">", rest, integer(0))):
        lane = ir.VectorType(ir.IntType(32), LANES)
        left = builder.insert_element(
            ir.Constant(lane, ir.Undefined), builder.trunc(rest, ir.IntType(32)), integer(0, 32)
        )
        left = builder.shuffle_vector(left, left, ir.Constant(lane, [0] * LANES))
        numbered = ir.Constant(lane, list(range(LANES)))
        step(vectors, builder.icmp_signed("<", numbered, left))
    return [
        emit.fold(builder.load(total), partial(reduction.join, emit))
        for total, reduction in zip(totals, reductions, strict=True)
    ]
