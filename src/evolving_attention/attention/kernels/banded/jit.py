"""How the loops are compiled: once a machine, without the interpreter's lock."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from numba import njit

__all__ = ["jit"]

#: Sums may be reordered and products joined to sums; not a number stays not a number.
_FASTMATH = {"reassoc", "contract", "nsz", "arcp"}
#: Numba asks one file whether it has changed; the loops are made of all files here.
_SOURCES = sha256(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
).hexdigest()


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile at the first call, and keep the result on disk where that is possible."""
    options = {"nogil": True, "fastmath": _FASTMATH, "error_model": "numpy"}
    try:
        compiled: Callable[..., Any] = njit(function, cache=True, **options)
        compiled._cache._cache_file._source_stamp = _SOURCES  # type: ignore[attr-defined]
    except (AttributeError, RuntimeError):  # another Numba, or no folder to keep anything in
        compiled = njit(function, **options)
    return compiled
