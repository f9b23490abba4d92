"""From recipes to tasks: which class, with what, and which options contradict each other."""

import pytest

from evolving_attention.recipe import (
    AugmentationOptions,
    DataOptions,
    PretrainingOptions,
    ProcessingOptions,
    TimeSeriesRecipe,
)
from evolving_attention.tasks.time_series import TimeSeriesTask
from evolving_attention.tasks.time_series_family import FAMILY
from evolving_attention.tasks.time_series_fine_tuning import FineTuningTask
from evolving_attention.tasks.time_series_pretraining import TimeSeriesPretrainingTask
from tests.small import one_sentence, write_npz
from tests.tasks.test_pretrained import processor_of, small_model

MASKING = PretrainingOptions(masked_share=0.3, mean_length=4.0, together=True)


@pytest.fixture
def folder(tmp_path):
    small_model().save_pretrained(tmp_path)
    processor_of().save_pretrained(tmp_path)
    return str(tmp_path)


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_a_supervised_recipe_has_its_task(kind):
    recipe = TimeSeriesRecipe(
        task=f"time_series_{kind}",
        processing=ProcessingOptions(normalization="series"),
        class_weight="balanced",
        augmentation=AugmentationOptions(jitter=0.1),
    )
    trained, training = (
        FAMILY.task_of(recipe),
        FAMILY.task_to_train(recipe, progress=True),
    )
    assert (type(trained), type(training)) == (TimeSeriesTask, FineTuningTask)
    for task in (trained, training):
        assert task.kind == kind
        assert task.processor.normalization == "series"
        assert task.class_weight == "balanced"
    assert training.progress
    assert training.augmentation.jitter == 0.1


def test_a_pretraining_recipe_has_the_pretraining_task():
    recipe = TimeSeriesRecipe(task="time_series_pretraining", pretraining=MASKING)
    for task in (FAMILY.task_of(recipe), FAMILY.task_to_train(recipe)):
        assert type(task) is TimeSeriesPretrainingTask
        assert task.pretraining == MASKING


def test_a_recipe_hands_its_pretraining_on(folder):
    pretraining = PretrainingOptions(epochs=3, masked_share=0.3)
    recipe = TimeSeriesRecipe(pretrained=folder, freeze=True, pretraining=pretraining)
    task = FAMILY.task_to_train(recipe)
    assert (task.freeze, task.pretraining, task.training) == (True, pretraining, recipe.training)
    assert task.pretrained.name == f"the network in {folder}"


def test_a_pretraining_recipe_can_start_from_a_run(folder):
    recipe = TimeSeriesRecipe(task="time_series_pretraining", pretrained=folder)
    assert FAMILY.task_to_train(recipe).pretrained is not None


def test_what_a_run_started_from_is_not_needed_to_load_it(folder):
    recipe = TimeSeriesRecipe(pretrained="/no/longer/there", freeze=True)
    assert FAMILY.task_of(recipe).pretrained is None
    with one_sentence("/no/longer/there", "config.json"):
        FAMILY.task_to_train(recipe)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pretraining": PretrainingOptions(epochs=3)}, ["pretraining.epochs", "training.epochs"]),
        ({"freeze": True}, ["freeze"]),
        ({"class_weight": "balanced"}, ["class_weight"]),
        ({"augmentation": AugmentationOptions(jitter=0.1)}, ["augmentation"]),
    ],
    ids=str,
)
def test_what_pretraining_has_no_use_for_is_refused(options, words):
    with one_sentence(*words):
        FAMILY.task_to_train(TimeSeriesRecipe(task="time_series_pretraining", **options))


def test_settings_tell_files_by_name_and_size_and_leave_the_name_of_what_is_not_there(tmp_path):
    path = write_npz(tmp_path / "data.npz")
    data = DataOptions(train=str(path), test="elsewhere/missing.ts")
    assert FAMILY.data_settings(TimeSeriesRecipe(data=data)) == {
        "layout": "channels_first",
        "train": f"data.npz, {path.stat().st_size} bytes",
        "test": "elsewhere/missing.ts",
    }
