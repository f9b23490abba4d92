"""The user's mistakes."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

__all__ = ["InputError", "close_to", "needing", "reading", "reason", "wrong_value"]


class InputError(ValueError):
    """A mistake in data, a file or a setting, told in one sentence.

    It says what is wrong, where, and what would be right. The command line prints the sentence and
    exits with code 2.
    """


def reason(error: Exception) -> str:
    """Return the first sentence of another library's error, without its full stop."""
    if (told := wrong_value(str(error))) != str(error):
        return told
    sentence = re.split(r"(?<=[.!?]) +(?=[A-Z])", " ".join(str(error).split()))[0]
    return sentence.rstrip(".") or type(error).__name__


def close_to(name: str, names: Iterable[str]) -> str:
    """Return ``" (did you mean 'alpha'?)"``, or nothing where no name is close."""
    close = get_close_matches(name, names, n=1, cutoff=0.65)
    return f" (did you mean {close[0]!r}?)" if close else ""


_TYPES = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "dict": "a mapping",
    "NoneType": "null",
}
_WRONG_VALUE = re.compile(r'Parser key "([^"]+)":.*?(?:Got|Given) value: (.*)', re.DOTALL)


def wrong_value(message: str) -> str:
    """Return jsonargparse's message in our words; another is returned as it is.

    ``Parser key "seed": Expected a <class 'int'>. Got value: x`` becomes ``seed must be a whole
    number, got x``.
    """
    if not (told := _WRONG_VALUE.match(message)):
        return message
    wanted: list[str] = []
    would_do = re.sub("Given value type: .*", "", message)
    for type_name, literals in re.findall(r"<class '(\w+)'>|Literal\[([^\]]*)\]", would_do):
        wanted += literals.replace("'", "").split(", ") if literals else [type_name]
    wanted = [_TYPES.get(each, each) for each in dict.fromkeys(wanted)]
    return f"{told[1]} must be {' or '.join(wanted)}, got {told[2].strip()}"


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
