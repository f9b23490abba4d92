"""Fine-tuning: what networks start from, what stays frozen, what pretraining sees."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from evolving_attention.recipe import PretrainingOptions, ProcessingOptions, TrainingOptions
from evolving_attention.tasks.pretrained import PretrainedEncoder
from evolving_attention.tasks.time_series import TimeSeriesTask
from evolving_attention.tasks.time_series_data import LabelledSeries
from evolving_attention.tasks.time_series_fine_tuning import FineTuningTask
from evolving_attention.tasks.time_series_pretraining import TimeSeriesPretrainingTask
from evolving_attention.training import seeded
from tests.small import interrupt_training
from tests.tasks.helpers import OPTIONS, SMALL, one_sentence, sines_and_noise, train, waves

FEW = PretrainingOptions(epochs=2)


def new(kind="classification", **options):
    return FineTuningTask(kind, training=OPTIONS, **options)


def built(task, data=None, seed=0, validation=0.0):
    """The network that a task starts with."""
    with seeded(seed):
        task.split(data or sines_and_noise(16), validation, seed)
        return task.build_model(SMALL)


@pytest.fixture(scope="module")
def start():
    task = TimeSeriesPretrainingTask()
    network = train(sines_and_noise(16), task=task, epochs=2)
    return PretrainedEncoder(network.model, task.processor)


def same(first, second, but=()):
    second = second.state_dict()
    return {
        name: torch.equal(tensor.cpu(), second[name].cpu())
        for name, tensor in first.state_dict().items()
        if not name.startswith(but)
    }


@pytest.fixture
def seen(monkeypatch):
    """The series that pretrainings see from now on."""
    split, parts = TimeSeriesPretrainingTask.split, []

    def record(self, data, *arguments):
        parts.append(data.series)
        return split(self, data, *arguments)

    monkeypatch.setattr(TimeSeriesPretrainingTask, "split", record)
    return parts


def test_without_either_it_is_the_task_it_fine_tunes():
    first, second = built(new()), built(TimeSeriesTask("classification"))
    assert all(same(first, second).values())
    first = train(task=new(), epochs=2)
    assert all(same(first.model, train(epochs=2).model).values())


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_a_network_starts_from_the_encoder_and_from_its_own_head(kind, start):
    data = sines_and_noise(16) if kind == "classification" else waves(16)
    model = built(new(kind, pretrained=start), data)
    assert all(same(start.model.base_model, model.base_model).values())
    undifferenced = ProcessingOptions(differences=0)
    assert all(same(model.head, built(new(kind, processing=undifferenced), data).head).values())


def test_pretraining_changes_the_encoder_and_not_the_start_of_the_head(seen):
    task = new(pretraining=FEW)
    pretrained, plain = built(task), built(new())
    assert not all(same(pretrained.base_model, plain.base_model).values())
    assert all(same(pretrained.head, plain.head).values())
    assert len(seen) == 1
    assert [entry["epoch"] for entry in task.history] == [1, 2]


def test_pretraining_is_that_of_the_pretraining_task_to_the_bit():
    data = sines_and_noise(16)
    alone = train(data, task=TimeSeriesPretrainingTask(), epochs=2, validation=0.0)
    model = built(new(pretraining=FEW), data)
    assert all(same(alone.model.base_model, model.base_model).values())


def test_pretraining_goes_on_from_an_encoder(start):
    task = new(pretrained=start, pretraining=FEW)
    further, plain = built(task), built(new(pretraining=FEW))
    assert not all(same(further.base_model, plain.base_model).values())
    assert not all(same(further.base_model, start.model.base_model).values())
    assert task.processor.center == start.processor.center


def test_pretraining_never_sees_what_is_held_out_and_a_refit_pretrains_on_everything(seen):
    data = sines_and_noise(20)
    train(data, task=new(pretraining=FEW), epochs=2, validation=0.25, refit=True)
    assert [len(part) for part in seen] == [15, 20]
    assert {id(values) for values in seen[0]} < {id(values) for values in data.series}


def test_pretraining_trains_as_the_recipe_says_but_holds_nothing_out(monkeypatch):
    asked = []

    def record(task, data, model, options, **others):
        asked.append((options, others["seed"]))
        raise KeyboardInterrupt

    monkeypatch.setattr("evolving_attention.tasks.time_series_fine_tuning.train_network", record)
    training = TrainingOptions(epochs=9, batch_size=5, validation=0.3, patience=2, refit=True)
    task = FineTuningTask("classification", pretraining=FEW, training=training)
    with pytest.raises(KeyboardInterrupt):
        built(task, seed=7)
    expected = replace(training, epochs=2, validation=0.0, patience=None, refit=False)
    assert asked == [(expected, 7)]


def test_the_same_seed_gives_the_same_network_to_the_bit():
    first, second, other = (
        train(task=new(pretraining=FEW), seed=seed, epochs=1).model for seed in (0, 0, 1)
    )
    assert all(same(first, second).values())
    assert not any(same(first.head, other.head).values())


# Freezing


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_freezing_trains_the_head_alone_and_keeps_every_statistic(start, pooling):
    task = new(pretrained=start, freeze=True)
    network = train(sines_and_noise(16), task=task, model={"pooling": pooling}, epochs=3)
    assert all(same(start.model.base_model, network.model.base_model).values())
    assert not any(same(network.model.head, built(task).head).values())


def test_freezing_works_with_gradient_checkpointing(start):
    task = new(pretrained=start, freeze=True)
    network = train(sines_and_noise(16), task=task, epochs=1, gradient_checkpointing=True)
    assert all(same(start.model.base_model, network.model.base_model).values())


def test_without_freezing_everything_learns(start):
    network = train(sines_and_noise(16), task=new(pretrained=start), epochs=2)
    changed = [
        not equal for equal in same(start.model.base_model, network.model.base_model).values()
    ]
    assert np.mean(changed) > 0.9


def test_a_frozen_encoder_of_its_own_pretraining_learns_before_and_not_after():
    task = new(pretraining=FEW, freeze=True)
    network = train(sines_and_noise(16), task=task, epochs=2, validation=0.0)
    expected = built(new(pretraining=FEW))
    assert all(same(expected.base_model, network.model.base_model).values())


def test_freezing_chance_is_refused():
    with one_sentence("freeze", "pretrained"):
        new(freeze=True)


# Mistakes


@pytest.mark.parametrize("epochs", [-1, 1.5, True, "2"])
def test_epochs_that_are_no_number_of_passes_are_refused(epochs):
    with one_sentence("pretraining.epochs", repr(epochs)):
        new(pretraining=PretrainingOptions(epochs=epochs))


def test_masks_that_cannot_be_drawn_are_refused():
    with one_sentence("masked_share"):
        new(pretraining=PretrainingOptions(masked_share=2.0))


def test_series_without_labels_are_refused_before_pretraining(seen):
    with one_sentence("targets"):
        built(new(pretraining=FEW), LabelledSeries(sines_and_noise(8).series))
    assert not seen


def test_ctrl_c_while_pretraining_leaves_no_network(monkeypatch):
    task = new(pretraining=PretrainingOptions(epochs=4))
    collate, made = TimeSeriesPretrainingTask.collate, []

    def interrupt(self, examples):
        made.append(len(examples))
        if len(made) > 6:
            raise KeyboardInterrupt
        return collate(self, examples)

    monkeypatch.setattr(TimeSeriesPretrainingTask, "collate", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(sines_and_noise(16), task=task, epochs=2)


def test_ctrl_c_after_pretraining_keeps_a_network(monkeypatch):
    interrupt_training(monkeypatch, after=6)
    network = train(sines_and_noise(16), task=new(pretraining=FEW), epochs=9, validation=0.0)
    assert network.interrupted


@pytest.mark.parametrize(
    ("kind", "options", "orders"),
    [
        ("classification", {}, 0),
        ("regression", {}, 1),
        ("regression", {"pretraining": FEW}, 0),
        ("regression", {"processing": ProcessingOptions(differences=2)}, 2),
        ("classification", {"processing": ProcessingOptions(differences=2)}, 2),
    ],
)
def test_numbers_are_read_from_differences_too_but_not_after_pretraining(kind, options, orders):
    assert new(kind, **options).processor.differences == orders


def test_pretraining_refuses_differences_which_would_give_away_what_it_hides():
    with one_sentence("2 orders of differences", "pretraining", "processing.differences"):
        new(pretraining=FEW, processing=ProcessingOptions(differences=2))
