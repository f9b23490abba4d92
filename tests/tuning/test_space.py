"""The space of a search: how it is written, what a trial makes of it."""

import pytest
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from evolving_attention.recipe import RECIPES, TimeSeriesRecipe, read_recipe, recipe_path
from evolving_attention.tasks.family import family_of
from evolving_attention.tasks.time_series import TimeSeriesTask
from evolving_attention.tasks.time_series_data import LabelledSeries
from evolving_attention.tuning.space import (
    distributions,
    own_values,
    read_space,
    trial_recipe,
)
from tests.small import one_sentence, two_classes

SERIES_SPACE = family_of(TimeSeriesRecipe()).search_space


class TestRanges:
    def test_are_read_from_yaml(self, tmp_path):
        path = tmp_path / "space.yaml"
        path.write_text(
            "model.alpha: {low: 0.0, high: 0.9, step: 0.1}\n"
            "model.num_blocks: {low: 1, high: 4}\n"
            "model.pooling: {choices: [mean, max]}\n"
            "training.learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}\n"
        )
        assert distributions(read_space(path)) == {
            "model.alpha": FloatDistribution(0.0, 0.9, step=0.1),
            "model.num_blocks": IntDistribution(1, 4),
            "model.pooling": CategoricalDistribution(["mean", "max"]),
            "training.learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
        }

    @pytest.mark.parametrize("recipe", RECIPES)
    def test_of_every_family_can_be_written_as_yaml_and_read_again(self, recipe, tmp_path):
        space, path = family_of(recipe()).search_space, tmp_path / "space.yaml"
        path.write_text(yaml.safe_dump(dict(space)))
        assert read_space(path) == space

    @pytest.mark.parametrize("recipe", RECIPES)
    def test_of_every_family_are_of_options_that_its_recipes_have(self, recipe):
        recipe = recipe()
        family = family_of(recipe)
        ends = {
            name: written["choices"][-1] if "choices" in written else written["high"]
            for name, written in family.search_space.items()
        }
        assert {"model.alpha", "model.beta", "training.learning_rate"} <= set(ends)
        changed = trial_recipe(recipe, ends)
        assert changed.model["beta"] == ends["model.beta"]
        family.check(changed)

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", ["must map"]),
            ("[1, 2]", ["must map"]),
            ("model.alpha: 3", ["model.alpha", "choices"]),
            ("model.alpha: {low: 0}", ["model.alpha", "high"]),
            ("model.alpha: {low: 1.0, high: 0.0}", ["model.alpha"]),
            ("model.alpha: {low: 0.0, high: 1.0, steps: 3}", ["model.alpha", "steps"]),
            ("a: [", ["space.yaml"]),
        ],
    )
    def test_that_are_none_are_refused_in_one_sentence(self, text, words, tmp_path):
        path = tmp_path / "space.yaml"
        path.write_text(text)
        with one_sentence("space.yaml", *words):
            read_space(path)

    @pytest.mark.parametrize(
        ("values", "words"),
        [({"data.train": "a"}, ["data.train", "model"]), ({"seed": 3}, ["seed"])],
    )
    def test_of_data_and_seed_are_refused(self, values, words):
        with one_sentence("cannot be searched", *words):
            trial_recipe(TimeSeriesRecipe(), values)

    def test_a_missing_file_is_named(self):
        with one_sentence("nowhere.yaml"):
            read_space("nowhere.yaml")


class TestTheRecipesOwnValues:
    @pytest.mark.parametrize("name", ["time_series/default", "images/default", "images/cifar10"])
    def test_lie_in_the_default_space_for_the_default_recipe(self, name):
        recipe = read_recipe(recipe_path(name))
        space = family_of(recipe).search_space
        own = own_values(recipe, space)
        assert own is not None
        assert set(own) == set(space)

    @pytest.mark.parametrize(
        ("model", "training"),
        [({"alpha": 0.95}, {}), ({"alpha": 0.55}, {}), ({"hidden_size": 48}, {})],
        ids=str,
    )
    def test_outside_of_the_space_are_none(self, model, training):
        assert own_values(TimeSeriesRecipe(model=model), SERIES_SPACE) is None

    def test_that_are_no_numbers_are_outside_of_a_range(self):
        space = {"training.patience": {"low": 1, "high": 9}}
        assert own_values(TimeSeriesRecipe(), space) is None


class TestATrial:
    def test_changes_the_recipe_where_the_space_says(self):
        recipe = TimeSeriesRecipe(model={"num_blocks": 2})
        changed = trial_recipe(recipe, {"model.alpha": 0.1 + 0.2, "training.learning_rate": 3e-4})
        assert changed.model == {"num_blocks": 2, "alpha": 0.3}
        assert changed.training.learning_rate == 3e-4
        assert recipe.model == {"num_blocks": 2}

    @pytest.mark.parametrize("hidden_size", [32, 48, 64, 100, 128])
    @pytest.mark.parametrize("ratio", [0.01, 0.125, 0.3, 0.5, 1.0])
    def test_takes_ratios_that_the_heads_can_share(self, hidden_size, ratio):
        values = {
            "model.hidden_size": hidden_size,
            "model.key_ratio": ratio,
            "model.value_ratio": ratio,
        }
        recipe = trial_recipe(TimeSeriesRecipe(model={"num_blocks": 1}), values)
        task = TimeSeriesTask("classification")
        task.split(LabelledSeries(*two_classes()), 0.0, 0)
        task.build_model(recipe.model)  # which refuses others
        nearest = 8 / hidden_size / 2
        if ratio >= 2 * nearest and recipe.model["key_ratio"] < ratio:
            assert ratio - recipe.model["key_ratio"] <= nearest + 1e-9 or ratio == 1.0

    def test_of_the_dilated_network_alone_stays_one(self):
        changed = trial_recipe(
            TimeSeriesRecipe(), {"model.key_ratio": 0.0, "model.value_ratio": 0.0}
        )
        assert changed.model == {"key_ratio": 0.0, "value_ratio": 0.0}

    def test_with_an_unknown_option_is_refused(self):
        with one_sentence("alpah"):
            trial_recipe(TimeSeriesRecipe(), {"model.alpah": 0.3})
