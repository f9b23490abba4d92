"""What the compiled loops are given.

Shape letters: B batch, H heads, N queries, M keys, E head width of queries and keys, V head width
of values, K kernel size, P = M rounded up to whole vectors, S = width of a line with room for the
kernel beside it, R rows in a band.
"""

from typing import NamedTuple

import numpy as np

__all__ = ["Gradients", "Layer", "Results", "Sizes"]


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
    """Contiguous arrays of a layer; those that it does without are empty.

    ``numbers`` are alpha, beta, the scale of the logits, the slope of the activation below 0 and
    the factor of probabilities that dropout keeps. ``offsets`` are where a convolution's inputs
    stand, and ``steps`` are 0, P, 2 P, ...
    """

    query: np.ndarray  # [B, H, N, E]
    key: np.ndarray  # [B, H, M, E]
    value: np.ndarray  # [B, H, M, V]
    previous: np.ndarray  # [B, H, N, M]
    weight: np.ndarray  # [H, H K K], flat; of the backward pass the turned kernel too
    bias: np.ndarray  # [H]
    map_bias: np.ndarray  # [B or 1, H or 1, N, M]
    mask: np.ndarray  # uint8, [B or 1, H or 1, N, M]
    numbers: np.ndarray
    offsets: np.ndarray
    steps: np.ndarray
    lines: np.ndarray


class Results(NamedTuple):
    """What the forward pass writes, and the backward pass reads again."""

    output: np.ndarray  # [B, H, N, V]
    own_map: np.ndarray  # [B, H, N, M]
    signs: np.ndarray  # uint16, [B, H, N, P / 16]: where the convolution is positive
    stats: np.ndarray  # [B, H, N, 2]: maximum and 1 / sum of the softmax


class Gradients(NamedTuple):
    """What the backward pass is given first, then what it writes, for C chunks of rows."""

    output: np.ndarray  # [B, H, N, V]
    own_map: np.ndarray  # [B, H, N, M]
    query: np.ndarray  # [B, H, N, E]
    key: np.ndarray  # [C, B, H, M, E]
    value: np.ndarray  # [C, B, H, M, V]
    previous: np.ndarray  # [B, H, N, M]
    map_bias: np.ndarray  # [B, H, N, M]
    weight: np.ndarray  # [C, B, H, H K K]
    bias: np.ndarray  # [C, B, H]
    numbers: np.ndarray  # [C, B, 2], float64: alpha and beta
