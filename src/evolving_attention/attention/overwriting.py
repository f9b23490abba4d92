"""Inference in the memory of one map: the leave to write a layer's map over the one before."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["maps_may_be_overwritten", "overwriting_maps"]

_local = threading.local()


@contextmanager
def overwriting_maps() -> Iterator[None]:
    """Let every layer write its map over the previous one, where no gradient is wanted.

    A stack of any depth then needs one map. It is for callers who look at no map but the last: a
    map that a hook noted, or that a model returns of an earlier layer, holds the last layer's
    entries afterwards. Backends that cannot do it make new maps as ever, and the results are the
    same. It holds for the thread that opens it.

    Examples
    --------
    >>> import torch
    >>> from evolving_attention.attention import EvolvingAttention, overwriting_maps
    >>> layers = [EvolvingAttention(4), EvolvingAttention(4, alpha=0.5, beta=0.5)]
    >>> states, own_map = torch.randn(2, 4, 64, 8), None
    >>> with torch.inference_mode(), overwriting_maps():
    ...     for layer in layers:
    ...         states, own_map = layer(states, states, states, own_map)
    """
    before = getattr(_local, "allowed", False)
    _local.allowed = True
    try:
        yield
    finally:
        _local.allowed = before


def maps_may_be_overwritten() -> bool:
    """Whether a previous map may be overwritten here and now."""
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    return getattr(_local, "allowed", False)
