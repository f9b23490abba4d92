"""Where pairs of sentences are: what ``data.train``, ``data.validation`` and ``data.test`` mean."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from evolving_attention.errors import InputError
from evolving_attention.recipe import TranslationDataOptions
from evolving_attention.tasks.family import folder_name
from evolving_attention.tasks.parallel_files import PairOfFiles, Table, language_files, tables
from evolving_attention.tasks.parallel_hub import hub_parts
from evolving_attention.tasks.parallel_texts import ParallelTexts

__all__ = ["Corpus", "Part", "find_corpus", "find_part", "find_tests"]

#: Names of a part to validate on, the likelier first, and beginnings of those of test parts.
_VALIDATION = ("val", "valid", "validation", "dev")
_TEST = re.compile(r"(news)?test")


class Part(Protocol):
    """A part of a corpus that has not been read yet."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files it is read from; none where they are elsewhere."""

    def read(self, name: str) -> ParallelTexts:
        """Read it."""


@dataclass
class Corpus:
    """The parts of a corpus, none of them read yet.

    Attributes
    ----------
    name : str
        Of the data set.
    source, target : str
        The languages.
    train : Part
        What trains.
    validation : Part, optional
        What chooses the epoch.
    tests : dict of str to Part
        What a run is measured on.
    """

    name: str
    source: str
    target: str
    train: Part
    validation: Part | None = None
    tests: dict[str, Part] = field(default_factory=dict)


def find_corpus(options: TranslationDataOptions) -> Corpus:
    """Find the parts that a recipe's data name.

    Raises
    ------
    InputError
        There is no such source, or its languages are not clear.
    """
    given = options.train
    assert given is not None
    if given.startswith("hub:"):
        splits, source, target = hub_parts(given, options.source, options.target)
        name = given.split(":")[1].partition("@")[0].rpartition("/")[2]
        return _corpus(name, source, target, splits, options)
    path = Path(given).expanduser()
    if path.is_dir():
        folder, name = path, folder_name(path)
    else:
        folder, name = path.parent, path.name.removesuffix(".gz").removesuffix(".tsv")
    if path.is_file() and not path.name.endswith((".tsv", ".tsv.gz")):
        raise InputError(
            f"{given} is a file of one language: give what it and its translation begin with, "
            "such as corpus/train for corpus/train.de and corpus/train.en."
        )
    if not folder.is_dir():
        raise InputError(f"there are no pairs of sentences at {given!r}.")
    parts, source, target = _parts_of(folder, options, None if path.is_dir() else name)
    if not path.is_dir():
        parts["train"] = find_part(given, source, target)
    return _corpus(name, source, target, parts, options)


def find_part(given: str, source: str, target: str) -> Part:
    """Return the part that a file, or the beginning of two, means.

    Raises
    ------
    InputError
        There is no such file.
    """
    path = Path(given).expanduser()
    if path.is_file() and path.name.endswith((".tsv", ".tsv.gz")):
        return Table(path)
    for language in (source, target):  # one of the files stands for both
        name = path.name.removesuffix(".gz")
        if path.is_file() and name.endswith(f".{language}"):
            path = path.with_name(name.removesuffix(f".{language}"))
    sides = [_side(path, language) for language in (source, target)]
    missing = [
        str(path) + f".{language}"
        for side, language in zip(sides, (source, target), strict=True)
        if side is None
    ]
    if missing and path.is_dir():
        raise InputError(f"{given} is a folder: name a part in it, such as {Path(given) / 'test'}.")
    if missing:
        raise InputError(
            f"there are no pairs of sentences at {given!r}: {missing[0]} is missing, plain or .gz."
        )
    return PairOfFiles(*sides)  # type: ignore[arg-type]  # none is missing


def find_tests(given: str, options: TranslationDataOptions) -> dict[str, Part]:
    """Return the parts that a text names, with commas between, by name.

    Each is a file as :func:`find_part` takes it, or a part beside the training part.

    Parameters
    ----------
    given : str
        The text.
    options : TranslationDataOptions
        The data of the recipe, with both languages; the training part may be gone.

    Raises
    ------
    InputError
        There is no such part.
    """
    source, target = str(options.source), str(options.target)
    try:
        return _tests(given, source, target, partial(find_part, source=source, target=target))
    except InputError as missing:
        try:
            find_corpus(options)
        except InputError:
            raise missing from None
        return find_corpus(replace(options, test=given)).tests


