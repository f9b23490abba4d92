"""Plain text files, a text a line."""

import codecs
from collections.abc import Iterator
from pathlib import Path

from evolving_attention.errors import InputError
from evolving_attention.tasks.text_data import LabelledTexts

__all__ = ["numbered_lines", "read_text_file", "text_files"]


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
    """Yield the lines of a file in UTF-8, with or without a byte-order mark, and their numbers.

    Lines end at line feeds only: other characters that Python takes for ends of lines stand within
    texts.

    Raises
    ------
    InputError
        It is missing, or a line is not UTF-8; the message names the line.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}.")
    lines = path.read_bytes().removeprefix(codecs.BOM_UTF8).split(b"\n")
    if lines[-1] == b"":  # the end of the last line
        lines.pop()
    for number, line in enumerate(lines, start=1):
        try:
            yield number, line.removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path}, line {number}, is not UTF-8: byte {error.start + 1} of the line is "
                f"{line[error.start]:#04x}."
            ) from None
