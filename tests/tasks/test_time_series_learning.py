import numpy as np
import pytest

from evolving_attention.recipe import ProcessingOptions
from evolving_attention.tasks.time_series import TimeSeriesTask
from evolving_attention.tasks.time_series_batches import predict_logits
from evolving_attention.tasks.time_series_data import LabelledSeries
from tests.tasks.helpers import CASES, OPTIONS, column, is_finite, sines_and_noise, train, waves

NAN = float("nan")


@pytest.mark.parametrize(
    ("model", "unequal"), [({}, False), ({"alpha": 0, "beta": 0}, False), ({"patch_size": 2}, True)]
)
def test_it_learns_to_tell_classes_apart(model, unequal):
    task = TimeSeriesTask("classification")
    network = train(
        sines_and_noise(60, unequal=unequal), task=task, model=model, epochs=12, learning_rate=0.03
    )
    fresh = sines_and_noise(100, seed=1, unequal=unequal)
    logits = predict_logits(network.model, task.processor, fresh.series)
    assert task.measure(logits, fresh.targets)["accuracy"] >= 0.9


@pytest.mark.parametrize("targets", [1, 2])
def test_it_learns_to_predict_numbers(targets):
    task = TimeSeriesTask("regression")
    network = train(waves(80, targets=targets), task=task, epochs=12, learning_rate=0.03)
    fresh = waves(80, targets=targets, seed=1)
    logits = predict_logits(network.model, task.processor, fresh.series)
    assert task.measure(logits, fresh.targets)["r2"] >= 0.8


def test_series_of_one_step_can_be_trained_on():
    data = sines_and_noise()
    assert is_finite(train(LabelledSeries([values[:, :1] for values in data.series], data.targets)))


def test_one_series_of_each_class_can_be_trained_on():
    network = train(sines_and_noise(2), batch_size=1)
    assert is_finite(network)
    assert (network.epoch, network.interrupted) == (OPTIONS.epochs, False)


def test_a_constant_target_can_be_trained_on():
    data = waves()
    network = train(LabelledSeries(data.series, np.full(CASES, 3.0)), kind="regression")
    assert is_finite(network)
    assert column(network, "validation_rmse")[-1] < 1


def test_missing_values_can_be_trained_on():
    data = sines_and_noise()
    rng = np.random.default_rng(0)
    for index, values in enumerate(data.series):
        values[rng.random(values.shape) < (1.0 if index == 5 else 0.4)] = NAN
    assert is_finite(train(data))


@pytest.mark.parametrize("mode", ["robust", "standard", "series", "none"])
def test_heavy_tails_do_not_destabilise_training(mode):
    data, rng = sines_and_noise(), np.random.default_rng(0)
    for values in data.series:
        values *= np.exp(rng.standard_cauchy(size=values.shape).clip(-50, 50))
    task = TimeSeriesTask("classification", ProcessingOptions(mode))
    network = train(data, task=task)
    assert is_finite(network)
    assert max(column(network, "loss")) < 2


def test_a_few_extreme_values_do_not_keep_it_from_learning():
    data = sines_and_noise(60)
    for index in range(0, 60, 7):
        data.series[index][0, index % 20] = (-1) ** index * 1e6
    network = train(data, epochs=12, learning_rate=0.03)
    assert max(column(network, "validation_accuracy")) >= 0.8
