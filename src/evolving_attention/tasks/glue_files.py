"""GLUE's original TSV files.

The files know no quoting: a quotation mark is a character, often a lonely one. So lines are cut at
tabs, as ``csv`` would with ``QUOTE_NONE``, and the number of each line is known to whoever has to
look for a mistake.
"""

import math
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from evolving_attention.errors import InputError
from evolving_attention.tasks.glue_tasks import GlueDescription
from evolving_attention.tasks.text_data import LabelledTexts
from evolving_attention.tasks.text_files import numbered_lines

__all__ = ["read_glue_file"]

#: CoLA's training and dev files have no header: source, label, the source's own mark, sentence.
_COLA = ("source", "label", "mark", "sentence")


def read_glue_file(
    path: str | Path, task: GlueDescription, *, labelled: bool | None = None
) -> LabelledTexts:
    """Read a file of a task.

    Parameters
    ----------
    path : str or Path
        The file, in UTF-8, with or without a byte-order mark.
    task : GlueDescription
        Whose columns and labels it has.
    labelled : bool, optional
        Whether it must have labels. Default: it may.

    Raises
    ------
    InputError
        It is no such file; the message names the line.
    """
    path = Path(path)
    rows = _rows(path)
    number, header = next(rows, (0, []))
    if not header:
        raise InputError(f"{path} is empty; a file of {task.name} starts with the columns' names.")
    if task.name == "CoLA" and "sentence" not in header:
        if len(header) != len(_COLA):
            raise InputError(
                f"{path} has no column 'sentence' in its first line, nor the {len(_COLA)} columns "
                f"of CoLA's files without a header: it has {len(header)}."
            )
        rows, header = _rows(path), list(_COLA)
    places = [_place(path, name, header, task) for name in task.texts]
    place = header.index(task.label) if task.label in header else None
    if labelled and place is None:
        raise InputError(f"{path} has no column {task.label!r}: {task.name} needs its labels.")
    texts, targets, torn = [], [], 0
    for number, row in rows:
        if len(row) != len(header):
            if not task.lossy or place is None:  # a prediction is owed for every unlabelled row
                raise InputError(_wrong_number(path, number, len(row), len(header)))
            torn += 1
            continue
        texts.append(tuple(row[index].strip() for index in places))
        if place is not None:
            targets.append(_target(path, number, row[place], task))
    if not texts:
        raise InputError(f"{path} has no rows below the columns' names.")
    if torn:
        warnings.warn(f"{path}: {torn} rows torn by line breaks were left out", stacklevel=2)
    kind = np.float64 if task.is_regression else np.str_
    return LabelledTexts(texts, None if place is None else np.array(targets, dtype=kind))


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield every line's number, from 1, and its columns; blank ones at the end are none."""
    blank = []
    for number, line in numbered_lines(path):
        if not line.strip():
            blank.append(number)
            continue
        yield from ((each, [""]) for each in blank)
        blank.clear()
        yield number, line.split("\t")


def _place(path: Path, name: str, header: list[str], task: GlueDescription) -> int:
    if name not in header:
        raise InputError(
            f"{path} has no column {name!r} in its first line, which a file of {task.name} has; "
            f"it has {len(header)} columns, {', '.join(map(repr, header[:12]))}."
        )
    return header.index(name)


def _wrong_number(path: Path, number: int, found: int, wanted: int) -> str:
    columns = "column" if found == 1 else "columns"
    return f"{path}, line {number}, has {found} {columns} where there should be {wanted}."


def _target(path: Path, number: int, text: str, task: GlueDescription) -> str | float:
    text = text.strip()
    if task.labels:
        if text not in task.labels:
            raise InputError(
                f"{path}, line {number}, has the label {text!r}: {task.name} knows "
                f"{', '.join(task.labels)}."
            )
        return text
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{path}, line {number}, has the score {text!r}, which is no number.")
    return value
