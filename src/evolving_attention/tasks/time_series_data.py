"""Time series from archives, files and arrays.

A *series* is a float array (channels, steps); a collection is a list of them, of any lengths. A
missing value is NaN.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from aeon.datasets import (
    load_classification,
    load_from_arff_file,
    load_from_ts_file,
    load_from_tsv_file,
    load_regression,
)
from numpy.typing import ArrayLike, NDArray

from evolving_attention.errors import InputError, reason

__all__ = [
    "Collection",
    "LabelledSeries",
    "as_collection",
    "as_numbers",
    "check_labels",
    "check_targets",
    "load_file",
    "load_splits",
    "load_training",
    "training_file",
]

Collection = list[NDArray[np.floating]]

_READERS = (".ts", ".arff", ".tsv", ".npz")


@dataclass
class LabelledSeries:
    """A collection and, where known, what belongs to each series.

    Attributes
    ----------
    series : list of array of shape (channels, steps)
    targets : array of shape (cases,) or (cases, targets), optional
        Class labels of any type, or numbers.
    """

    series: Collection
    targets: NDArray | None = None

    def __post_init__(self) -> None:
        """Check that every series has its target."""
        if self.targets is None:
            return
        self.targets = np.asarray(self.targets)
        if self.targets.ndim == 0 or len(self.targets) != len(self.series):
            found = 1 if self.targets.ndim == 0 else len(self.targets)
            raise InputError(
                f"there are {len(self.series)} series but {found} targets; they must pair up."
            )

    def __len__(self) -> int:
        return len(self.series)

    def take(self, indices: NDArray) -> "LabelledSeries":
        """Return some of the series, by their numbers from 0, with their targets."""
        targets = None if self.targets is None else self.targets[indices]
        return LabelledSeries([self.series[index] for index in indices], targets)

    def fingerprint(self) -> str:
        """Return a hash of series and targets."""
        total = hashlib.sha256()
        for values in self.series:
            values = np.ascontiguousarray(values)
            total.update(f"{values.dtype.str} {values.shape} ".encode())
            total.update(values.tobytes())
        targets = None if self.targets is None else np.asarray(self.targets).tolist()
        total.update(json.dumps(targets, default=str).encode())
        return total.hexdigest()


def as_collection(series: Any) -> Collection:
    """Turn arrays and lists into a collection.

    Parameters
    ----------
    series : array or list of array
        An array (cases, channels, steps) or (cases, steps), or a list of arrays (channels, steps)
        or (steps,).

    Raises
    ------
    InputError
        A series has a wrong shape, no steps, other channels than the first, text, or an infinite
        value.
    """
    if hasattr(series, "__array__"):
        series = np.asarray(series)  # a tensor, or a data frame: a series a row
    is_table = isinstance(series, np.ndarray) and series.size and series.dtype != object
    if is_table and series.ndim not in (2, 3):
        raise InputError(
            "an array of series must have the shape (cases, channels, steps) or (cases, steps), "
            f"got {series.shape}."
        )
    if not isinstance(series, Sequence | np.ndarray):
        raise InputError(f"series must be an array or a list of arrays, got {series!r}.")
    collection = [_as_series(index, values) for index, values in enumerate(series)]
    if not collection:
        raise InputError("there are no series; at least one is needed.")
    channels = collection[0].shape[0]
    for index, values in enumerate(collection):
        if values.shape[0] != channels:
            raise InputError(
                f"series {index} has {values.shape[0]} channels but series 0 has {channels}."
            )
    return collection


def _as_series(index: int, values: ArrayLike) -> NDArray[np.floating]:
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "biufO":
            raise TypeError(f"its values are of type {array.dtype}")
        series = np.atleast_2d(array.astype(np.float64, copy=False))
    except (TypeError, ValueError) as error:
        raise InputError(f"series {index} is not an array of numbers: {reason(error)}.") from None
    if series.ndim != 2 or 0 in series.shape:
        raise InputError(
            f"series {index} must have the shape (channels, steps), neither of them 0, got "
            f"{series.shape}."
        )
    if np.isinf(series).any():
        channel, step = np.argwhere(np.isinf(series))[0]
        raise InputError(
            f"series {index} is infinite in channel {channel} at step {step}; write missing "
            "values as NaN."
        )
    return series


def check_labels(labels: NDArray) -> None:
    """Raise :class:`InputError` unless these are class labels: a list of numbers or text."""
    if labels.ndim != 1 or labels.dtype.kind not in "biufUOT":
        raise InputError(
            "class labels must be a list of numbers, text or booleans, got the shape "
            f"{labels.shape} and the type {labels.dtype}."
        )
    values = labels.tolist()
    if any(label is None or label != label for label in values):
        raise InputError("a class label is missing; every series needs one.")
    if not all(isinstance(label, bool | int | float | str) for label in values):
        raise InputError("class labels must be numbers, text or booleans.")
    if len({isinstance(label, str) for label in values}) > 1:
        raise InputError("class labels must be all numbers or all text.")


def as_numbers(targets: ArrayLike) -> NDArray[np.float64]:
    """Return regression targets as numbers; raise :class:`InputError` where one is none."""
    try:
        numbers = np.asarray(targets).astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"the targets are not numbers: {reason(error)}.") from None
    if not np.isfinite(numbers).all():
        case = int(np.argwhere(~np.isfinite(numbers))[0][0])
        raise InputError(f"the target of series {case} is missing or infinite; give it a number.")
    return numbers


def load_file(
    path: Path, layout: str = "channels_first", split: str | None = None
) -> LabelledSeries:
    """Read a file of series.

    Parameters
    ----------
    path : Path
        ``.ts`` (labels optional), ``.arff``, ``.tsv`` (class first), or ``.npz`` with the arrays
        ``X`` and ``y``, or ``X_train``, ``y_train``, ``X_test``, ``y_test``.
    layout : {"channels_first", "steps_first"}
        Layout of arrays in an ``.npz``.
    split : {"train", "test"}, optional
        Which part of an ``.npz`` that holds both.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}.")
    if path.suffix not in _READERS:
        hint = " (.tsv: the class, then the values, tabs between)" if path.suffix == ".csv" else ""
        raise InputError(f"{path} has an unknown format; use {', '.join(_READERS)}{hint}.")
    try:
        if path.suffix == ".npz":
            series, targets = _load_npz(path, layout, split)
        elif path.suffix == ".ts":
            series, targets = load_from_ts_file(str(path))
        elif path.suffix == ".arff":
            series, targets = load_from_arff_file(str(path))
        else:
            series, targets = load_from_tsv_file(str(path))
        has_targets = targets is not None and np.size(targets) > 0
        return LabelledSeries(as_collection(series), targets if has_targets else None)
    except Exception as error:  # readers raise whatever a malformed line makes them raise
        raise InputError(
            f"{path} cannot be read as a {path.suffix} file: {reason(error)}."
        ) from error


