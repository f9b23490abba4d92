"""Recipes: reading, writing, finding them, and what is wrong with some."""

from dataclasses import fields, replace

import pytest
import yaml

from evolving_attention import TimeSeriesRecipe, read_recipe, train
from evolving_attention.recipe import (
    AugmentationOptions,
    DataOptions,
    PretrainingOptions,
    ProcessingOptions,
    TrainingOptions,
    bundled_recipes,
    recipe_path,
)
from evolving_attention.tasks.family import family_of
from evolving_attention.tasks.time_series import check_model_options
from evolving_attention.tasks.time_series_data import load_splits
from evolving_attention.training import check_options
from tests.small import one_sentence, write_npz

BUNDLED = {
    "time_series/default",
    "time_series/default_regression",
    "time_series/japanese_vowels",
    "time_series/paper_classification",
    "time_series/paper_regression",
    "time_series/pretraining",
}


@pytest.fixture
def written(tmp_path):
    """Write YAML text into a file."""

    def write(text, name="recipe.yaml"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


class TestBundledRecipes:
    def test_they_are_found_by_name(self):
        assert set(bundled_recipes()) >= BUNDLED
        assert all(path.is_file() for path in bundled_recipes().values())

    @pytest.mark.parametrize("name", sorted(bundled_recipes()))
    def test_each_begins_with_a_line_that_says_what_it_is(self, name):
        first = bundled_recipes()[name].read_text().splitlines()[0]
        assert first.startswith("# ")
        assert len(first) > 20

    @pytest.mark.parametrize(
        "name", sorted(name for name in bundled_recipes() if name.startswith("time_series/"))
    )
    def test_each_builds_the_configuration_of_a_network_for_its_data(self, name):
        recipe = read_recipe(bundled_recipes()[name])
        check_options(recipe.training)
        check_model_options(recipe.model)
        bundled = {"regression": "Covid3Month"}
        name = recipe.data.train or bundled.get(recipe.kind, "JapaneseVowels")
        training, _ = load_splits(name, kind=recipe.kind)
        task = family_of(recipe).task_of(recipe)
        task.split(training, recipe.training.validation, recipe.seed)
        config = task.model_config(recipe.model)
        assert config.input_size == task.processor.input_size
        assert task.processor.num_channels == training.series[0].shape[0]
        if recipe.kind != "pretraining":
            assert config.num_labels == (9 if recipe.kind == "classification" else 1)
        for option, value in recipe.model.items():
            assert getattr(config, option) == value, option

    def test_none_shares_its_run_folder_with_another(self):
        outputs = [read_recipe(path).output for path in bundled_recipes().values()]
        assert len(set(outputs)) == len(outputs)

    def test_the_default_recipe_is_the_default(self):
        default = read_recipe(recipe_path("time_series/default"))
        assert replace(default, output=TimeSeriesRecipe().output) == TimeSeriesRecipe()


class TestFinding:
    def test_a_file_is_itself(self, written, monkeypatch, tmp_path):
        path = written("seed: 3")
        assert recipe_path(str(path)) == path
        monkeypatch.chdir(tmp_path)
        assert recipe_path("recipe.yaml").resolve() == path

    @pytest.mark.parametrize(
        "name",
        [
            "time_series/japanese_vowels",
            "time_series/japanese_vowels.yaml",
            "recipes/time_series/japanese_vowels",
            "recipes/time_series/japanese_vowels.yaml",
        ],
    )
    def test_a_bundled_one_is_found_from_any_folder(self, name, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        assert recipe_path(name) == bundled_recipes()["time_series/japanese_vowels"]

    def test_a_file_of_ones_own_goes_before_a_bundled_one(self, monkeypatch, tmp_path):
        mine = tmp_path / "recipes" / "time_series" / "default.yaml"
        mine.parent.mkdir(parents=True)
        mine.write_text("seed: 9")
        monkeypatch.chdir(tmp_path)
        assert read_recipe(recipe_path("recipes/time_series/default.yaml")).seed == 9

    @pytest.mark.parametrize("name", ["japanese", "nowhere/recipe.yaml"])
    def test_an_unknown_one_is_told_with_those_there_are(self, name):
        with one_sentence(repr(name), "time_series/japanese_vowels"):
            recipe_path(name)

    @pytest.mark.parametrize("name", ["time_series/defualt", "default", "time_series"])
    def test_a_misspelt_one_is_told_with_the_nearest(self, name):
        with one_sentence(repr(name), "did you mean", "/default'"):
            recipe_path(name)

    @pytest.mark.parametrize("name", ["", ".", "..", "/"])
    def test_a_folder_is_no_recipe(self, name):
        with one_sentence(repr(name), "time_series/japanese_vowels"):
            recipe_path(name)


class TestReading:
    def test_what_is_not_said_has_its_default(self, written):
        recipe = read_recipe(written("training: {epochs: 3}\nmodel: {alpha: 0.25}"))
        assert recipe == TimeSeriesRecipe(training=TrainingOptions(epochs=3), model={"alpha": 0.25})

    def test_an_empty_file_is_the_default(self, written):
        assert read_recipe(written("# nothing yet\n")) == TimeSeriesRecipe()

    def test_numbers_may_be_written_as_powers_of_ten(self, written):
        recipe = read_recipe(written("training: {learning_rate: 3e-4}\nmodel: {alpha: 5e-1}"))
        assert recipe.training.learning_rate == 3e-4
        assert recipe.model["alpha"] == 0.5

    def test_null_is_none(self, written):
        recipe = read_recipe(written("processing: {clip: null}\nclass_weight: null"))
        assert recipe.processing.clip is None
        assert recipe.class_weight is None

    def test_a_path_may_be_text(self, written):
        assert read_recipe(str(written("seed: 4"))).seed == 4

    @pytest.mark.parametrize("name", ["recipe[1].yaml", "recipe 1.yaml", "rezept-ü.yml"])
    def test_a_file_may_have_any_name(self, written, name):
        assert read_recipe(written("seed: 4", name)).seed == 4

    def test_a_recipe_survives_writing_and_reading(self, written):
        recipe = TimeSeriesRecipe(
            task="time_series_regression",
            data=DataOptions("a.npz", "b: c.npz", "steps_first", "/data"),
            processing=ProcessingOptions("series", None, "truncate"),
            model={"alpha": 0.1, "pooling": "flatten", "dilated": False, "patch_size": "auto"},
            training=TrainingOptions(
                epochs=7,
                learning_rate=1e-10,
                optimizer="radam",
                schedule="constant",
                patience=3,
                select_by="metric",
                refit=True,
                precision="bfloat16",
            ),
            class_weight="balanced",
            seed=123456789,
            output="runs/ü ä: #1",
        )
        assert read_recipe(written(recipe.to_yaml())) == recipe

    def test_the_default_survives_writing_and_reading(self, written):
        assert read_recipe(written(TimeSeriesRecipe().to_yaml())) == TimeSeriesRecipe()

    def test_yaml_is_written_in_the_order_of_the_fields(self):
        assert list(yaml.safe_load(TimeSeriesRecipe().to_yaml())) == [
            field.name for field in fields(TimeSeriesRecipe)
        ]

    @pytest.mark.parametrize(
        ("task", "kind"),
        [
            ("time_series_classification", "classification"),
            ("time_series_regression", "regression"),
        ],
    )
    def test_the_kind_follows_from_the_task(self, task, kind):
        assert TimeSeriesRecipe(task=task).kind == kind


class TestMistakes:
    @pytest.mark.parametrize(
        ("text", "word"),
        [
            ("modle: {alpha: 0.5}", "modle"),
            ("training: {epoch: 3}", "epoch"),
            ("data: {path: a.npz}", "path"),
            ("seed: many", "seed"),
            ("training: {epochs: 2.5}", "epochs"),
            ("training: {optimizer: lion}", "optimizer"),
            ("training: {refit: perhaps}", "refit"),
            ("processing: {normalization: minmax}", "normalization"),
            ("processing: {longer_series: drop}", "longer_series"),
            ("task: forecasting", "task"),
            ("class_weight: {a: 2}", "class_weight"),
            ("model: [alpha]", "model"),
            ("model: null", "model"),
            ("model: 3", "model"),
            ("training: null", "training"),
            ("- seed", "recipe.yaml"),
            ("seed: [1", "recipe.yaml"),
            ("just text", "recipe.yaml"),
        ],
    )
    def test_what_is_unknown_or_of_a_wrong_type_is_told(self, written, text, word):
        path = written(text)
        with pytest.raises(ValueError, match=word) as told:
            read_recipe(path)
        assert type(told.value).__name__ == "InputError"
        assert "\n" not in str(told.value)
        assert str(path) in str(told.value)

    def test_a_missing_file_is_told(self, tmp_path):
        with pytest.raises(ValueError, match=r"nowhere\.yaml"):
            read_recipe(tmp_path / "nowhere.yaml")

    def test_a_folder_is_told(self, tmp_path):
        with pytest.raises(ValueError, match="is not a recipe"):
            read_recipe(tmp_path)

    @pytest.mark.parametrize(
        ("text", "word"),
        [
            ("training: {epochs: 0}", "epochs"),
            ("training: {batch_size: 0}", "batch_size"),
            ("training: {learning_rate: 0}", "learning_rate"),
            ("training: {learning_rate: .inf}", "learning_rate"),
            ("training: {weight_decay: -1}", "weight_decay"),
            ("training: {warmup: 1.5}", "warmup"),
            ("training: {gradient_clip: -1}", "gradient_clip"),
            ("training: {validation: 1}", "validation"),
            ("training: {patience: 0}", "patience"),
            ("processing: {clip: 0}", "clip"),
            ("model: {alpha: -0.5}", "alpha"),
            ("model: {beta: 1.5}", "beta"),
            ("model: {key_ratio: 2}", "key_ratio"),
            ("model: {key_ratio: 0.3}", "key_ratio"),
            ("model: {map_kernel_size: 4}", "kernel_size"),
            ("model: {num_blocks: 0}", "num_blocks"),
            ("model: {hidden_dropout: 1}", "hidden_dropout"),
            ("model: {pooling: median}", "pooling"),
            ("model: {patch_size: automatic}", "patch_size"),
            ("model: {learned_mixing: 3}", "learned_mixing"),
            ("model: {num_labels: 3}", "num_labels"),
        ],
    )
    def test_a_value_out_of_range_is_told_before_anything_trains(
        self, written, text, word, tmp_path
    ):
        data = write_npz(tmp_path / "data.npz")
        recipe = read_recipe(written(f"output: {tmp_path / 'run'}\n{text}"))
        with one_sentence(word):
            train(replace(recipe, data=DataOptions(str(data))))
        assert not (tmp_path / "run").exists()


class TestAsPretraining:
    def test_it_keeps_what_makes_the_network_and_leaves_what_is_for_labels(self):
        supervised = TimeSeriesRecipe(
            model={"alpha": 0.25},
            training=TrainingOptions(epochs=9, batch_size=3),
            pretraining=PretrainingOptions(epochs=4, masked_share=0.3),
            augmentation=AugmentationOptions(jitter=0.1),
            class_weight="balanced",
            freeze=True,
            seed=5,
        )
        alone = supervised.as_pretraining()
        assert (alone.kind, alone.model, alone.seed) == ("pretraining", supervised.model, 5)
        assert alone.training == TrainingOptions(epochs=4, batch_size=3)
        assert alone.pretraining == PretrainingOptions(masked_share=0.3)
        family_of(alone).task_to_train(alone)

    def test_without_epochs_of_pretraining_it_has_those_of_training(self):
        assert (
            TimeSeriesRecipe(training=TrainingOptions(epochs=9)).as_pretraining().training.epochs
            == 9
        )

    def test_a_recipe_of_pretraining_is_its_own(self):
        recipe = TimeSeriesRecipe(task="time_series_pretraining")
        assert recipe.as_pretraining() is recipe
