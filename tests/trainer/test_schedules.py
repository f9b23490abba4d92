from itertools import pairwise

import pytest
import torch

from evolving_attention.tasks.time_series import TimeSeriesTask
from evolving_attention.tasks.time_series_data import LabelledSeries
from evolving_attention.trainer.schedules import schedule_by_steps
from evolving_attention.training import train_network
from tests.small import small_recipe, two_classes


def rates(warmup, total):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule, seen = schedule_by_steps(optimizer, warmup, total), []
    for _ in range(total):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


def test_the_rate_rises_and_then_falls_to_a_tenth_four_times():
    seen = rates(5, 100)
    assert seen[:6] == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    starts = (5, 30, 60, 80, 90, 100)
    for drops, (start, end) in enumerate(pairwise(starts)):
        assert seen[start:end] == pytest.approx([0.1**drops] * (end - start))


def test_without_a_warm_up_it_starts_at_once():
    assert rates(0, 10)[0] == 1.0


def test_a_training_by_sgd_with_drops_learns(tmp_path):
    training = {
        "optimizer": "sgd",
        "schedule": "steps",
        "learning_rate": 0.1,
        "epochs": 10,
        "warmup": 0.0,
        "validation": 0.0,
    }
    recipe = small_recipe("none.npz", tmp_path, training=training)
    network = train_network(
        TimeSeriesTask("classification"),
        LabelledSeries([*two_classes()[0]], two_classes()[1]),
        recipe.model,
        recipe.training,
    )
    shown = [entry["learning_rate"] for entry in network.history]
    assert shown == pytest.approx([0.1] * 3 + [1e-2] * 3 + [1e-3] * 2 + [1e-4] + [1e-5])
    assert network.history[-1]["loss"] < network.history[0]["loss"]
