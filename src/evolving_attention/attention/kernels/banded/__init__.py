"""Evolving attention on the CPU, band by band of query rows, in scratch memory that fits the cache.

A map is read once and written once; what the backward pass needs beside it is made again. The
loops are compiled by Numba at the first call and kept on disk.
"""

from typing import Any

import torch
from torch import Tensor

__all__ = ["attend", "drawback", "refusal"]


def attend(
    query_BHNE: Tensor,
    key_BHME: Tensor,
    value_BHMV: Tensor,
    previous_map: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    *,
    alpha: float | Tensor,
    beta: float | Tensor,
    activation: str,
    window: str,
    mask: Tensor | None,
    map_bias: Tensor | None,
    scale: float,
    dropout: float,
) -> tuple[Tensor, Tensor]:
    """Return the output and the map, as the reference does."""
    from evolving_attention.attention.functional import WINDOWS
    from evolving_attention.attention.kernels.banded.autograd import BandedAttention, Options

    dtype = query_BHNE.dtype
    left, _, top, _ = WINDOWS[window](1 if weight is None else weight.shape[-1])
    seed = int(torch.randint(2**62, ())) if dropout > 0 else 0
    tensors = (query_BHNE, key_BHME, value_BHMV, previous_map, weight, bias)
    output_BHNV, map_BHNM = BandedAttention.apply(
        *map(_wide, tensors),
        alpha if previous_map is not None else 0.0,
        beta if weight is not None else 0.0,
        _wide(map_bias),
        mask,
        Options(activation, (top, left), scale, dropout, seed),
    )
    return output_BHNV.to(dtype), map_BHNM.to(dtype)


def _wide(tensor: Tensor | None) -> Tensor | None:
    if tensor is None or tensor.dtype in (torch.float32, torch.float64):
        return tensor
    return tensor.float()


def refusal(*arguments: Any, **options: Any) -> str | None:
    return None


def drawback(*arguments: Any, **options: Any) -> str | None:
    return None
