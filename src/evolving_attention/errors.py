"""The user's mistakes."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["InputError", "needing", "reading", "reason"]


class InputError(ValueError):
    """A mistake in data, a file or a setting, told in one sentence.

    It says what is wrong, where, and what would be right. The command line prints the sentence and
    exits with code 2.
    """


def reason(error: Exception) -> str:
    """Return the first sentence of another library's error, without its full stop."""
    sentence = re.split(r"(?<=[.!?]) +(?=[A-Z])", " ".join(str(error).split()))[0]
    return sentence.rstrip(".") or type(error).__name__


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn any error of reading a file into one :class:`InputError` that names it."""
    try:
        yield
    except Exception as error:
        raise InputError(f"{path} is missing or damaged: {reason(error)}.") from error


@contextmanager
def needing(extra: str) -> Iterator[None]:
    """Turn the failed import of an optional package into one sentence that names its extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or extra).partition(".")[0]
        raise InputError(
            f"{package} is not installed: pip install 'evolving-attention[{extra}]'."
        ) from error