def _side(path: Path, language: str) -> Path | None:
    plain = path.with_name(f"{path.name}.{language}")
    return next((each for each in (plain, Path(f"{plain}.gz")) if each.is_file()), None)


def _parts_of(
    folder: Path, options: TranslationDataOptions, train: str | None
) -> tuple[dict[str, Part], str, str]:
    """Return all parts of a folder, and the languages: those of the part that trains."""
    pairs, columns = language_files(folder), tables(folder)
    train = train or _training_name([*pairs, *columns])
    if train is None:
        raise InputError(
            f"{folder} has no training part: two files such as train.de and train.en, plain or "
            ".gz, or train.tsv."
        )
    if train not in pairs and train not in columns:
        raise InputError(
            f"there are no pairs of sentences at {folder / train}: two files such as {train}.de "
            f"and {train}.en, plain or .gz, or {train}.tsv."
        )
    if train not in pairs:
        source, target = options.source or "source", options.target or "target"
    else:
        source, target = _languages(list(pairs[train]), options, folder)
        columns = {}  # whose languages, and their order, nothing tells
    parts: dict[str, Part] = dict(columns)
    for name, files in pairs.items():
        if source in files and target in files:
            parts[name] = PairOfFiles(files[source], files[target])
    if train in parts:
        parts["train"] = parts[train]
    return parts, source, target


def _training_name(names: list[str]) -> str | None:
    beginning = [name for name in names if name.startswith("train")]
    return min(beginning, key=len, default=None)


def _languages(there: list[str], options: TranslationDataOptions, where: object) -> tuple[str, str]:
    """Return source and target: those asked for, else the two there are, in their order."""
    for name, language in (("source", options.source), ("target", options.target)):
        if language is not None and language not in there:
            raise InputError(
                f"data.{name} is {language!r}, but the languages in {where} are {', '.join(there)}."
            )
    if options.source is not None and options.source == options.target:
        raise InputError(f"data.source and data.target are both {options.source!r}.")
    left = [each for each in there if each not in (options.source, options.target)]
    unknown = 2 - sum(each is not None for each in (options.source, options.target))
    if unknown and len(left) != unknown:
        raise InputError(
            f"{where} has the languages {', '.join(there)}: say which to translate, --data.source "
            "and --data.target."
        )
    source = options.source or left.pop(0)
    return source, options.target or left.pop(0)


def _corpus(
    name: str,
    source: str,
    target: str,
    parts: Mapping[str, Part],
    options: TranslationDataOptions,
) -> Corpus:
    """Choose the parts that validate and test."""
    if options.validation is not None:
        validation: Part | None = _named(options.validation, parts, source, target)
    else:
        validation = next((parts[each] for each in _VALIDATION if each in parts), None)
    if options.test is not None:
        find = partial(_named, parts=parts, source=source, target=target)
        tests = _tests(options.test, source, target, find)
    else:
        names = [each for each in sorted(parts) if _TEST.match(each)]
        # What chooses the epoch cannot measure the network as well.
        chosen_on = None if validation is None else _place(validation)
        tests = {each: parts[each] for each in names if _place(parts[each]) != chosen_on}
    return Corpus(name, source, target, parts["train"], validation, tests)


def _place(part: Part) -> object:
    return tuple(path.resolve() for path in part.files) or part


def _named(given: str, parts: Mapping[str, Part], source: str, target: str) -> Part:
    if given in parts:
        return parts[given]
    try:
        return find_part(given, source, target)
    except InputError as error:
        known = ", ".join(each for each in parts if each != "train")
        raise InputError(
            f"there is no part {given!r} beside the training part, which has {known or 'none'}: "
            f"{error}"
        ) from None


def _tests(given: str, source: str, target: str, find: Callable[[str], Part]) -> dict[str, Part]:
    """Return what is named, with commas between, by the last parts of the names."""
    wanted = [each.strip() for each in given.split(",") if each.strip()]
    tests = {_short(each, source, target): find(each) for each in wanted}
    if len(tests) < len(wanted):
        raise InputError(f"in {given!r} two parts have one name: rename the files of one.")
    return tests


def _short(given: str, source: str, target: str) -> str:
    name = Path(given).name.removesuffix(".gz")
    for ending in ("tsv", source, target):
        name = name.removesuffix(f".{ending}")
    return name
