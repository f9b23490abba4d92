import random
import tempfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers.utils import logging

from evolving_attention.errors import InputError
from evolving_attention.recipe import AugmentationOptions, TrainingOptions
from evolving_attention.tasks.time_series import TimeSeriesTask
from evolving_attention.tasks.time_series_batches import collate, predict_logits
from evolving_attention.tasks.time_series_pretraining import TimeSeriesPretrainingTask
from evolving_attention.training import check_options, seeded, train_network
from tests.tasks.helpers import (
    CASES,
    OPTIONS,
    SMALL,
    column,
    is_finite,
    one_sentence,
    sines_and_noise,
    train,
    unless_refused,
    waves,
)

NAN, INF = float("nan"), float("inf")
#: What 0.2 of the training data leaves to train on.
TRAINING_CASES = 32


def state(network):
    return network.model.state_dict()


def same_weights(one, other):
    assert list(state(one)) == list(state(other))
    return all(torch.equal(state(one)[name], state(other)[name]) for name in state(one))


class SpyingTask(TimeSeriesTask):
    """Keeps what each batch holds; presses Ctrl-C instead of making one batch more than allowed."""

    def __init__(self, kind="classification", stop_after=None):
        # Augmented series would be others in every epoch.
        super().__init__(kind, augmentation=AugmentationOptions(slicing=0.0))
        self.stop_after, self.batches = stop_after, []

    def collate(self, examples):
        if len(self.batches) == self.stop_after:
            raise KeyboardInterrupt
        self.batches.append({example["input_values"].tobytes() for example in examples})
        return super().collate(examples)


# Optimisation


@pytest.mark.parametrize("optimizer", ["adamw", "radam"])
def test_either_optimizer_learns(optimizer):
    network = train(
        optimizer=optimizer, epochs=12, validation=0.0, learning_rate=0.1, schedule="constant"
    )
    assert network.history[-1]["loss"] < 0.8 * network.history[0]["loss"]


def test_the_optimizers_differ():
    adamw, radam = (state(train(optimizer=name)) for name in ("adamw", "radam"))
    assert (adamw["head.weight"] - radam["head.weight"]).abs().max() > 1e-3


def test_weight_decay_pulls_the_weights_to_zero():
    def size(weight_decay):
        network = train(weight_decay=weight_decay, validation=0.0, warmup=0.0)
        return network.model.model.blocks[0].first_feed_forward[0].weight.norm()

    assert size(20.0) < 0.5 * size(0.0)


def test_it_leaves_the_network_in_evaluation_mode():
    assert not train(epochs=1).model.training


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_a_batch_may_be_of_any_size(batch_size):
    assert is_finite(train(batch_size=batch_size, epochs=2))


# Seeds


def test_the_same_seed_gives_the_same_weights_and_predictions_to_the_bit():
    networks, predictions = [], []
    for disturbance in (1, 2):
        random.seed(disturbance)
        np.random.seed(disturbance)
        torch.manual_seed(disturbance)
        task = TimeSeriesTask("classification")
        networks.append(train(task=task, seed=3))
        series = sines_and_noise(10, seed=1).series
        predictions.append(predict_logits(networks[-1].model, task.processor, series))
    assert same_weights(*networks)
    assert networks[0].history == networks[1].history
    assert np.array_equal(*predictions)


@pytest.mark.parametrize("validation", [0.0, 0.2])
def test_another_seed_gives_another_network(validation):
    zero, one = (train(seed=seed, epochs=1, validation=validation) for seed in (0, 1))
    name = "model.stem.projection.weight"
    assert not torch.equal(state(zero)[name], state(one)[name])


def test_another_seed_gives_another_order_of_the_data():
    zero, again, one = (SpyingTask() for _ in range(3))
    for task, seed in ((zero, 0), (again, 0), (one, 1)):
        train(task=task, seed=seed, epochs=1, validation=0.0)
    assert zero.batches == again.batches != one.batches


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_told_in_one_sentence(seed):
    with one_sentence("seed", seed):
        train(seed=seed)


