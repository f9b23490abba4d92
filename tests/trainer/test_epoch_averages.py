import torch
from torch import nn
from torch.testing import assert_close

from evolving_attention.trainer.epoch_averages import EpochAverages


def network():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def values(model):
    return {name: each.clone() for name, each in model.state_dict().items() if each.dim()}


def move(model):
    with torch.no_grad():
        for each in [*model.parameters(), model[1].running_mean]:
            each.add_(torch.randn_like(each))


def epochs(averages, model, count):
    kept = []
    for _ in range(count):
        move(model)
        averages.on_epoch_end(None, None, None)
        kept.append(values(model))
    return kept


def mean(kept):
    return {name: torch.stack([each[name] for each in kept]).mean(0) for name in kept[0]}


def test_the_mean_is_that_of_the_last_epochs():
    model = network()
    averages = EpochAverages(model, 3)
    before = values(model)
    with averages.shown():
        assert_close(values(model), before, rtol=0, atol=0)  # no epoch yet
    kept = epochs(averages, model, 2)
    with averages.shown():
        assert_close(values(model), mean(kept))
    kept += epochs(averages, model, 3)
    move(model)  # within the next epoch
    now = values(model)
    with averages.shown():
        assert_close(values(model), mean(kept[-3:]))
    assert_close(values(model), now, rtol=0, atol=0)
    averages.take()
    assert_close(values(model), mean(kept[-3:]))


def test_a_checkpoint_holds_the_epochs(tmp_path):
    model = network()
    averages = EpochAverages(model, 3)
    averages.save(tmp_path)
    again = EpochAverages(model, 3)
    again.load(tmp_path)
    assert not again.kept
    kept = epochs(averages, model, 5)
    averages.save(tmp_path)
    again.load(tmp_path)
    kept += epochs(again, model, 1)
    again.take()
    assert_close(values(model), mean(kept[-3:]))
