"""Small data, files that hold them, recipes that train in a fraction of a second."""

import re
from contextlib import contextmanager
from itertools import count

import numpy as np
import pytest

from evolving_attention.errors import InputError
from evolving_attention.recipe import DataOptions, TimeSeriesRecipe, TrainingOptions
from evolving_attention.tasks.time_series import TimeSeriesTask
from evolving_attention.tasks.time_series_pretraining import TimeSeriesPretrainingTask

#: Options of the model in a recipe.
SMALL_MODEL = {
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_blocks": 1,
    "num_attention_heads": 2,
}


def two_classes(cases=24, channels=2, steps=6, seed=0):
    """Series whose level tells their class, 0 or 1, whatever their order."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(cases) % 2)
    return rng.normal(size=(cases, channels, steps)) + 3.0 * labels[:, None, None], labels


def levels(cases=24, channels=2, steps=6, seed=0):
    """Series and their level, a number."""
    rng = np.random.default_rng(seed)
    targets = rng.uniform(-3, 3, size=cases)
    return rng.normal(size=(cases, channels, steps)) + targets[:, None, None], targets


def cut(series):
    """Series of unequal lengths, from 2 steps to all of them."""
    return [values[:, : 2 + index % (values.shape[1] - 1)] for index, values in enumerate(series)]


def write_npz(path, make=two_classes, **others):
    """A training part of 24 series and a test part of 10; arrays in ``others`` come on top."""
    (X_train, y_train), (X_test, y_test) = make(), make(cases=10, seed=1)
    arrays = {"X_train": X_train, "y_train": y_train, "X_test": X_test, "y_test": y_test} | others
    kept = {name: array for name, array in arrays.items() if array is not None}
    np.savez(path, **kept)
    return path


def write_ts(path, series, targets=None, kind="classification"):
    """A ``.ts`` file; without targets, an unlabelled one."""
    if targets is None:
        header = "@classLabel false"
    elif kind == "regression":
        header = "@targetlabel true"
    else:
        header = f"@classLabel true {' '.join(map(str, np.unique(targets)))}"
    equal = len({values.shape for values in series}) == 1
    lines = [
        "@problemName small",
        "@timestamps false",
        "@univariate false",
        f"@equalLength {str(equal).lower()}",
        header,
        "@data",
    ]
    for index, values in enumerate(series):
        channels = [",".join(str(value) for value in channel) for channel in values]
        lines.append(":".join(channels + ([] if targets is None else [str(targets[index])])))
    path.write_text("\n".join(lines) + "\n")
    return path


def small_recipe(data, output, *, kind="classification", model=None, epochs=2, **changes):
    """A recipe for ``data`` that trains in a fraction of a second."""
    training = {"epochs": epochs, "batch_size": 8, "validation": 0.2} | changes.pop("training", {})
    return TimeSeriesRecipe(
        task=f"time_series_{kind}",
        data=DataOptions(train=str(data)),
        model=SMALL_MODEL | (model or {}),
        training=TrainingOptions(**training),
        output=str(output),
        **changes,
    )


@contextmanager
def one_sentence(*words):
    """Expect an InputError that is one sentence, with these words in it."""
    with pytest.raises(InputError) as caught:
        yield
    told = str(caught.value)
    assert "\n" not in told, told
    missing = [word for word in words if word not in told]
    assert not missing, f"{missing} missing in: {told}"
    assert not re.search(r"[.!?] +[A-Z]", told), f"more than one sentence: {told}"


def interrupt_training(monkeypatch, after):
    """Press Ctrl-C when the batch after so many, of training or validation, is made."""
    collate, made = TimeSeriesTask.collate, count()

    def collate_or_interrupt(self, examples):
        if next(made) >= after:
            raise KeyboardInterrupt
        return collate(self, examples)

    monkeypatch.setattr(TimeSeriesTask, "collate", collate_or_interrupt)


class Killed(BaseException):
    """Stands for SIGKILL: no code of ours catches it."""


def kill_training(monkeypatch, after):
    """Kill the training when the batch after so many, of training or validation, is made."""
    made = count()

    def dying(collate):
        def collate_or_die(self, examples):
            if next(made) >= after:
                raise Killed
            return collate(self, examples)

        return collate_or_die

    for task in (TimeSeriesTask, TimeSeriesPretrainingTask):
        monkeypatch.setattr(task, "collate", dying(task.collate))


def files_of(folder):
    """The bytes of every file below a folder, by their relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
