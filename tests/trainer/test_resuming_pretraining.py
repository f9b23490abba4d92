"""Pretraining that is broken off goes on with the masks it would have drawn."""

from itertools import count

import numpy as np
import pytest

from evolving_attention.recipe import PretrainingOptions, TrainingOptions
from evolving_attention.tasks.time_series_fine_tuning import FineTuningTask
from evolving_attention.tasks.time_series_pretraining import TimeSeriesPretrainingTask
from evolving_attention.trainer.checkpoints import Checkpoints
from evolving_attention.training import train_network
from tests.tasks.helpers import SMALL, sines_and_noise
from tests.trainer.test_resuming import CASES, OPTIONS, Killed, assert_same


def mortal(kind, batches=None, **options):
    """A task that is killed when it makes the batch of this number."""

    class Mortal(kind):
        made = count()

        def collate(self, examples):
            if next(self.made) == batches:
                raise Killed
            return super().collate(examples)

    return Mortal(**options)


def train(kind, folder=None, batches=None, changes=None, **options):
    return train_network(
        mortal(kind, batches, **options),
        sines_and_noise(CASES - 1, unequal=True),
        SMALL,
        TrainingOptions(**OPTIONS | (changes or {})),
        seed=5,
        checkpoints=None if folder is None else Checkpoints(folder, 0.0),
    )


def train_with_kills(kind, folder, **options):
    lives = np.random.default_rng(0)
    for kills in range(100):
        try:
            return train(kind, folder, lives.integers(4, 9), **options), kills
        except Killed:
            continue
    pytest.fail("it never ended")


@pytest.mark.parametrize(
    "changes", [{}, {"validation": 0.0}, {"gradient_accumulation": 2}, {"refit": True}], ids=str
)
def test_pretraining_ends_as_an_undisturbed_one_to_the_bit(changes, tmp_path):
    expected = train(TimeSeriesPretrainingTask, changes=changes)
    actual, kills = train_with_kills(TimeSeriesPretrainingTask, tmp_path / "run", changes=changes)
    assert kills > 1
    assert_same(actual, expected)


@pytest.mark.parametrize("freeze", [False, True])
def test_so_does_training_that_is_pretrained_first(freeze, tmp_path):
    options = {"kind": "classification", "pretraining": PretrainingOptions(epochs=2)}
    options |= {"freeze": freeze, "training": TrainingOptions(**OPTIONS)}

    class Task(FineTuningTask):
        def __init__(self):
            super().__init__(**options)

    expected = train(Task)
    actual, kills = train_with_kills(Task, tmp_path / "run")
    assert kills > 1
    assert_same(actual, expected)
