"""Which implementation computes evolving attention: the registry, the choice, and its reasons.

``backend="auto"`` takes the first of :data:`BACKENDS` that neither refuses its arguments nor has a
drawback; the reference, which is last, takes all. A backend can be forced, in this order, by the
argument, by :func:`attention_backend`, or by the environment variable
``EVOLVING_ATTENTION_BACKEND``; a forced backend that cannot take the arguments says so in an error.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from evolving_attention.attention.checks import check_choice
from evolving_attention.attention.kernels import banded, triton

__all__ = [
    "BACKENDS",
    "ENVIRONMENT_VARIABLE",
    "Backend",
    "BackendChoice",
    "attention_backend",
    "choose_backend",
    "normalize_by_backend",
]

ENVIRONMENT_VARIABLE = "EVOLVING_ATTENTION_BACKEND"


def _takes_all(*_: Any, **__: Any) -> str | None:
    return None


@dataclass(frozen=True)
class Backend:
    """An implementation; see :mod:`evolving_attention.attention.kernels` for the functions.

    They import what they need when they are called: to have a backend registered costs nothing.
    One that ``overwrites`` can write the new map over the previous one.
    """

    attend: Callable[..., tuple[Tensor, Tensor]]
    refusal: Callable[..., str | None] = _takes_all
    drawback: Callable[..., str | None] = _takes_all
    overwrites: bool = False
    normalize: Callable[..., Tensor | None] | None = None


def _reference(*arguments: Any, **options: Any) -> tuple[Tensor, Tensor]:
    from evolving_attention.attention.functional import reference  # which imports this file

    return reference(*arguments, **options)


#: Implementations by name, those that ``"auto"`` prefers first. Every one is tested against
#: ``"reference"``, outputs and gradients.
BACKENDS: dict[str, Backend] = {
    "triton": Backend(triton.attend, triton.refusal, triton.drawback),
    "banded": Backend(banded.attend, banded.refusal, banded.drawback, True, banded.normalize),
    "reference": Backend(_reference),
}


@dataclass(frozen=True)
class BackendChoice:
    """A backend's name, and for each backend passed over the sentence that says why."""

    name: str
    passed_over: dict[str, str]

    def __str__(self) -> str:
        reasons = (f"not {name}: {reason}" for name, reason in self.passed_over.items())
        return "\n".join((self.name, *reasons))


_forced: list[str] = []  # by attention_backend, the innermost last


@contextmanager
def attention_backend(name: str) -> Iterator[None]:
    """Compute evolving attention by this backend wherever ``backend="auto"`` inside the block.

    It holds for the whole process, as autograd may recompute layers in threads of its own.

    Parameters
    ----------
    name : str
        ``"auto"`` or a name in :data:`BACKENDS`.

    Examples
    --------
    >>> import torch
    >>> from evolving_attention.attention import attention_backend, evolving_attention
    >>> query = key = value = torch.randn(2, 4, 5, 8)
    >>> with attention_backend("reference"):
    ...     output, own_map = evolving_attention(query, key, value)
    """
    check_choice("backend", name, ("auto", *BACKENDS))
    _forced.append(name)
    try:
        yield
    finally:
        _forced.pop()


def _wanted(name: str) -> tuple[str, str]:
    """Return the backend asked for and by what."""
    if name != "auto":
        return name, f"backend={name!r}"
    if _forced:
        return _forced[-1], f"attention_backend({_forced[-1]!r})"
    name = os.environ.get(ENVIRONMENT_VARIABLE, "") or "auto"
    check_choice(ENVIRONMENT_VARIABLE, name, ("auto", *BACKENDS))
    return name, f"{ENVIRONMENT_VARIABLE}={name}"


def normalize_by_backend(
    name: str, map_BHNM: Tensor, mask: Tensor | None, eps: float
) -> Tensor | None:
    """Normalise a map by a backend that has loops of its own for it; None if none does it."""
    name, _ = _wanted(name)
    if torch.compiler.is_compiling():
        return None
    for each in BACKENDS if name == "auto" else (name,):
        normalize = BACKENDS[each].normalize
        if normalize is not None and (rows := normalize(map_BHNM, mask, eps)) is not None:
            return rows
    return None


def choose_backend(name: str, *arguments: Any, **options: Any) -> BackendChoice:
    """Choose the backend for the reference's arguments.

    Raises
    ------
    ValueError
        A forced backend cannot take the arguments.
    """
    name, source = _wanted(name)
    if name != "auto":
        if (reason := BACKENDS[name].refusal(*arguments, **options)) is not None:
            raise ValueError(f"{source} cannot be used here: {reason}")
        return BackendChoice(name, {})
    if torch.compiler.is_compiling():  # a compiler sees into the reference, and fuses it itself
        return BackendChoice("reference", {})
    passed_over: dict[str, str] = {}
    for name, backend in BACKENDS.items():
        reason = backend.refusal(*arguments, **options)
        reason = backend.drawback(*arguments, **options) if reason is None else reason
        if reason is None:
            return BackendChoice(name, passed_over)
        passed_over[name] = reason
    raise AssertionError("The reference takes all arguments.")
