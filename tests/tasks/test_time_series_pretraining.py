"""The pretraining task: what is masked, held out, learned and measured."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from evolving_attention.models import EADCTransformerForPretraining
from evolving_attention.recipe import PretrainingOptions, ProcessingOptions
from evolving_attention.tasks.pretrained import PretrainedEncoder
from evolving_attention.tasks.time_series import MAX_POSITIONS, TimeSeriesTask
from evolving_attention.tasks.time_series_data import LabelledSeries
from evolving_attention.tasks.time_series_pretraining import TimeSeriesPretrainingTask
from tests.tasks.helpers import (
    SMALL,
    column,
    is_finite,
    one_sentence,
    sines_and_noise,
    train,
    waves,
)

HALF = PretrainingOptions(masked_share=0.5)


def new(pretraining=None, **processing):
    return TimeSeriesPretrainingTask(ProcessingOptions(**processing), pretraining)


def split(data, validation=0.0, seed=0, **options):
    task = new(**options)
    return task, *task.split(data, validation, seed)


def examples(part):
    return [part[index] for index in range(len(part))]


def unequal(cases=12):
    return sines_and_noise(cases, channels=2, unequal=True)


def pretrain(data=None, **options):
    return train(data or sines_and_noise(), task=new(), **options)


# Parts


def test_data_without_labels_work():
    task, training, _ = split(LabelledSeries(unequal().series))
    assert len(training) == 12
    assert task.collate(examples(training))["label_mask"].any()


@pytest.mark.parametrize("targets", [None, np.array([1, 1] + [0] * 10), np.arange(12.0)])
def test_labels_are_ignored(targets):
    data = LabelledSeries(unequal().series, targets)
    _, training, held_out = split(data, 0.25)
    _, expected, held_out_too = split(LabelledSeries(data.series), 0.25)
    assert len(held_out) == len(held_out_too) == 3
    assert "labels" not in training[0]
    for one, other in zip(examples(training), examples(expected), strict=True):
        assert_array_equal(one["input_values"], other["input_values"])


def test_the_part_held_out_is_random_and_not_read_by_the_processor():
    series = [np.full((1, 5), float(level)) + np.arange(5) / 10 for level in range(20)]
    seen = []
    for seed in (0, 1):
        task, training, held_out = split(
            LabelledSeries(series), 0.25, seed, normalization="standard"
        )
        assert (len(training), len(held_out)) == (15, 5)
        kept = (
            np.stack(training.inputs)[..., 0] * task.processor.scale[0] + task.processor.center[0]
        )
        assert task.processor.mean[0] == pytest.approx(kept.mean(), abs=1e-4)
        seen.append(tuple(np.round(kept[:, 0])))
    assert seen[0] != seen[1]


def test_too_few_series_to_hold_one_out_all_train():
    _, training, held_out = split(LabelledSeries(unequal(2).series), 0.2)
    assert (len(training), held_out) == (2, None)


def test_masks_of_the_part_held_out_are_drawn_once_and_from_the_seed():
    task, _, held_out = split(unequal(), 0.5, seed=4)
    first, second = (task.collate(examples(held_out))["label_mask"] for _ in range(2))
    assert torch.equal(first, second)
    series = LabelledSeries([np.random.default_rng(0).normal(size=(2, 40))] * 8)
    masks = [np.stack(split(series, 0.5, seed=seed)[2].masks) for seed in (4, 4, 5)]
    assert_array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[0], masks[2])


# Batches


def test_masks_of_training_are_drawn_from_the_global_generator():
    task, training, _ = split(unequal())
    batch = examples(training)
    state = torch.get_rng_state()
    first, second = (task.collate(batch)["label_mask"] for _ in range(2))
    assert not torch.equal(first, second)
    torch.set_rng_state(state)
    assert torch.equal(task.collate(batch)["label_mask"], first)


def test_a_batch_holds_the_series_whole():
    task, training, _ = split(unequal())
    batch = task.collate(examples(training))
    for index, inputs in enumerate(training.inputs):
        assert_array_equal(batch["input_values"][index, : len(inputs)], inputs)


def test_padding_is_never_masked():
    task, training, _ = split(unequal(), pretraining=HALF)
    batch = task.collate(examples(training))
    padded = batch["attention_mask"] == 0
    assert padded.any()
    assert not batch["label_mask"][padded].any()
    share = batch["label_mask"][~padded].float().mean()
    assert share == pytest.approx(0.5, abs=0.1)


def test_what_was_missing_is_never_predicted():
    """The processor's filling is no truth."""
    series = [np.random.default_rng(0).normal(size=(2, 30)) for _ in range(8)]
    for values in series:
        values[0, 5:15] = np.nan
    task, training, _ = split(LabelledSeries(series), pretraining=HALF)
    masks = torch.stack([task.collate(examples(training))["label_mask"] for _ in range(20)])
    assert not masks[..., 5:15, 0].any()
    assert masks[..., 5:15, 1].float().mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("longer", ["truncate", "resample", "keep"])
def test_longer_series_are_masked_as_long_as_they_are_processed(longer):
    task, _, _ = split(sines_and_noise(8, steps=12), longer_series=longer)
    measured = task.evaluate(task.build_model(SMALL), sines_and_noise(8, steps=20))
    assert np.isfinite(measured["mse"])


# Networks