def random_states():
    return random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()


def test_the_global_random_states_are_left_as_they_were():
    before = random_states()
    train(refit=True)
    assert random_states() == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_error_leaves_the_global_random_states_as_they_were(error):
    before = random_states()

    def fail():
        random.random(), np.random.rand(), torch.rand(1)
        raise error

    with pytest.raises(error), seeded(3):
        fail()
    assert random_states() == before


def test_a_seed_seeds_python_numpy_and_torch():
    def draw(seed):
        with seeded(seed):
            return random.random(), np.random.rand(), torch.rand(1).item()

    assert draw(0) == draw(0)
    assert all(one != other for one, other in zip(draw(0), draw(1), strict=True))


# The chosen epoch


def assert_has_weights_of_its_epoch(network, data):
    """Compare with the losses of its history on the part that its training held out."""
    _, held_out = TimeSeriesTask("classification").split(data, OPTIONS.validation, 0)
    with torch.inference_mode():
        output = network.model(**collate([held_out[index] for index in range(len(held_out))]))
    losses = column(network, "validation_loss")
    assert output.loss.item() == pytest.approx(losses[network.epoch - 1], rel=1e-4)
    assert abs(losses[-1] - losses[network.epoch - 1]) > 1e-3


def test_the_epoch_is_chosen_by_the_validation_loss():
    data = sines_and_noise(CASES)
    network = train(data, epochs=12, schedule="constant", learning_rate=0.03)
    losses = column(network, "validation_loss")
    assert network.epoch == 1 + int(np.argmin(losses))
    assert network.epoch < len(losses) == 12
    assert_has_weights_of_its_epoch(network, data)


def test_the_epoch_can_be_chosen_by_the_metric():
    data = sines_and_noise(CASES)
    network = train(data, epochs=8, select_by="metric")
    assert network.epoch == 1 + int(np.argmax(column(network, "validation_accuracy")))
    assert network.epoch < 1 + int(np.argmin(column(network, "validation_loss")))
    assert_has_weights_of_its_epoch(network, data)


def test_the_metric_of_a_regression_is_the_smaller_the_better():
    network = train(waves(), kind="regression", epochs=8, select_by="metric")
    errors = column(network, "validation_rmse")
    assert network.epoch == 1 + int(np.argmin(errors)) != 1 + int(np.argmax(errors))


def test_patience_stops_early():
    network = train(patience=2, epochs=60, schedule="constant", learning_rate=0.05)
    assert len(network.history) == network.epoch + 2 < 60
    assert np.argmin(column(network, "validation_loss")) == network.epoch - 1


def test_without_patience_no_epoch_is_left_out():
    network = train(epochs=12, schedule="constant", learning_rate=0.05)
    assert column(network, "epoch") == list(range(1, 13))


def test_without_a_validation_part_the_last_epoch_is_taken():
    network = train(validation=0.0)
    assert (network.epoch, len(network.history)) == (4, 4)
    assert not any(name.startswith("validation") for entry in network.history for name in entry)


@pytest.mark.parametrize("validation", [1e-6, 0.9999])
def test_a_share_that_cannot_be_held_out_is_told(validation, capsys):
    network = train(validation=validation, epochs=2)
    assert not any(name.startswith("validation") for entry in network.history for name in entry)
    assert f"a share of {validation:g} of these data cannot be held out" in capsys.readouterr().err


def test_training_takes_each_training_series_once_an_epoch():
    task = SpyingTask()
    train(task=task, epochs=3, validation=0.0)
    assert [len(batch) for batch in task.batches] == [8] * 15
    for epoch in range(3):
        assert len(set().union(*task.batches[5 * epoch : 5 * epoch + 5])) == CASES


