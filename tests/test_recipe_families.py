"""Families of tasks: the class of a recipe follows from its task, for files and commands alike."""

import pytest

from evolving_attention.cli.parser import named_type
from evolving_attention.recipe import RECIPES, TimeSeriesRecipe, recipe_of, recipe_type, tasks_of
from evolving_attention.tasks.family import Family, family_of
from tests.small import one_sentence

EACH_RECIPE = pytest.mark.parametrize("recipe", RECIPES)


@EACH_RECIPE
def test_a_task_names_the_class_of_its_recipe(recipe):
    for task in tasks_of(recipe):
        assert recipe_type(task) is recipe
        assert type(recipe_of({"task": task})) is recipe


@EACH_RECIPE
def test_no_two_families_have_a_task_in_common(recipe):
    others = [task for other in RECIPES if other is not recipe for task in tasks_of(other)]
    assert not set(tasks_of(recipe)) & set(others)


@EACH_RECIPE
def test_every_family_can_be_found_by_its_recipe(recipe):
    assert isinstance(family_of(recipe()), Family)


@EACH_RECIPE
def test_what_may_be_changed_are_options_and_neither_data_nor_seed(recipe):
    assert set(recipe.changeable) <= set(recipe.__dataclass_fields__)
    assert not {"task", "data", "seed", "output"} & set(recipe.changeable)


@pytest.mark.parametrize("task", ["poetry", 3, ["time_series_regression"]])
def test_an_unknown_task_is_refused_with_those_there_are(task):
    with one_sentence("time_series_classification", str(task)[:5]):
        recipe_of({"task": task})


class TestTheRecipeAmongWords:
    def test_is_found_wherever_it_stands(self, tmp_path):
        path = tmp_path / "mine.yaml"
        path.write_text("task: time_series_regression\n")
        assert named_type(["--seed", "3", str(path), "--overwrite"]) is TimeSeriesRecipe

    def test_may_be_missing_or_broken_which_is_told_later(self, tmp_path):
        path = tmp_path / "mine.yaml"
        for text in ("task: [", "- a", "task: poetry", "\x00"):
            path.write_text(text)
            assert named_type([str(path), "nowhere.yaml", "--help", str(tmp_path)]) is RECIPES[0]