def test_the_network_predicts_every_channel_of_a_patch():
    task, _, _ = split(sines_and_noise(8, steps=2 * MAX_POSITIONS + 1, channels=2))
    model = task.build_model(SMALL)
    assert type(model) is EADCTransformerForPretraining
    assert model.config.patch_size == 3
    assert model.head.out_features == 6


def test_a_network_learns_to_fill_in_sines_better_than_the_mean():
    data = waves(48, steps=24)
    task = new()
    network = train(
        LabelledSeries(data.series), task=task, model={"hidden_size": 16}, epochs=25, validation=0.0
    )
    losses = column(network, "loss")
    assert losses[-1] < 0.7 * losses[0]
    measured = task.evaluate(network.model, waves(24, steps=24, seed=1))
    variance = np.mean([task.processor([values])[0] ** 2 for values in data.series])
    assert measured["mse"] < 0.75 * variance


def test_the_epoch_of_the_lowest_loss_on_the_part_held_out_is_kept():
    network = pretrain(epochs=5, learning_rate=0.1, schedule="constant")
    losses = column(network, "validation_loss")
    assert network.epoch == 1 + losses.index(min(losses))
    assert set(network.history[0]) == {"epoch", "loss", "learning_rate", "validation_loss"}


def test_the_metric_that_may_choose_the_epoch_is_the_loss():
    chosen = [pretrain(epochs=4, select_by=by).epoch for by in ("loss", "metric")]
    assert chosen[0] == chosen[1]


def test_the_same_seed_gives_the_same_network_to_the_bit():
    first, second, other = (pretrain(seed=seed, epochs=2).model for seed in (0, 0, 1))
    for name, tensor in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], tensor), name
    assert not torch.equal(first.head.weight, other.head.weight)


def test_training_leaves_the_global_generator_as_it_was():
    before = torch.get_rng_state()
    pretrain(epochs=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_mixed_precision_trains():
    assert is_finite(pretrain(epochs=2, precision="bfloat16"))


def test_refit_trains_on_everything():
    network = pretrain(epochs=3, refit=True)
    assert len(network.history) == 3 + network.epoch


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_series_of_one_step_and_of_missing_values_do_no_harm():
    rng = np.random.default_rng(0)
    series = [rng.normal(size=(2, 1 + index % 4)) for index in range(16)]
    series[3][:, :1] = np.nan
    assert is_finite(pretrain(LabelledSeries(series), epochs=2))


# Measuring


def test_the_measure_is_the_error_on_masked_entries_whatever_the_batches():
    task, _, _ = split(unequal(), pretraining=HALF)
    model = task.build_model(SMALL).eval()
    data = unequal(100)
    measured = task.evaluate(model, data)
    errors = []
    for one in examples(task._masked(data.series, 0)):
        values = torch.from_numpy(one["input_values"])[None]
        mask = torch.from_numpy(one["label_mask"])[None]
        with torch.no_grad():
            errors.append((model(values, None, mask).prediction - values)[mask].square())
    assert measured["mse"] == pytest.approx(torch.cat(errors).mean().item(), rel=1e-4)
    assert task.evaluate(model, data) == measured


def test_straight_lines_are_filled_in_by_lines_without_an_error():
    lines = [np.outer([1.0, -2.0], np.arange(40.0)) for _ in range(6)]
    task, _, _ = split(LabelledSeries(lines), clip=None, pretraining=PretrainingOptions(0, 0.1))
    measured = task.evaluate(task.build_model(SMALL), LabelledSeries([lines[0]]))
    inside = task._masked([lines[0]], 0).masks[0][[0, -1]]
    assert not inside.any(), "no line leads to an end that is hidden"
    assert measured["interpolation_mse"] == pytest.approx(0, abs=1e-9)
    assert measured["mse"] > 0.01


def test_lines_are_measured_on_the_entries_of_the_network():
    task, _, _ = split(unequal(), pretraining=HALF)
    examples_, squared, count = task._masked(unequal().series, 0), 0.0, 0
    for values, mask in zip(examples_.inputs, examples_.masks, strict=True):
        for channel in range(2):
            seen = np.flatnonzero(~mask[:, channel])
            for step in np.flatnonzero(mask[:, channel]):
                line = np.interp(step, seen, values[seen, channel]) if len(seen) else 0.0
                squared, count = squared + (values[step, channel] - line) ** 2, count + 1
    measured = task.evaluate(task.build_model(SMALL), unequal())
    assert_allclose(measured["interpolation_mse"], squared / count, rtol=1e-5)


def test_nothing_masked_measures_zero():
    task, _, _ = split(unequal())
    nothing = LabelledSeries([np.array([[0.5], [np.nan]])])
    task.pretraining = PretrainingOptions(masked_share=1e-9)
    assert task.evaluate(task.build_model(SMALL), nothing) == {"mse": 0, "interpolation_mse": 0}


def test_masks_that_cannot_be_drawn_are_refused_at_once():
    with one_sentence("masked_share"):
        new(PretrainingOptions(masked_share=1.0))


def test_differences_are_refused_as_they_would_give_away_what_is_hidden():
    with one_sentence("1 orders of differences", "processing.differences"):
        new(differences=1)


def test_a_network_that_read_differences_is_no_start_for_pretraining():
    task = TimeSeriesTask("regression")
    start = PretrainedEncoder(train(waves(8), task=task, epochs=1).model, task.processor)
    with one_sentence("1 orders of differences", "processing.differences"):
        TimeSeriesPretrainingTask(pretrained=start)
