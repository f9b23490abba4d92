"""Predictions that are lines of text: they are written as they come, one for each line of input."""

import gzip
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import fields
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, get_type_hints

from jsonargparse import Namespace

from evolving_attention.cli.parser import Parser, discard_output
from evolving_attention.errors import InputError
from evolving_attention.recipe import GenerationOptions

if TYPE_CHECKING:
    from evolving_attention.runs import Run

__all__ = ["add_generation", "generation_changes", "write_lines"]

#: Lines of a pipe that are waited for before the first translation; of a terminal it is one.
_PIPED = 64


def add_generation(parser: Parser) -> None:
    """Add an option for each of :class:`GenerationOptions`; those not given stay the recipe's."""
    types = get_type_hints(GenerationOptions)
    for each in fields(GenerationOptions):
        parser.add_argument(
            f"--generation.{each.name}",
            type=types[each.name] | None,
            default=None,
            help="of translation; default: the recipe's",
        )


def generation_changes(options: Namespace) -> dict[str, Any]:
    """Return what was given of :func:`add_generation`, by dotted name."""
    given = {each.name: options[f"generation.{each.name}"] for each in fields(GenerationOptions)}
    return {f"generation.{name}": value for name, value in given.items() if value is not None}


def write_lines(run: "Run", source: str | None, output: str | None) -> None:
    """Translate a file, or standard input, into a file or to standard output.

    Parameters
    ----------
    run : Run
        The network.
    source, output : str or None
        Files, plain or ``.gz``; None or, of the source, ``-``: standard input and output.

    Raises
    ------
    InputError
        A line cannot be read; or the output is the source, which would be lost.
    """
    from evolving_attention.tasks.text_files import decoded_lines, numbered_lines

    block = None
    if source in (None, "-"):
        block = 1 if sys.stdin.isatty() else _PIPED
        numbered = decoded_lines(sys.stdin.buffer, "standard input")
    else:
        numbered = numbered_lines(Path(str(source)))
        if output and Path(output).resolve() == Path(str(source)).resolve():
            raise InputError(f"{output} is what is to be translated: name another file.")
    lines: Iterator[str] = (line for _, line in numbered)
    written = run.task.translate(run.model, lines, block)  # type: ignore[attr-defined]
    if output is None and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8")
    first = list(islice(written, 1))  # before a file is opened that may hold something
    count, at_once = 0, not (output or "").endswith(".gz")  # each line packed alone is long
    try:
        with _opened(output) if output else nullcontext(sys.stdout) as file:
            for line in chain(first, written):
                print(line, file=file, flush=at_once)
                count += 1
    except BrokenPipeError:
        discard_output()
        return
    if output:
        print(f"{count} lines: {output}")


def _opened(output: str) -> TextIO:
    """Open a file for text, packed where its name ends so."""
    if output.endswith(".gz"):
        return gzip.open(output, "wt", encoding="utf-8")  # type: ignore[return-value]
    return open(output, "w", encoding="utf-8")
