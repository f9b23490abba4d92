"""Plain text files, a text a line."""

import codecs
import gzip
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from evolving_attention.errors import InputError, reason
from evolving_attention.tasks.text_data import LabelledTexts

__all__ = ["decoded_lines", "numbered_lines", "read_text_file", "text_files"]


def text_files(source: str) -> list[Path]:
    """Return the text files that a path means: itself, or those of a folder; none if it is none."""
    path = Path(source).expanduser()
    return [path] if path.is_file() else sorted(path.glob("*.txt"))


def read_text_file(path: str | Path) -> LabelledTexts:
    """Read a text file in UTF-8: every line that is not blank is a text.

    Raises
    ------
    InputError
        It is missing, not UTF-8, or has no text.
    """
    texts: list[tuple[str, ...]] = [
        (line.strip(),) for _, line in numbered_lines(Path(path)) if line.strip()
    ]
    if not texts:
        raise InputError(f"{path} has no text in it.")
    return LabelledTexts(texts)


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file in UTF-8, plain or gzip (``.gz``), and their numbers.

    The file is read as its lines are asked for. See :func:`decoded_lines`.

    Raises
    ------
    InputError
        It is missing or damaged, or a line is not UTF-8; the message names the line.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}.")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
            yield from decoded_lines(lines, str(path))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path} is no whole gzip file: {reason(error)}.") from error


def decoded_lines(lines: Iterable[bytes], name: str) -> Iterator[tuple[int, str]]:
    """Yield lines in UTF-8, with or without a byte-order mark, as text, numbered from 1.

    Lines end at line feeds only: other characters that Python takes for ends of lines stand within
    texts.

    Parameters
    ----------
    lines : iterable of bytes
        Lines with their ends, as a binary file yields them.
    name : str
        What messages call the file.
    """
    for number, line in enumerate(lines, start=1):
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
            if not line:  # nothing but the mark
                return
        line = line.removesuffix(b"\n").removesuffix(b"\r")
        try:
            yield number, line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{name}, line {number}, is not UTF-8: byte {error.start + 1} of the line is "
                f"{line[error.start]:#04x}."
            ) from None