def test_the_history_tells_losses_and_measures_of_every_epoch():
    network = train()
    assert column(network, "epoch") == [1, 2, 3, 4]
    names = {"loss", "learning_rate", "validation_loss", "validation_accuracy"}
    assert all(names <= set(entry) for entry in network.history)
    assert network.seconds > 0


# Refit


def test_refit_trains_on_everything_for_the_chosen_epochs():
    task = SpyingTask()
    network = train(task=task, refit=True, warmup=0.0, schedule="constant", epochs=6)
    epochs = [entry["epoch"] for entry in network.history]
    assert epochs == [*range(1, 7), *range(1, network.epoch + 1)]
    first = 6 * (TRAINING_CASES // 8 + 1)
    assert len(set().union(*task.batches[first:])) == CASES
    assert len(task.batches) == first + network.epoch * CASES // 8


def test_refit_gives_what_training_on_everything_for_that_long_gives():
    constant = {"warmup": 0.0, "schedule": "constant", "learning_rate": 0.03}
    network = train(refit=True, epochs=8, **constant)
    assert network.epoch < 8
    assert same_weights(network, train(validation=0.0, epochs=network.epoch, **constant))


@pytest.mark.parametrize("option", [{"refit": True}, {"patience": 3}])
def test_what_needs_a_validation_part_is_refused_without_one(option):
    with pytest.raises(InputError, match=r"needs a part to choose the epoch on"):
        train(validation=0.0, **option)


# Ctrl-C

BATCHES_OF_AN_EPOCH = TRAINING_CASES // 8 + 1


def test_ctrl_c_keeps_the_best_weights():
    data, options = sines_and_noise(CASES), {"epochs": 30, "select_by": "metric"}
    task = SpyingTask(stop_after=8 * BATCHES_OF_AN_EPOCH + 2)
    network = train(data, task=task, **options)
    assert network.interrupted
    assert not network.model.training
    assert len(network.history) == 8
    assert network.epoch == 1 + int(np.argmax(column(network, "validation_accuracy"))) < 8
    assert_has_weights_of_its_epoch(network, data)


def test_ctrl_c_before_the_first_step_has_nothing_to_keep():
    with pytest.raises(KeyboardInterrupt):
        train(task=SpyingTask(stop_after=0))


def test_ctrl_c_in_the_first_epoch_gives_a_network_that_works():
    data, task = sines_and_noise(CASES), SpyingTask(stop_after=2)
    network = train(data, task=task)
    assert network.interrupted
    assert np.isfinite(predict_logits(network.model, task.processor, data.series)).all()


def test_ctrl_c_without_a_validation_part_keeps_the_last_weights():
    network = train(task=SpyingTask(stop_after=2 * CASES // 8 + 1), validation=0.0)
    assert (network.interrupted, network.epoch) == (True, 2)


def test_ctrl_c_skips_the_refit():
    task = SpyingTask(stop_after=2 * BATCHES_OF_AN_EPOCH + 1)
    network = train(task=task, refit=True)
    assert network.interrupted
    assert len(network.history) == 2


def test_ctrl_c_during_the_refit_keeps_the_chosen_network_and_its_processor():
    choosing = SpyingTask()
    chosen = train(task=choosing, epochs=6)
    refitting = SpyingTask(stop_after=6 * BATCHES_OF_AN_EPOCH + 2)
    network = train(task=refitting, epochs=6, refit=True)
    assert network.interrupted
    assert network.epoch == chosen.epoch
    assert same_weights(network, chosen)
    assert refitting.processor.to_dict() == choosing.processor.to_dict()


def test_ctrl_c_leaves_the_global_random_states_as_they_were():
    before = random_states()
    train(task=SpyingTask(stop_after=3))
    assert random_states() == before


# Numbers


@pytest.mark.parametrize("validation", [0.0, 0.2])
def test_a_loss_that_is_not_finite_is_told_in_one_sentence(validation):
    with one_sentence("loss", "epoch 1", "learning_rate", "1e+20"):
        train(learning_rate=1e20, validation=validation)


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_outputs_in_validation_that_are_not_finite_are_told_in_one_sentence(kind):
    """With an update an epoch the loss is that before the update, and still finite."""
    data = sines_and_noise() if kind == "classification" else waves()
    with one_sentence("outputs in validation", "learning_rate", "1e+20"):
        train(data, kind=kind, learning_rate=1e20, batch_size=CASES, warmup=0.0)


def test_a_validation_loss_that_is_not_finite_is_told_in_one_sentence():
    with one_sentence("validation loss became nan", "epoch 1", "learning_rate", "1e+20"):
        train(
            task=TimeSeriesPretrainingTask(),
            learning_rate=1e20,
            batch_size=CASES,
            warmup=0.0,
        )


def test_a_network_whose_last_update_was_too_much_predicts_nothing():
    data = sines_and_noise()
    task = TimeSeriesTask("classification")
    network = train(
        data, task=task, learning_rate=1e20, batch_size=CASES, warmup=0.0, epochs=1, validation=0.0
    )
    with one_sentence("case", "not finite", "learning rate"):
        predict_logits(network.model, task.processor, data.series)


def test_bfloat16_learns_and_leaves_later_training_alone():
    expected = train()
    network = train(precision="bfloat16", epochs=20, validation=0.0)
    assert network.history[-1]["loss"] < 0.8 * network.history[0]["loss"]
    assert all(weights.dtype == torch.float32 for weights in network.model.parameters())
    assert not same_weights(network, train(epochs=20, validation=0.0))
    assert same_weights(train(), expected)


class CountingTask(TimeSeriesTask):
    """Counts how often the first layer of the network is computed."""

    calls = 0

    def build_model(self, options):
        model = super().build_model(options)
        model.model.blocks[0].first_norm.register_forward_hook(self.count)
        return model

    def count(self, *_):
        self.calls += 1


@pytest.mark.parametrize("unequal", [False, True])
def test_gradient_checkpointing_computes_twice_and_changes_nothing_else(unequal):
    plain, checkpointing = CountingTask("classification"), CountingTask("classification")
    data = sines_and_noise(CASES, unequal=unequal)
    options = {"model": {"num_blocks": 2, "hidden_dropout": 0.3}, "validation": 0.0}
    expected = train(data, task=plain, **options)
    actual = train(data, task=checkpointing, gradient_checkpointing=True, **options)
    assert checkpointing.calls == 2 * plain.calls == 2 * OPTIONS.epochs * CASES // 8
    for name, weights in state(actual).items():
        torch.testing.assert_close(weights, state(expected)[name], rtol=1e-4, atol=1e-6)


def test_gradients_are_clipped():
    unclipped = train(gradient_clip=0.0)
    assert same_weights(unclipped, train(gradient_clip=1e9))
    assert not same_weights(unclipped, train(gradient_clip=1e-6))


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        ("constant", [1, 1, 1, 1]),
        ("linear", [0.75, 0.5, 0.25, 0]),
        ("cosine", [0.85, 0.5, 0.15, 0]),
    ],
)
def test_the_learning_rate_follows_its_schedule(schedule, shares):
    network = train(schedule=schedule, warmup=0.0)
    actual = np.array(column(network, "learning_rate")) / OPTIONS.learning_rate
    assert actual == pytest.approx(shares, abs=0.1)


def test_the_learning_rate_rises_in_the_warmup():
    rates = column(train(schedule="constant", warmup=0.5), "learning_rate")
    assert rates == pytest.approx([0.00375, 0.00875, 0.01, 0.01], rel=1e-3)


def test_a_warmup_of_so_many_updates_and_a_rate_that_falls_with_their_root():
    rates = np.array(column(train(schedule="inverse_sqrt", warmup=4), "learning_rate"))
    expected = [3 / 4, (4 / 7) ** 0.5, (4 / 11) ** 0.5, (4 / 15) ** 0.5]  # four updates an epoch
    assert rates / OPTIONS.learning_rate == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("average", [0.0, 0.5])
def test_evolution_may_learn_at_a_rate_of_its_own(average):
    options = {"average": average, "schedule": "constant", "warmup": 0.0}
    assert same_weights(
        train(**options), train(**options, evolution_learning_rate=OPTIONS.learning_rate)
    )
    one, two = (train(**options, evolution_learning_rate=1e-30, epochs=n) for n in (1, 2))
    names = {name for name, _ in one.model.named_parameters()}
    same = {name for name in names if torch.equal(state(one)[name], state(two)[name])}
    evolution = {name for name in names if ".evolution." in name}
    assert evolution
    assert same == evolution


# Options

OUT_OF_RANGE = {
    "epochs": [0, -1],
    "batch_size": [0],
    "learning_rate": [0.0, -1e-3, NAN, INF],
    "evolution_learning_rate": [0.0, -1e-3, NAN, INF],
    "weight_decay": [-0.1, NAN],
    "warmup": [-0.1, 1.5, NAN, INF],
    "gradient_clip": [-1.0, INF],
    "validation": [-0.1, 1.0, NAN],
    "patience": [0, -3],
    "gradient_accumulation": [0, -1, 2.0],
    "checkpoint_every": [-1.0, NAN, INF],
}
UNKNOWN = {
    "optimizer": "lion",
    "schedule": "step",
    "select_by": "accuracy",
    "precision": "float16",
}
OF_WRONG_TYPE = {
    "epochs": 2.5,
    "batch_size": "16",
    "learning_rate": "1e-3",
    "validation": None,
    "patience": 1.5,
}


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in OUT_OF_RANGE.items() for value in values]
    + [*UNKNOWN.items(), *OF_WRONG_TYPE.items()],
)
def test_an_option_that_cannot_work_is_told_in_one_sentence(name, value):
    with one_sentence(f"training.{name}"):
        train(**{name: value})


