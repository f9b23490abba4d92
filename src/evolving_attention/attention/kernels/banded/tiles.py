"""Matrix products of vectors in registers: what convolution, logits and values come down to.

A tile of the result stays in registers while the sum is taken, so a load serves several products.
The tiles are written as vector instructions of LLVM, 16 numbers wide; LLVM cuts them into what the
processor has. All arrays are flat and contiguous, with the position of the first entry beside them;
rows that are read or written as vectors must have room for whole vectors.

Two forms are enough. With ``b[k]`` the row of ``b`` at ``offsets[k]``:

``combine``: ``c[r] = sum_k a[r, k] * b[k]``, rows as combinations of rows. A convolution is this
with an offset for each channel and each entry of the kernel.

``correlate``: ``c[r, k] = sum_j a[r, j] * b[k, j]``, numbers as products of rows, which may
themselves be images: the gradient of a convolution's kernel.
"""

from collections.abc import Callable
from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from evolving_attention.attention.kernels.banded.jit import jit
from evolving_attention.attention.kernels.banded.vectors import (
    LANES,
    Vectors,
    integer,
    never_inline,
)

__all__ = ["combine", "correlate"]


def _combine_tile(rows: int, vectors: int) -> Callable[..., Any]:
    """Make a function of the names in ``_COMBINE``."""

    @intrinsic
    def tile(
        _context: Any,
        c: Any,
        c0: Any,
        c_row: Any,
        a: Any,
        a0: Any,
        a_row: Any,
        a_step: Any,
        b: Any,
        b0: Any,
        offsets: Any,
        depth: Any,
        add: Any,
    ) -> Any:
        signature = types.void(c, c0, c_row, a, a0, a_row, a_step, b, b0, offsets, depth, add)

        def generate(context: Any, builder: Any, sig: Any, values: Any) -> Any:
            given = dict(zip(_COMBINE, zip(sig.args, values, strict=True), strict=True))
            emit = Vectors(context, builder, sig.args[0].dtype)
            c, a, b = (emit.start(*given[name], given[f"{name}0"][1]) for name in ("c", "a", "b"))
            table = emit.start(*given["offsets"], integer(0))
            c_row, a_row, a_step, depth, add = (
                given[name][1] for name in ("c_row", "a_row", "a_step", "depth", "add")
            )
            adding = builder.icmp_signed("!=", add, integer(0))
            totals = {}
            for r in range(rows):
                for v in range(vectors):
                    at = builder.add(builder.mul(c_row, integer(r)), integer(v * LANES))
                    totals[r, v] = cgutils.alloca_once(builder, emit.vector)
                    with builder.if_else(adding) as (then, otherwise):
                        with then:
                            builder.store(emit.load(c, at), totals[r, v])
                        with otherwise:
                            builder.store(emit.number(0.0), totals[r, v])
            with cgutils.for_range(builder, depth) as loop:
                offset = builder.load(builder.gep(table, [loop.index]))
                b_vectors = [
                    emit.load(b, builder.add(offset, integer(v * LANES))) for v in range(vectors)
                ]
                step = builder.mul(loop.index, a_step)
                for r in range(rows):
                    at = builder.add(step, builder.mul(a_row, integer(r)))
                    factor = emit.spread(builder.load(builder.gep(a, [at])))
                    for v in range(vectors):
                        total = builder.load(totals[r, v])
                        builder.store(emit.multiply_add(factor, b_vectors[v], total), totals[r, v])
            for (r, v), total in totals.items():
                at = builder.add(builder.mul(c_row, integer(r)), integer(v * LANES))
                emit.store(builder.load(total), c, at)
            return context.get_dummy_value()

        return signature, generate

    return tile


_COMBINE = ("c", "c0", "c_row", "a", "a0", "a_row", "a_step", "b", "b0", "offsets", "depth", "add")


def _correlate_tile(rows: int, columns: int) -> Callable[..., Any]:
    """Make a function of the names in ``_CORRELATE``."""

    @intrinsic
    def tile(
        _context: Any,
        c: Any,
        c0: Any,
        c_row: Any,
        a: Any,
        a0: Any,
        a_row: Any,
        b: Any,
        b0: Any,
        offsets: Any,
        k: Any,
        lines: Any,
        a_line: Any,
        b_line: Any,
        width: Any,
    ) -> Any:
        signature = types.void(
            c, c0, c_row, a, a0, a_row, b, b0, offsets, k, lines, a_line, b_line, width
        )

        def generate(context: Any, builder: Any, sig: Any, values: Any) -> Any:
            given = dict(zip(_CORRELATE, zip(sig.args, values, strict=True), strict=True))
            emit = Vectors(context, builder, sig.args[0].dtype)
            c, a, b = (emit.start(*given[name], given[f"{name}0"][1]) for name in ("c", "a", "b"))
            table = emit.start(*given["offsets"], given["k"][1])
            c_row, a_row, lines, a_line, b_line, width = (
                given[name][1] for name in ("c_row", "a_row", "lines", "a_line", "b_line", "width")
            )
            b_rows = [
                builder.gep(b, [builder.load(builder.gep(table, [integer(k)]))])
                for k in range(columns)
            ]
            a_rows = [builder.gep(a, [builder.mul(a_row, integer(r))]) for r in range(rows)]
            totals = {
                (r, k): cgutils.alloca_once(builder, emit.vector)
                for r in range(rows)
                for k in range(columns)
            }
            for total in totals.values():
                builder.store(emit.number(0.0), total)
            vectors = builder.sdiv(width, integer(LANES))
            with cgutils.for_range(builder, lines) as line:
                a_start = builder.mul(line.index, a_line)
                b_start = builder.mul(line.index, b_line)
                with cgutils.for_range(builder, vectors) as loop:
                    j = builder.mul(loop.index, integer(LANES))
                    a_vectors = [emit.load(row, builder.add(a_start, j)) for row in a_rows]
                    b_vectors = [emit.load(row, builder.add(b_start, j)) for row in b_rows]
                    for (r, k), total in totals.items():
                        summed = emit.multiply_add(a_vectors[r], b_vectors[k], builder.load(total))
                        builder.store(summed, total)
            for (r, k), total in totals.items():
                at = builder.add(builder.mul(c_row, integer(r)), integer(k))
                pointer = builder.gep(c, [at])
                number = emit.fold(builder.load(total), builder.fadd)
                builder.store(builder.fadd(builder.load(pointer), number), pointer)
            return context.get_dummy_value()

        return signature, generate

    return tile


