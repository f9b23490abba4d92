"""Files of sentences and their translations: a pair of them, a language each, or two columns.

Names end with their language, ``train.de`` and ``train.en``, or with ``.tsv``; after that ``.gz``.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from evolving_attention.errors import InputError
from evolving_attention.tasks.parallel_texts import ParallelTexts
from evolving_attention.tasks.text_files import numbered_lines
from evolving_attention.trainer.processes import tell

__all__ = ["PairOfFiles", "Table", "kept_pairs", "language_files", "tables"]

_LANGUAGE = re.compile(r"(?!(?:tsv|txt|csv|md|py)$)[a-z]{2,3}([-_][A-Za-z]{2,8})?")


@dataclass(frozen=True)
class PairOfFiles:
    """Two files, line by line each other's translation."""

    source: Path
    target: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """All that is read."""
        return self.source, self.target

    def read(self, name: str) -> ParallelTexts:
        """Read them.

        Parameters
        ----------
        name : str
            What messages call the part.

        Raises
        ------
        InputError
            A file is missing, damaged or not UTF-8, or they have unequal numbers of lines.
        """
        sides = zip_longest(*(numbered_lines(path) for path in self.files))
        pairs = [tuple(None if line is None else line[1] for line in pair) for pair in sides]
        counts = [sum(pair[side] is not None for pair in pairs) for side in (0, 1)]
        if counts[0] != counts[1]:
            raise InputError(
                f"{self.source} has {counts[0]} lines and {self.target} has {counts[1]}: each line "
                "must have its translation."
            )
        return kept_pairs(pairs, name)  # type: ignore[arg-type]  # none is missing


@dataclass(frozen=True)
class Table:
    """One file, ``.tsv``: the sentence, a tab, its translation."""

    path: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """All that is read."""
        return (self.path,)

    def read(self, name: str) -> ParallelTexts:
        """Read it; see :meth:`PairOfFiles.read`."""
        pairs = []
        for number, line in numbered_lines(self.path):
            columns = line.split("\t") if line.strip() else ["", ""]
            if len(columns) != 2:
                raise InputError(
                    f"{self.path}, line {number}, has {len(columns)} "
                    f"{'column' if len(columns) == 1 else 'columns'} where there should be 2, a "
                    "sentence and its translation."
                )
            pairs.append((columns[0], columns[1]))
        return kept_pairs(pairs, name)


def kept_pairs(pairs: Iterable[tuple[str, str]], name: str) -> ParallelTexts:
    """Return the pairs of which no side is empty, and tell how many others there are.

    Raises
    ------
    InputError
        There is no pair.
    """
    everything = [(source.strip(), target.strip()) for source, target in pairs]
    kept = [pair for pair in everything if all(pair)]
    if not kept:
        raise InputError(f"{name} has no pair of sentences in it.")
    if empty := len(everything) - len(kept):
        tell(f"{empty} of {len(everything)} pairs of {name} were left out: a side is empty")
    sources, targets = zip(*kept, strict=True)
    return ParallelTexts.of(sources, targets, empty)


def language_files(folder: Path) -> dict[str, dict[str, Path]]:
    """Return the files of a folder that are named by a language, by part and language."""
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.iterdir()):
        part, dot, language = path.name.removesuffix(".gz").rpartition(".")
        if path.is_file() and dot and part and _LANGUAGE.fullmatch(language):
            if path.name != f"{part}.{language}" and language in found.get(part, {}):
                continue  # the same file, packed
            found.setdefault(part, {})[language] = path
    return {part: files for part, files in found.items() if len(files) > 1}


def tables(folder: Path) -> dict[str, Table]:
    """Return the tables of a folder by part."""
    return {
        path.name.removesuffix(".gz").removesuffix(".tsv"): Table(path)
        for path in sorted(folder.iterdir(), reverse=True)  # of two, the one that is not packed
        if path.is_file() and path.name.endswith((".tsv", ".tsv.gz"))
    }
