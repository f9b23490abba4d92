import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from evolving_attention.recipe import TrainingOptions
from evolving_attention.tasks.time_series import TimeSeriesTask
from evolving_attention.tasks.time_series_data import LabelledSeries
from evolving_attention.trainer.averaging import Averages
from evolving_attention.training import train_network
from tests.small import SMALL_MODEL, two_classes

KINDS = [torch.optim.AdamW, torch.optim.RAdam, torch.optim.SGD]


def network():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))


def update(model, optimizer):
    optimizer.zero_grad()
    model(torch.randn(8, 3)).square().mean().backward()
    optimizer.step()


def floats(model):
    return {
        name: tensor.clone()
        for name, tensor in model.state_dict().items()
        if tensor.is_floating_point()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_averages_follow_weights_and_statistics(kind):
    model = network()
    optimizer = kind(model.parameters(), lr=0.1)
    averages, expected = Averages(optimizer, model, 0.5), None
    for step in range(1, 8):
        update(model, optimizer)
        now = floats(model)
        kept = min(0.5, (1 + step) / (10 + step))
        expected = now if expected is None else expected
        expected = {name: kept * expected[name] + (1 - kept) * now[name] for name in now}
        with averages.shown():
            assert_close(floats(model), expected)
        assert_close(floats(model), now, rtol=0, atol=0)
    averages.take()
    assert_close(floats(model), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_averages_change_no_update(kind):
    plain = network()
    averaged = copy.deepcopy(plain)
    optimizers = [kind(model.parameters(), lr=0.1) for model in (plain, averaged)]
    Averages(optimizers[1], averaged, 0.9)
    for step in range(4):
        for model, optimizer in zip((plain, averaged), optimizers, strict=True):
            torch.manual_seed(step)
            update(model, optimizer)
    assert_close(floats(averaged), floats(plain), rtol=0, atol=0)


def trained(**changes):
    options = {"epochs": 3, "batch_size": 8, "learning_rate": 0.05, "schedule": "constant"}
    series, labels = two_classes()
    return train_network(
        TimeSeriesTask("classification"),
        LabelledSeries([*series], labels),
        SMALL_MODEL,
        TrainingOptions(**options | changes),
    )


def test_a_network_ends_with_its_average_and_is_measured_with_it():
    plain, averaged = trained(), trained(average=0.9)
    weights = [network.model.head.weight for network in (plain, averaged)]
    assert not torch.equal(*weights)
    assert [each["loss"] for each in averaged.history] == [each["loss"] for each in plain.history]
    chosen, other = trained(validation=0.25), trained(validation=0.25, average=0.9)
    losses = [[each["validation_loss"] for each in run.history] for run in (chosen, other)]
    assert losses[0] != losses[1]