_CORRELATE = (
    *("c", "c0", "c_row", "a", "a0", "a_row", "b", "b0"),
    *("offsets", "k", "lines", "a_line", "b_line", "width"),
)

_combine_4x4, _combine_4x2, _combine_4x1 = (_combine_tile(4, vectors) for vectors in (4, 2, 1))
_combine_1x4, _combine_1x1 = (_combine_tile(1, vectors) for vectors in (4, 1))
_correlate_4x4, _correlate_4x1 = (_correlate_tile(4, columns) for columns in (4, 1))
_correlate_1x4, _correlate_1x1 = (_correlate_tile(1, columns) for columns in (4, 1))


@jit
def combine(c, c0, c_row, rows, a, a0, a_row, a_step, b, b0, offsets, depth, width, add):
    """Set (or add to, where ``add``) ``c[r]`` the sum over k of ``a[r, k] * b[k]``.

    ``width`` columns, a multiple of 16. Columns go outside, rows inside: what ``b`` holds there
    stays in the nearest cache.
    """
    never_inline()
    j = 0
    while j < width:
        r = 0
        if width - j >= 4 * LANES:
            while r + 4 <= rows:
                _combine_4x4(
                    c, c0 + r * c_row + j, c_row, a, a0 + r * a_row, a_row, a_step, b, b0 + j,
                    offsets, depth, add,
                )  # fmt: skip
                r += 4
            while r < rows:
                _combine_1x4(
                    c, c0 + r * c_row + j, c_row, a, a0 + r * a_row, a_row, a_step, b, b0 + j,
                    offsets, depth, add,
                )  # fmt: skip
                r += 1
            j += 4 * LANES
        elif width - j >= 2 * LANES:
            while r + 4 <= rows:
                _combine_4x2(
                    c, c0 + r * c_row + j, c_row, a, a0 + r * a_row, a_row, a_step, b, b0 + j,
                    offsets, depth, add,
                )  # fmt: skip
                r += 4
            while r < rows:
                _combine_1x1(
                    c, c0 + r * c_row + j, c_row, a, a0 + r * a_row, a_row, a_step, b, b0 + j,
                    offsets, depth, add,
                )  # fmt: skip
                _combine_1x1(
                    c, c0 + r * c_row + j + LANES, c_row, a, a0 + r * a_row, a_row, a_step, b,
                    b0 + j + LANES, offsets, depth, add,
                )  # fmt: skip
                r += 1
            j += 2 * LANES
        else:
            while r + 4 <= rows:
                _combine_4x1(
                    c, c0 + r * c_row + j, c_row, a, a0 + r * a_row, a_row, a_step, b, b0 + j,
                    offsets, depth, add,
                )  # fmt: skip
                r += 4
            while r < rows:
                _combine_1x1(
                    c, c0 + r * c_row + j, c_row, a, a0 + r * a_row, a_row, a_step, b, b0 + j,
                    offsets, depth, add,
                )  # fmt: skip
                r += 1
            j += LANES


@jit
def correlate(
    c, c0, c_row, rows, a, a0, a_row, b, b0, offsets, depth, lines, a_line, b_line, width
):
    """Add to ``c[r, k]`` the sum over j of ``a[r, j] * b[k, j]``.

    ``j`` runs over ``lines`` lines, ``a_line`` and ``b_line`` apart, of ``width`` columns, a
    multiple of 16.
    """
    never_inline()
    r = 0
    while r < rows:
        k = 0
        at = c0 + r * c_row
        if rows - r >= 4:
            while k + 4 <= depth:
                _correlate_4x4(
                    c, at + k, c_row, a, a0 + r * a_row, a_row, b, b0, offsets, k, lines, a_line,
                    b_line, width,
                )  # fmt: skip
                k += 4
            while k < depth:
                _correlate_4x1(
                    c, at + k, c_row, a, a0 + r * a_row, a_row, b, b0, offsets, k, lines, a_line,
                    b_line, width,
                )  # fmt: skip
                k += 1
            r += 4
        else:
            while k + 4 <= depth:
                _correlate_1x4(
                    c, at + k, c_row, a, a0 + r * a_row, a_row, b, b0, offsets, k, lines, a_line,
                    b_line, width,
                )  # fmt: skip
                k += 4
            while k < depth:
                _correlate_1x1(
                    c, at + k, c_row, a, a0 + r * a_row, a_row, b, b0, offsets, k, lines, a_line,
                    b_line, width,
                )  # fmt: skip
                k += 1
            r += 1