def _load_npz(path: Path, layout: str, split: str | None) -> tuple[NDArray, NDArray | None]:
    with np.load(path, allow_pickle=False) as file:
        suffix = f"_{split}" if f"X_{split}" in file else ""
        if f"X{suffix}" not in file:
            raise InputError(f"it holds {sorted(file)}; it needs X, or X_train and X_test")
        try:
            series, targets = file[f"X{suffix}"], file.get(f"y{suffix}")
        except ValueError:  # NumPy's, which tells of pickles alone
            raise InputError(
                "it holds an array of objects; series of unequal lengths are padded with NaN at "
                "the end, and labels are text or numbers"
            ) from None
    if layout == "steps_first" and series.ndim == 3:
        series = series.transpose(0, 2, 1)
    return series, targets


def load_splits(
    train: str,
    test: str | None = None,
    *,
    kind: str,
    layout: str = "channels_first",
    archive: str | None = None,
) -> tuple[LabelledSeries, LabelledSeries | None]:
    """Load the training part and, where there is one, the test part.

    Parameters are those of :class:`~evolving_attention.recipe.DataOptions`; ``kind`` is
    ``"classification"``, ``"regression"`` or ``"pretraining"``, which takes data of either kind and
    data without labels.
    """
    training = load_training(train, kind=kind, layout=layout, archive=archive)
    path, testing = training_file(train), None
    if test:
        testing = load_file(Path(test).expanduser(), layout, "test")
    elif path is None:
        testing = _load_named(train, "test", kind, archive)
    elif test_path := _test_file(path):
        testing = load_file(test_path, layout, "test")
    check_targets(testing, kind, train)
    if testing is not None:
        _check_alike(training, testing, kind)
    return training, testing


