"""Normalisation of the rows of a masked map: three passes over a line that is in the cache.

Shape letters: B batch, H heads, N queries, M keys.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from evolving_attention.attention.kernels.banded.arguments import (
    array_of,
    rows_of,
)
from evolving_attention.attention.kernels.banded.forward import row_start
from evolving_attention.attention.kernels.banded.jit import jit
from evolving_attention.attention.kernels.banded.threads import chunks_of, run
from evolving_attention.attention.kernels.banded.vectors import (
    Lanes,
    Stream,
    Sum,
    over_line,
    where,
)
from evolving_attention.attention.kernels.gradients import check_gradients

__all__ = ["NormalizeRows"]


@over_line(Sum, Sum)
def _total(line: Stream, opened: Stream) -> tuple[Lanes, Lanes]:
    """Return the sum of the open entries, and their number."""
    attendable = opened.get()
    return where(attendable, line.get(), 0.0), where(attendable, 1.0, 0.0)


@over_line(Sum)
def _squares(line: Stream, opened: Stream, *, mean: Lanes) -> tuple[Lanes]:
    centered = line.get() - mean
    return (where(opened.get(), centered * centered, 0.0),)


@over_line()
def _standardize(
    line: Stream, opened: Stream, result: Stream, *, mean: Lanes, inverse: Lanes
) -> None:
    result.set(where(opened.get(), (line.get() - mean) * inverse, 0.0))


@over_line(Sum, Sum, Sum)
def _gradient_sums(gradient: Stream, opened: Stream, result: Stream) -> tuple[Lanes, Lanes, Lanes]:
    """Return the sum of the gradient, that of it times the result, and the number of entries."""
    attendable = opened.get()
    own = where(attendable, gradient.get(), 0.0)
    return own, own * result.get(), where(attendable, 1.0, 0.0)


@over_line()
def _through(
    gradient: Stream,
    opened: Stream,
    result: Stream,
    to_map: Stream,
    *,
    mean: Lanes,
    along: Lanes,
    inverse: Lanes,
) -> None:
    """Take out what a row cannot see: its mean and its scale."""
    of_map = (gradient.get() - mean - result.get() * along) * inverse
    to_map.set(where(opened.get(), of_map, 0.0))


@jit
def _forward(own_map, mask, eps, result, inverses, first_b, last_b, first_i, last_i):
    _, H, _, M = own_map.shape
    one = own_map.dtype.type(1)
    line, opened, out = own_map.reshape(-1), mask.reshape(-1), result.reshape(-1)
    for b in range(first_b, last_b):
        for h in range(H):
            for i in range(first_i, last_i):
                at, open_at = row_start(own_map, b, h, i), row_start(mask, b, h, i)
                total, count = _total(M, line, at, opened, open_at)
                count = max(count, one)
                mean = total / count
                (squares,) = _squares(M, mean, line, at, opened, open_at)
                inverse = one / np.sqrt(squares / count + eps)
                _standardize(M, mean, inverse, line, at, opened, open_at, out, at)
                inverses[b, h, i] = inverse


@jit
def _backward(gradient, mask, result, inverses, to_map, first_b, last_b, first_i, last_i):
    _, H, _, M = result.shape
    one = result.dtype.type(1)
    given, opened, out, to = (
        gradient.reshape(-1),
        mask.reshape(-1),
        result.reshape(-1),
        to_map.reshape(-1),
    )
    for b in range(first_b, last_b):
        for h in range(H):
            for i in range(first_i, last_i):
                at, open_at = row_start(result, b, h, i), row_start(mask, b, h, i)
                total, along, count = _gradient_sums(M, given, at, opened, open_at, out, at)
                count = max(count, one)
                _through(
                    M, total / count, along / count, inverses[b, h, i],
                    given, at, opened, open_at, out, at, to, at,
                )  # fmt: skip


class NormalizeRows(torch.autograd.Function):
    """``normalize_map`` of a map ``[B, H, N, M]`` and a mask; kept are the result and the mask."""

    @staticmethod
    def forward(ctx: Any, own_map: Tensor, mask: Tensor, eps: float) -> Tensor:
        """Normalise each row over its open entries."""
        result, inverses = own_map.new_empty(own_map.shape), own_map.new_empty(own_map.shape[:3])
        given = _arrays(own_map, mask)
        made = result.numpy(), inverses.numpy()

        def work(_: Any, *chunk: int) -> None:
            _forward(*given, made[0].dtype.type(eps), *made, *chunk[:4])

        _run(work, result)
        ctx.save_for_backward(mask, result, inverses)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # type: ignore[override]
        """Hand the gradient on to the open entries of the map."""
        check_gradients(gradient)
        mask, result, inverses = ctx.saved_tensors
        to_map = torch.empty_like(result)
        arrays = *_arrays(gradient, mask), *map(array_of, (result, inverses, to_map))

        def work(_: Any, *chunk: int) -> None:
            _backward(*arrays, *chunk[:4])

        _run(work, result)
        return to_map, None, None


def _arrays(own_map: Tensor, mask: Tensor) -> tuple[np.ndarray, np.ndarray]:
    everything = np.ones((1, 1, 1, own_map.shape[3]), np.uint8)
    return array_of(own_map), rows_of(mask, everything).view(np.uint8)


def _run(work: Any, result: Tensor) -> None:
    chunks, _ = chunks_of(len(result), result.shape[2], result.numel())
    run(work, chunks, 1, np.dtype(np.float32))
