"""Time series from archives, files and arrays.

A *series* is a float array (channels, steps); a collection is a list of them, of any lengths. A
missing value is NaN.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from aeon.datasets import (
    load_classification,
    load_from_arff_file,
    load_from_ts_file,
    load_from_tsv_file,
    load_regression,
)
from numpy.typing import ArrayLike, NDArray

from evolving_attention.errors import InputError

__all__ = ["Collection", "LabelledSeries", "as_collection", "load_file", "load_splits"]

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
        if self.targets is not None and len(self.targets) != len(self.series):
            raise InputError(
                f"there are {len(self.series)} series but {len(self.targets)} targets; they must "
                "pair up."
            )


def as_collection(series: ArrayLike | Sequence[ArrayLike]) -> Collection:
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
    if isinstance(series, np.ndarray) and series.ndim not in (2, 3):
        raise InputError(
            "an array of series must have the shape (cases, channels, steps) or (cases, steps), "
            f"got {series.shape}."
        )
    collection = [_as_series(index, values) for index, values in enumerate(series)]  # type: ignore[arg-type]
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
        series = np.atleast_2d(np.asarray(values, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise InputError(f"series {index} is not an array of numbers: {error}.") from None
    if series.ndim != 2 or series.shape[0] == 0 or series.shape[1] == 0:
        raise InputError(
            f"series {index} must have the shape (channels, steps), none of them 0, got "
            f"{series.shape}."
        )
    if np.isinf(series).any():
        channel, step = np.argwhere(np.isinf(series))[0]
        raise InputError(
            f"series {index} is infinite in channel {channel} at step {step}; write missing "
            "values as NaN."
        )
    return series


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
        raise InputError(f"{path} has an unknown format; use {', '.join(_READERS)}.")
    if path.suffix == ".npz":
        return _load_npz(path, layout, split)
    try:
        if path.suffix == ".ts":
            series, targets = load_from_ts_file(str(path))
        elif path.suffix == ".arff":
            series, targets = load_from_arff_file(str(path))
        else:
            series, targets = load_from_tsv_file(str(path))
    except InputError:
        raise
    except Exception as error:  # aeon's readers raise whatever a malformed line makes them raise
        raise InputError(f"{path} cannot be read as a {path.suffix} file: {error}.") from error
    return LabelledSeries(
        as_collection(_to_arrays(series)), np.asarray(targets) if len(targets) else None
    )


def _to_arrays(series: object) -> ArrayLike | Sequence[ArrayLike]:
    return series.to_numpy() if hasattr(series, "to_numpy") else series  # type: ignore[return-value]


def _load_npz(path: Path, layout: str, split: str | None) -> LabelledSeries:
    with np.load(path, allow_pickle=False) as file:
        suffix = f"_{split}" if f"X_{split}" in file else ""
        if f"X{suffix}" not in file:
            raise InputError(f"{path} holds {sorted(file)}; it needs X, or X_train and X_test.")
        series = file[f"X{suffix}"]
        targets = file.get(f"y{suffix}")
    if layout == "steps_first" and series.ndim == 3:
        series = series.transpose(0, 2, 1)
    return LabelledSeries(as_collection(series), targets)


def load_splits(
    train: str,
    test: str | None = None,
    *,
    kind: str,
    layout: str = "channels_first",
    archive: str | None = None,
) -> tuple[LabelledSeries, LabelledSeries | None]:
    """Load the training part and, where there is one, the test part.

    Parameters are those of :class:`~evolving_attention.recipe.DataOptions`; ``task`` is
    ``"classification"`` or ``"regression"``.
    """
    path = Path(train).expanduser()
    if path.is_dir():
        path = _train_file(path)
    if path.suffix in _READERS:
        training = load_file(path, layout, "train")
        test_path = Path(test).expanduser() if test else _test_file(path)
        testing = load_file(test_path, layout, "test") if test_path else None
    else:
        training, testing = (
            _load_named(train, split, kind, archive) for split in ("train", "test")
        )
    for part in (training, testing):
        if part is not None and part.targets is not None and kind == "regression":
            part.targets = _as_numbers(part.targets, train)
    return training, testing


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
    load = load_classification if kind == "classification" else load_regression
    try:
        series, targets = load(name, split=split, extract_path=archive)
    except (
        Exception
    ) as error:  # no such name, no network, or the other task: aeon raises various classes
        raise InputError(
            f"{name!r} is neither a file nor a {kind} data set that aeon has or could download "
            f"here ({error})."
        ) from error
    return LabelledSeries(as_collection(series), np.asarray(targets))


def _as_numbers(targets: NDArray, source: str) -> NDArray[np.float64]:
    try:
        numbers = np.asarray(targets, dtype=np.float64)
    except ValueError:
        raise InputError(
            f"{source} has targets that are not numbers; is it a classification task?"
        ) from None
    if not np.isfinite(numbers).all():
        raise InputError(
            f"{source} has a missing or infinite target; regression needs a number for every "
            "series."
        )
    return numbers