def _check_alike(training: LabelledSeries, testing: LabelledSeries, kind: str) -> None:
    """Raise :class:`InputError` before hours of training, not after, where the parts differ."""
    channels, others = training.series[0].shape[0], testing.series[0].shape[0]
    if channels != others:
        raise InputError(f"the test series have {others} channels, those of training {channels}.")
    if kind == "pretraining" or training.targets is None or testing.targets is None:
        return
    if kind == "regression":
        numbers, others = (np.size(part.targets[0]) for part in (training, testing))  # type: ignore[index]
        if numbers != others:
            raise InputError(
                f"the test series have {others} targets each, those of training {numbers}."
            )
        return
    known = set(training.targets.tolist())
    unknown = [label for label in testing.targets.tolist() if label not in known]
    if unknown and len(known) > 1:  # a single class is told of by itself
        raise InputError(
            f"class {unknown[0]!r} of the test part is not among the training classes "
            f"{sorted(known)}."
        )


def load_training(
    train: str, *, kind: str, layout: str = "channels_first", archive: str | None = None
) -> LabelledSeries:
    """Load the training part alone; the test part is not opened."""
    path = training_file(train)
    if path is None:
        training = _load_named(train, "train", kind, archive)
    else:
        training = load_file(path, layout, "train")
    check_targets(training, kind, train)
    return training


def check_targets(part: LabelledSeries | None, kind: str, source: str) -> None:
    """Raise :class:`InputError`, with the source, for targets that do not fit the kind of task."""
    if part is None or part.targets is None or kind == "pretraining":
        return
    try:
        if kind == "regression":
            part.targets = as_numbers(part.targets)
        else:
            check_labels(part.targets)
            _check_whole(part.targets)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error


def _check_whole(labels: NDArray) -> None:
    """Raise :class:`InputError` for broken numbers, which are the targets of a regression."""
    if labels.dtype.kind == "f" and (broken := labels[labels % 1 != 0]).size:
        raise InputError(
            f"targets such as {broken[0]:g} are numbers, not classes: take a recipe of regression, "
            "such as time_series/default_regression."
        )


def training_file(source: str) -> Path | None:
    """Return the file that ``data.train`` means; None for the name of an archive's data set."""
    path = Path(source).expanduser()
    if path.is_dir():
        path = _train_file(path)
    return path if path.is_file() or path.suffix in (*_READERS, ".csv") else None


def _train_file(folder: Path) -> Path:
    found = [path for suffix in _READERS for path in sorted(folder.glob(f"*_TRAIN{suffix}"))]
    exact = [path for path in found if path.stem == f"{folder.name}_TRAIN"]
    if not found:
        raise InputError(f"{folder} holds no training file such as {folder.name}_TRAIN.ts.")
    if len(found) > 1 and not exact:
        raise InputError(
            f"{folder} holds {len(found)} training files; name the one to use, such as {found[0]}."
        )
    return exact[0] if exact else found[0]


def _test_file(train: Path) -> Path | None:
    if train.suffix == ".npz":
        with np.load(train, allow_pickle=False) as file:
            return train if "X_test" in file else None
    test = train.with_name(train.name.replace("_TRAIN", "_TEST"))
    return test if test != train and test.is_file() else None


def _load_named(name: str, split: str, kind: str, archive: str | None) -> LabelledSeries:
    loaders = {"classification": load_classification, "regression": load_regression}
    kinds = [kind] if kind in loaders else [*loaders]
    failure: Exception | None = None
    for each in kinds:
        try:
            series, targets = loaders[each](name, split=split, extract_path=archive)
        except Exception as error:  # no such name, no network, or of the other kind
            failure = error
        else:
            return LabelledSeries(as_collection(series), targets)
    # aeon's sentence about a name that it does not know speaks of its own lists
    why = "" if "not in the list" in str(failure) else f": {reason(failure or Exception())}"
    raise InputError(
        f"{name!r} is neither a file nor a {' or '.join(kinds)} data set that aeon has or could "
        f"download here{why}."
    ) from failure
