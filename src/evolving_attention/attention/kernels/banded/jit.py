"""How the loops are compiled: once a machine, without the interpreter's lock."""

from collections.abc import Callable
from typing import Any

from numba import njit

__all__ = ["jit"]

#: Sums may be reordered and products joined to sums; not a number stays not a number.
_FASTMATH = {"reassoc", "contract", "nsz", "arcp"}


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile at the first call, and keep the result on disk where that is possible."""
    options = {"nogil": True, "fastmath": _FASTMATH, "error_model": "numpy"}
    try:
        return njit(function, cache=True, **options)
    except RuntimeError:  # no folder to keep it in
        return njit(function, **options)