def test_the_ends_of_the_ranges_are_allowed():
    check_options(TrainingOptions())
    check_options(replace(OPTIONS, epochs=1, weight_decay=0, warmup=0, gradient_clip=0, patience=1))


def test_whole_numbers_do_for_options_that_may_be_broken():
    network = unless_refused(lambda: train(weight_decay=0, gradient_clip=1, warmup=0, validation=0))
    assert network is not None


# What it leaves behind


@pytest.mark.parametrize("stop_after", [None, 2 * BATCHES_OF_AN_EPOCH], ids=["whole", "ctrl-c"])
def test_nothing_is_left_on_the_disk(tmp_path, monkeypatch, stop_after):
    (tmp_path / "here").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    train(task=SpyingTask(stop_after=stop_after))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["here", "temporary"]


def test_without_progress_nothing_is_printed(capfd):
    train(refit=True)
    assert capfd.readouterr() == ("", "")


def test_progress_is_shown_on_the_error_stream(capfd):
    train_network(
        TimeSeriesTask("classification"), sines_and_noise(CASES), SMALL, OPTIONS, progress=True
    )
    output, errors = capfd.readouterr()
    assert output == ""
    assert "/4" in errors
    assert "validation loss=" in errors


def test_the_words_of_transformers_are_as_loud_after_as_before():
    before = logging.get_verbosity()
    logging.set_verbosity_warning()
    logging.enable_progress_bar()
    try:
        train(epochs=1)
        with one_sentence("loss"):
            train(learning_rate=1e20)
        assert logging.get_verbosity() == logging.WARNING
        assert logging.is_progress_bar_enabled()
    finally:
        logging.set_verbosity(before)


def test_the_data_are_not_modified():
    data = sines_and_noise(CASES)
    data.series[3][0, :4] = NAN
    before = [values.copy() for values in data.series]
    train(data, refit=True, epochs=1)
    for values, expected in zip(data.series, before, strict=True):
        np.testing.assert_array_equal(values, expected)
