"""A training that is broken off anywhere and goes on ends as if nothing had happened."""

from itertools import count

import numpy as np
import pytest
import torch

from evolving_attention.recipe import TrainingOptions
from evolving_attention.tasks.time_series import TimeSeriesTask
from evolving_attention.trainer.checkpoints import Checkpoints
from evolving_attention.training import train_network
from tests.tasks.helpers import SMALL, sines_and_noise, waves

CASES = 43
#: 32 or 33 series train, 5 updates an epoch, the last of them small.
OPTIONS = {"epochs": 4, "batch_size": 8, "learning_rate": 0.03, "validation": 0.25}
SETTINGS = {
    "fixed budget": {"validation": 0.0},
    "chosen epoch": {"schedule": "constant"},
    "patience": {"epochs": 9, "patience": 2, "schedule": "constant", "learning_rate": 0.05},
    "refit": {"refit": True, "select_by": "metric"},
    "radam": {"optimizer": "radam", "gradient_accumulation": 2},
    "sgd": {"optimizer": "sgd", "schedule": "steps", "average": 0.9},
    "averaged": {"average": 0.9, "select_by": "metric", "evolution_learning_rate": 0.1},
    "bfloat16": {"precision": "bfloat16", "gradient_checkpointing": True},
}


class Killed(BaseException):
    """No code of ours catches it, as it catches no SIGKILL."""


class DrawingTask(TimeSeriesTask):
    """Draws random numbers for every batch it makes, as augmentation would; may be killed."""

    def __init__(self, kind="classification", batches=None):
        super().__init__(kind)
        self.left = count(0 if batches is None else -batches)
        self.dies = batches is not None

    def collate(self, examples):
        if next(self.left) == 0 and self.dies:
            raise Killed
        batch = super().collate(examples)
        noise = torch.rand(()) + np.random.rand()
        return batch | {"input_values": batch["input_values"] * (1 + 0.1 * noise)}


def train(folder=None, every=0.0, batches=None, kind="classification", **changes):
    data = sines_and_noise(CASES - 1, unequal=True) if kind == "classification" else waves(CASES)
    return train_network(
        DrawingTask(kind, batches),
        data,
        SMALL | {"hidden_dropout": 0.2},
        TrainingOptions(**(OPTIONS | changes)),
        seed=5,
        checkpoints=None if folder is None else Checkpoints(folder, every),
    )


def train_with_kills(folder, seed=0, **changes):
    """Train, killed after some batches of each life, until it comes to its end."""
    lives = np.random.default_rng(seed)
    for kills in range(100):
        try:
            return train(folder, batches=lives.integers(4, 9), **changes), kills
        except Killed:
            continue
    pytest.fail("it never ended")


def assert_same(actual, expected):
    for name, weights in expected.model.state_dict().items():
        assert torch.equal(actual.model.state_dict()[name], weights), name
    assert (actual.epoch, actual.history) == (expected.epoch, expected.history)


@pytest.mark.parametrize("setting", SETTINGS)
def test_it_ends_as_an_undisturbed_one_to_the_bit(setting, tmp_path):
    changes = SETTINGS[setting]
    expected = train(**changes)
    actual, kills = train_with_kills(tmp_path / "run", **changes)
    assert kills > 1
    assert_same(actual, expected)
