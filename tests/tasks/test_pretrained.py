"""Starting from a trained network: which options, which weights, which normalisation."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from evolving_attention.models import (
    EADCTransformerForClassification,
    EADCTransformerForPretraining,
    EADCTransformerForRegression,
    EADCTransformerModel,
)
from evolving_attention.tasks.pretrained import PretrainedEncoder
from evolving_attention.tasks.time_series import TimeSeriesTask, model_options
from evolving_attention.tasks.time_series_processor import TimeSeriesProcessor
from tests.models.helpers import EXACT, padded, series_of, small_config, small_model
from tests.tasks.helpers import labelled, one_sentence, sines_and_noise

HEADS = [
    EADCTransformerModel,
    EADCTransformerForPretraining,
    EADCTransformerForClassification,
    EADCTransformerForRegression,
]
FILES = ["config.json", "model.safetensors", "preprocessor_config.json"]


def processor_of(channels=3, steps=12, **options):
    rng = np.random.default_rng(1)
    return TimeSeriesProcessor(**options).fit([5 + rng.normal(size=(channels, steps))])


def start(kind=EADCTransformerForPretraining, **options):
    return PretrainedEncoder(small_model(kind, **options), processor_of(), "the start")


@pytest.mark.parametrize("kind", HEADS)
def test_the_encoder_is_taken_from_a_folder_and_heads_are_left(kind, tmp_path):
    model = small_model(kind).float()
    model.save_pretrained(tmp_path)
    processor_of().save_pretrained(tmp_path)
    loaded = PretrainedEncoder.load(tmp_path)
    target = EADCTransformerForClassification(small_config(num_labels=5))
    head = target.head.weight.detach().clone()
    loaded.give(target)
    for name, tensor in model.base_model.state_dict().items():
        assert torch.equal(target.model.state_dict()[name], tensor), name
    assert torch.equal(target.head.weight, head)
    assert str(tmp_path) in loaded.name


@pytest.mark.parametrize("missing", FILES)
def test_an_incomplete_folder_names_what_is_missing(missing, tmp_path):
    small_model().save_pretrained(tmp_path)
    processor_of().save_pretrained(tmp_path)
    (tmp_path / missing).unlink()
    with one_sentence(str(tmp_path), missing):
        PretrainedEncoder.load(tmp_path)


@pytest.mark.parametrize("damaged", FILES)
def test_a_damaged_file_is_named(damaged, tmp_path):
    small_model().save_pretrained(tmp_path)
    processor_of().save_pretrained(tmp_path)
    (tmp_path / damaged).write_text("{")
    with one_sentence(damaged):
        PretrainedEncoder.load(tmp_path)


# Options


def test_options_that_are_not_given_are_those_of_the_encoder():
    completed = start(alpha=0.25, patch_size=2).complete({"pooling": "max"})
    assert (completed["alpha"], completed["patch_size"]) == (0.25, 2)
    assert completed["hidden_size"] == 16
    assert completed["pooling"] == "max"
    assert set(completed) <= set(model_options())


def test_automatic_patches_are_those_of_the_encoder():
    assert start(patch_size=3).complete({"patch_size": "auto"})["patch_size"] == 3


def test_options_of_the_head_and_of_dropout_are_free():
    free = {"pooling": "attention", "hidden_dropout": 0.5, "branch_dropout": 0.5}
    completed = start().complete(free)
    assert {name: completed[name] for name in free} == free


@pytest.mark.parametrize(
    ("option", "value"),
    [("hidden_size", 32), ("num_blocks", 3), ("alpha", 0.0), ("patch_size", 4), ("dilated", False)],
)
def test_another_value_is_refused_by_the_name_of_its_option(option, value):
    with one_sentence(option, str(value), "the start"):
        start().complete({option: value})


def test_every_option_is_either_free_or_held():
    """An option that the model gains is held until someone says that it is free."""
    free = {"pooling", "hidden_dropout", "attention_dropout", "branch_dropout", "label_smoothing"}
    assert set(start().complete({})) == set(model_options()) - free


# Weights


@pytest.mark.parametrize("patch_size", [1, 3])
def test_longer_tables_compute_the_same_for_series_of_any_length(patch_size):
    short = start(EADCTransformerModel, max_length=6, patch_size=patch_size)
    long = small_model(EADCTransformerModel, max_length=21, patch_size=patch_size)
    short.give(long)
    for lengths in ((4, 6), (10, 2), (21, 25)):
        values, mask = padded(series_of(lengths))
        told = long(values, mask, output_maps=True)
        expected = short.model(values, mask, output_maps=True)
        assert_close(told.last_hidden_state, expected.last_hidden_state, **EXACT)
        assert_close(told.maps[-1], expected.maps[-1], **EXACT)


def test_the_weights_are_copies():
    given = start(EADCTransformerModel)
    target = small_model()
    given.give(target)
    with torch.no_grad():
        target.model.stem.projection.weight.zero_()
    assert given.model.stem.projection.weight.abs().sum() > 0


# Processors


def test_the_normalisation_is_that_of_the_start_and_labels_are_not():
    given = start()
    given.processor.fit_classes(np.array(["x", "y", "z"]))
    task = TimeSeriesTask("classification", pretrained=given)
    task.split(sines_and_noise(8, channels=3), 0.0, 0)
    assert task.processor.center == given.processor.center
    assert task.processor.scale == given.processor.scale
    assert task.processor.classes == ["noise", "sine"]
    assert given.processor.classes == ["x", "y", "z"]


def test_targets_of_a_start_that_was_regression_are_forgotten():
    given = start()
    given.processor.fit_targets(np.arange(4.0))
    task = TimeSeriesTask("classification", pretrained=given)
    task.split(sines_and_noise(8, channels=3), 0.0, 0)
    assert not hasattr(task.processor, "target_mean")


@pytest.mark.parametrize(("steps", "longest"), [(6, 12), (24, 24)])
def test_longer_series_get_positions_of_their_own(steps, longest):
    task = TimeSeriesTask("classification", pretrained=start())
    task.split(sines_and_noise(8, steps=steps, channels=3), 0.0, 0)
    assert task.processor.max_length == longest
    assert task.build_model({}).config.max_length == longest


def test_what_to_do_with_longer_series_is_asked_anew():
    given = start()
    given.processor.longer_series = "error"
    assert given.processor_for([np.zeros((3, 4))], 4, "truncate").longer_series == "truncate"


def test_series_of_other_channels_are_refused_with_both_numbers():
    task = TimeSeriesTask("classification", pretrained=start())
    with one_sentence("1 channels", "on 3", "the start"):
        task.split(labelled("abab"), 0.0, 0)
