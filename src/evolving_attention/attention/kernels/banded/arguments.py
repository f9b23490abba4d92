"""What the compiled loops are given.

Shape letters: B batch, H heads, N queries, M keys, E head width of queries and keys, V head width
of values, K kernel size, P = M rounded up to whole vectors, S = width of a line with room for the
kernel beside it, R rows in a band, C parts of rows.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from evolving_attention.attention.kernels.banded.vectors import LANES

__all__ = [
    "Gradients",
    "Layer",
    "Plan",
    "Results",
    "Sizes",
    "array_of",
    "plan_for",
    "rows_of",
    "strided_rows_of",
]

#: Numbers that a buffer of a band may hold: a few of them fit a usual L2 cache of 1 MiB.
BAND = 2**15
#: Rows that a band has at least: what is read for every band anew, keys and values, counts less.
FEWEST_ROWS = 32


class Sizes(NamedTuple):
    """Lengths, and the kernel's reach above and to the left."""

    H: int
    N: int
    M: int
    E: int
    V: int
    K: int
    P: int
    S: int
    R: int
    top: int
    left: int


class Layer(NamedTuple):
    """Contiguous arrays of a layer. Where it does without a part, one row of zeros serves all.

    ``numbers`` are alpha, beta, the scale of the logits, the slope of the activation below 0 and
    the factor of probabilities that dropout keeps. ``offsets`` are where a convolution's inputs
    stand, and ``steps`` are 0, P, 2 P, ...
    """

    query: np.ndarray  # [B, H, N, E]
    key: np.ndarray  # [B, H, M, E]
    value: np.ndarray  # [B, H, M, V]
    previous: np.ndarray  # [B, H, N, M] or [1, 1, 1, M]
    weight: np.ndarray  # [H H K K], or empty
    bias: np.ndarray  # [H]
    map_bias: np.ndarray  # flat, as it lies in memory
    bias_steps: np.ndarray  # [3]: how far its samples, heads and rows are apart
    mask: np.ndarray  # uint8, [B or 1, H or 1, N or 1, M]
    nothing: np.ndarray  # [1, 1, 1, M], zeros
    numbers: np.ndarray
    offsets: np.ndarray
    steps: np.ndarray


class Results(NamedTuple):
    """What the forward pass writes, and the backward pass reads again."""

    output: np.ndarray  # [B, H, N, V]
    own_map: np.ndarray  # [B, H, N, M]
    signs: np.ndarray  # int16, [B, H, N, P / 16] or one row: where the convolution is positive
    stats: np.ndarray  # [B, H, N, 2]: maximum and 1 / sum of the softmax


class Gradients(NamedTuple):
    """What the backward pass is given first, then what it writes."""

    output: np.ndarray  # [B, H, N, V]
    own_map: np.ndarray  # [B, H, N, M] or [1, 1, 1, M], zeros
    query: np.ndarray  # [B, H, N, E]
    key: np.ndarray  # [C, B, H, M, E]
    value: np.ndarray  # [C, B, H, M, V]
    previous: np.ndarray  # [B, H, N, M] or one row, where it is not wanted
    map_bias: np.ndarray  # the same
    weight: np.ndarray  # [C, B, H, H K K]
    bias: np.ndarray  # [C, B, H]
    numbers: np.ndarray  # [C, B, 2], float64: alpha and beta


class Plan(NamedTuple):
    """What follows from the sizes alone."""

    sizes: Sizes
    offsets: np.ndarray
    steps: np.ndarray
    nothing: np.ndarray
    everything: np.ndarray


@lru_cache(maxsize=64)
def plan_for(
    H: int, N: int, M: int, E: int, V: int, K: int, top: int, left: int, dtype: torch.dtype
) -> Plan:
    """Choose the height of a band; lay out its buffers."""
    P = -(-M // LANES) * LANES
    S = P + -(-(K - 1) // LANES) * LANES
    R = min(N, max(FEWEST_ROWS, BAND // (H * S)))
    lines = np.arange(H)[:, None, None] * (R + K - 1) + np.arange(K)[:, None]
    return Plan(
        Sizes(H, N, M, E, V, K, P, S, R, top, left),
        offsets=(lines * S + np.arange(K)).reshape(-1),
        steps=np.arange(max(E, V, R + K)) * P,
        nothing=torch.zeros(1, 1, 1, M, dtype=dtype, device="cpu").numpy(),
        everything=np.ones((1, 1, 1, M), np.uint8),
    )


def array_of(tensor: Tensor) -> np.ndarray:
    """Return a contiguous array, of the same memory where it is contiguous."""
    array: np.ndarray = tensor.detach().contiguous().numpy()
    return array


def strided_rows_of(tensor: Tensor | None, otherwise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a map's memory as it lies, and the steps between its samples, heads and rows.

    A relative position's logits come with their rows in another order; they are as large as a map,
    and to copy them would cost as much as to read them several times.
    """
    if tensor is None:
        return otherwise.reshape(-1), np.zeros(3, np.int64)
    if tensor.dim() < 4:
        tensor = tensor[(None,) * (4 - tensor.dim())]
    if tensor.shape[3] != otherwise.shape[3] or tensor.stride(3) != 1:
        tensor = tensor.expand(-1, -1, -1, otherwise.shape[3]).contiguous()
    sizes, steps = tensor.shape[:3], tensor.stride()[:3]
    steps = tuple(step if size > 1 else 0 for size, step in zip(sizes, steps, strict=True))
    extent = tensor.shape[3] + sum(
        (size - 1) * step for size, step in zip(sizes, steps, strict=True)
    )
    flat = tensor.detach().as_strided((extent,), (1,))
    return flat.numpy(), np.array(steps, np.int64)


def rows_of(tensor: Tensor | None, otherwise: np.ndarray) -> np.ndarray:
    """Give a tensor that broadcasts to a map four dimensions and whole rows."""
    if tensor is None:
        return otherwise
    if tensor.dim() < 4:
        tensor = tensor[(None,) * (4 - tensor.dim())]
    if tensor.shape[3] != otherwise.shape[3]:
        tensor = tensor.expand(-1, -1, -1, otherwise.shape[3])
    return array_of(tensor)
