"""Run folders: what training writes, what loading gives back, what is refused."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal
from safetensors.torch import load_file as load_weights
from sklearn.metrics import accuracy_score, r2_score

from evolving_attention import Run, read_recipe, train
from evolving_attention.errors import InputError
from evolving_attention.models import EADCTransformerConfig
from evolving_attention.recipe import ProcessingOptions
from evolving_attention.tasks.time_series import TimeSeriesTask, model_options
from tests.small import (
    SMALL_MODEL,
    files_of,
    interrupt_training,
    levels,
    one_sentence,
    small_recipe,
    two_classes,
    write_npz,
    write_ts,
)

FILES = {
    "config.json",
    "model.safetensors",
    "preprocessor_config.json",
    "recipe.yaml",
    "metrics.json",
    "README.md",
}


def two_levels(**options):
    """Series and two numbers that belong to each."""
    X, y = levels(**options)
    return X, np.stack([y, 10 - 3 * y], axis=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def data(folder):
    return write_npz(folder / "classes.npz")


@pytest.fixture(scope="module")
def run(folder, data):
    """A classification run as `train` returned it."""
    return train(small_recipe(data, folder / "deep" / "classification"))


@pytest.fixture(scope="module")
def regression(folder):
    data = write_npz(folder / "levels.npz", levels)
    return train(small_recipe(data, folder / "regression", kind="regression"))


@pytest.fixture(scope="module")
def several(folder):
    """A regression run with two targets."""
    data = write_npz(folder / "two_levels.npz", two_levels)
    return train(small_recipe(data, folder / "several", kind="regression"))


class TestTheFolder:
    def test_it_holds_six_files_and_nothing_else(self, run):
        assert set(files_of(run.folder)) == FILES

    def test_no_file_is_a_pickle(self, run):
        for name, content in files_of(run.folder).items():
            if not name.endswith(".safetensors"):
                content.decode("utf-8")
            assert not content.startswith((b"\x80", b"PK")), name

    def test_the_weights_are_those_of_the_network(self, run):
        weights = load_weights(run.folder / "model.safetensors")
        for name, tensor in run.model.state_dict().items():
            assert torch.equal(weights[name], tensor), name

    def test_metrics_name_the_chosen_epoch_and_hold_its_validation_figures(self, run):
        metrics = json.loads((run.folder / "metrics.json").read_text())
        assert metrics == run.metrics
        chosen = metrics["history"][metrics["epoch"] - 1]
        assert metrics["validation"]["loss"] == chosen["validation_loss"]
        assert chosen["validation_loss"] == min(
            entry["validation_loss"] for entry in metrics["history"]
        )
        assert metrics["parameters"] == sum(p.numel() for p in run.model.parameters())
        assert metrics["interrupted"] is False

    def test_the_resolved_recipe_names_every_option_of_the_model(self, run):
        written = yaml.safe_load((run.folder / "recipe.yaml").read_text())
        assert set(written["model"]) == set(model_options())
        for name, value in written["model"].items():
            assert value == getattr(run.model.config, name), name

    def test_options_that_a_recipe_does_not_name_have_the_defaults_of_the_model(self, run):
        for name in set(run.recipe.model) - set(SMALL_MODEL):
            assert run.recipe.model[name] == getattr(EADCTransformerConfig(), name), name

    def test_the_resolved_recipe_says_how_long_automatic_patches_became(self, folder):
        data = write_npz(folder / "long.npz", lambda **options: two_classes(steps=150, **options))
        long = train(small_recipe(data, folder / "long", epochs=1))
        assert yaml.safe_load((long.folder / "recipe.yaml").read_text())["model"]["patch_size"] == 2
        assert long.model.config.max_positions == 75

    def test_the_card_tells_settings_and_figures(self, run):
        _, front, body = (run.folder / "README.md").read_text().split("---\n", 2)
        assert yaml.safe_load(front)["library_name"] == "evolving-attention"
        assert f"accuracy {run.metrics['test']['accuracy']:.4f}" in body
        assert f"{run.metrics['parameters']:,} parameters, alpha 0.5, beta 0.5" in body

    def test_the_card_of_a_twin_says_so(self, folder, data):
        recipe = small_recipe(data, folder / "twin", epochs=1, model={"alpha": 0.0, "beta": 0.0})
        assert "no evolution (the twin)" in (train(recipe).folder / "README.md").read_text()

    def test_the_recipe_of_a_run_trains_the_same_weights_again_to_the_bit(self, run, folder):
        recipe = read_recipe(run.folder / "recipe.yaml")
        again = train(replace(recipe, output=str(folder / "again")))
        first, second = (files_of(one.folder)["model.safetensors"] for one in (run, again))
        assert first == second
        assert again.metrics["test"] == run.metrics["test"]

    def test_another_seed_trains_other_weights(self, run, folder):
        other = train(replace(run.recipe, output=str(folder / "other"), seed=1))
        assert (
            files_of(other.folder)["model.safetensors"] != files_of(run.folder)["model.safetensors"]
        )

    def test_training_leaves_the_random_states_as_they_were(self, folder, data):
        expected = torch.random.get_rng_state()
        train(small_recipe(data, folder / "states", epochs=1))
        assert torch.equal(torch.random.get_rng_state(), expected)


class TestLoading:
    @pytest.mark.parametrize("kind", ["run", "regression", "several"])
    def test_a_loaded_run_predicts_the_same_to_the_bit(self, kind, request):
        trained = request.getfixturevalue(kind)
        loaded = Run.load(trained.folder)
        path = trained.recipe.data.train
        assert_frame_equal(loaded.predict(path), trained.predict(path), check_exact=True)
        assert loaded.metrics == trained.metrics
        assert loaded.recipe == trained.recipe
        assert not loaded.model.training

    @pytest.mark.parametrize("missing", sorted(FILES - {"README.md"}))
    def test_an_incomplete_folder_is_told_in_one_sentence(self, run, missing, tmp_path):
        for name, content in files_of(run.folder).items():
            if name != missing:
                (tmp_path / name).write_bytes(content)
        with one_sentence("not a complete run folder", missing):
            Run.load(tmp_path)

    def test_a_folder_that_does_not_exist_is_told_in_one_sentence(self, tmp_path):
        with one_sentence("there is no run folder", "nowhere"):
            Run.load(tmp_path / "nowhere")

    def test_an_unfinished_run_is_told_how_to_go_on(self, tmp_path):
        (tmp_path / "checkpoint" / "first" / "000000000007").mkdir(parents=True)
        with one_sentence("unfinished run", "train --resume"):
            Run.load(tmp_path)

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("metrics.json", b"{"),
            ("config.json", b"{}"),
            ("config.json", b"{"),
            ("preprocessor_config.json", b"{"),
            ("model.safetensors", b"cut off"),
        ],
        ids=str,
    )
    def test_a_damaged_folder_is_told_in_one_sentence(self, run, name, content, tmp_path):
        for other, bytes_of in files_of(run.folder).items():
            (tmp_path / other).write_bytes(bytes_of)
        (tmp_path / name).write_bytes(content)
        with one_sentence(name):
            Run.load(tmp_path)

    def test_auto_classes_load_a_run_in_a_fresh_process(self, run, regression, several):
        series = two_classes(cases=3, seed=4)[0]
        logits = run.task.processor(series)
        program = f"""
import numpy, torch
import evolving_attention.models
import evolving_attention.tasks.time_series_processor
from transformers import (
    AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForSequenceClassification,
    AutoModelForTimeSeriesPrediction,
)
folder = {str(run.folder)!r}
print(type(AutoConfig.from_pretrained(folder)).__name__)
print(type(AutoModel.from_pretrained(folder)).__name__)
model = AutoModelForSequenceClassification.from_pretrained(folder)
print(type(model).__name__)
processor = AutoFeatureExtractor.from_pretrained(folder)
print(type(processor).__name__)
inputs = numpy.stack(processor(numpy.array({series.tolist()})))
print(model(torch.from_numpy(inputs)).logits.tolist())
print(type(AutoModelForTimeSeriesPrediction.from_pretrained({str(regression.folder)!r})).__name__)
"""
        told = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        assert told[:4] == [
            "EADCTransformerConfig",
            "EADCTransformerModel",
            "EADCTransformerForClassification",
            "TimeSeriesProcessor",
        ]
        with torch.inference_mode():
            expected = run.model(torch.from_numpy(np.stack(logits))).logits
        assert_allclose(json.loads(told[4]), expected.numpy(), rtol=1e-5, atol=1e-6)
        assert told[5] == "EADCTransformerForRegression"


class TestEvaluation:
    @pytest.mark.parametrize("kind", ["run", "regression", "several"])
    def test_it_gives_the_figures_of_the_training(self, kind, request):
        trained = request.getfixturevalue(kind)
        written = json.loads((trained.folder / "metrics.json").read_text())["test"]
        assert Run.load(trained.folder).evaluate() == written

    def test_accuracy_is_that_of_the_predictions(self, run):
        _, labels = two_classes(cases=10, seed=1)
        predicted = run.predict(run.recipe.data.train)["prediction"]
        assert run.metrics["test"]["accuracy"] == accuracy_score(labels, predicted)

    def test_r2_is_that_of_the_predictions_in_their_own_units(self, several):
        _, targets = two_levels(cases=10, seed=1)
        predicted = several.predict(several.recipe.data.train)
        assert several.metrics["test"]["r2"] == pytest.approx(r2_score(targets, predicted))

    def test_a_labelled_file_is_measured(self, regression, tmp_path):
        X, y = levels(cases=6, seed=7)
        path = write_ts(tmp_path / "new.ts", X, y, "regression")
        predicted = regression.predict(path)["prediction"]
        assert regression.evaluate(path)["r2"] == pytest.approx(r2_score(y, predicted))

    def test_an_unlabelled_file_is_refused(self, run, tmp_path):
        path = write_ts(tmp_path / "new.ts", two_classes()[0])
        with one_sentence("new.ts", "no labelled"):
            run.evaluate(path)

    def test_a_class_that_training_did_not_have_is_told(self, run, tmp_path):
        X, y = two_classes(cases=6)
        np.savez(tmp_path / "new.npz", X=X, y=y + 1)
        with one_sentence("class 2", "[0, 1]"):
            run.evaluate(tmp_path / "new.npz")

    def test_another_number_of_targets_is_told(self, several, tmp_path):
        path = write_ts(tmp_path / "new.ts", *levels(cases=6), "regression")
        with one_sentence("1 targets", "2"):
            several.evaluate(path)

    def test_classes_are_no_targets_of_a_regression(self, regression, tmp_path):
        X, y = two_classes(cases=6)
        path = write_ts(tmp_path / "new.ts", X, np.array(["low", "high"])[y])
        with one_sentence("new.ts", "not numbers"):
            regression.evaluate(path)

    def test_a_file_that_is_no_npz_is_told(self, run, tmp_path):
        (tmp_path / "new.npz").write_bytes(b"nothing of the kind")
        with one_sentence("new.npz"):
            run.evaluate(tmp_path / "new.npz")


class TestPrediction:
    def test_a_class_and_the_probability_of_each_are_told(self, run):
        table = run.predict(run.recipe.data.train)
        assert list(table.columns) == ["prediction", "probability_0", "probability_1"]
        probabilities = table.filter(like="probability").to_numpy()
        assert_allclose(probabilities.sum(1), 1)
        assert_array_equal(table["prediction"], probabilities.argmax(1))
        assert len(table) == 10

    def test_one_target_has_one_column(self, regression):
        table = regression.predict(regression.recipe.data.train)
        assert list(table.columns) == ["prediction"]
        assert table["prediction"].dtype == np.float64

    def test_several_targets_have_a_column_each(self, several):
        table = several.predict(several.recipe.data.train)
        assert list(table.columns) == ["prediction_0", "prediction_1"]
        # In their own units, the second is about 10 more than the first.
        assert table["prediction_1"].mean() > table["prediction_0"].mean()

    def test_labels_of_text_come_back_as_text(self, folder):
        (_, y), names = two_classes(), np.array(["a b", "ü,1"])
        data = write_npz(folder / "names.npz", y_train=names[y], y_test=None)
        table = train(small_recipe(data, folder / "names", epochs=1)).predict(data)
        assert list(table.columns)[1:] == ["probability_a b", "probability_ü,1"]
        assert set(table["prediction"]) <= {"a b", "ü,1"}

    def test_unlabelled_ts_files_and_arrays_give_the_same(self, run, tmp_path):
        X = two_classes(cases=5, seed=8)[0]
        np.savez(tmp_path / "new.npz", X=X)
        from_array = run.predict(tmp_path / "new.npz")
        from_text = run.predict(write_ts(tmp_path / "new.ts", X))
        assert_frame_equal(from_array, from_text)

    def test_series_are_predicted_in_their_order_whatever_their_lengths(self, run, tmp_path):
        X = [
            values[:, :length]
            for values, length in zip(two_classes(cases=5, seed=8)[0], (5, 2, 6, 3, 4), strict=True)
        ]
        together = run.predict(write_ts(tmp_path / "all.ts", X))
        alone = [run.predict(write_ts(tmp_path / "one.ts", [values])) for values in X]
        expected = pd.concat(alone, ignore_index=True)
        assert_frame_equal(together, expected, rtol=1e-4, atol=1e-5)

    def test_series_with_other_channels_are_refused(self, run, tmp_path):
        np.savez(tmp_path / "new.npz", X=two_classes(channels=3)[0])
        with one_sentence("3 channels", "2"):
            run.predict(tmp_path / "new.npz")


class TestTraining:
    @pytest.mark.parametrize("kind", ["classification", "regression"])
    def test_ts_files_train_with_the_test_part_beside_them(self, kind, tmp_path):
        make = two_classes if kind == "classification" else levels
        train_file = write_ts(tmp_path / "Small_TRAIN.ts", *make(), kind)
        write_ts(tmp_path / "Small_TEST.ts", *make(cases=10, seed=1), kind)
        trained = train(small_recipe(train_file, tmp_path / "run", kind=kind, epochs=1))
        assert trained.metrics["test"] == Run.load(tmp_path / "run").evaluate()
        assert len(trained.predict(tmp_path / "Small_TEST.ts")) == 10

    @pytest.mark.parametrize("without", [["y_test"], ["X_test", "y_test"]], ids=str)
    def test_a_test_part_without_labels_is_left_alone(self, without, tmp_path):
        data = write_npz(tmp_path / "data.npz", **dict.fromkeys(without))
        trained = train(small_recipe(data, tmp_path / "run", epochs=1))
        assert trained.metrics["test"] is None
        assert set(files_of(tmp_path / "run")) == FILES
        assert "| test |" not in (tmp_path / "run" / "README.md").read_text()
        with one_sentence("no labelled test part"):
            trained.evaluate()

    def test_nothing_is_lost_when_the_test_part_does_not_work(self, tmp_path, monkeypatch):
        def refuse(*_):
            raise InputError("the test part does not work.")

        monkeypatch.setattr(TimeSeriesTask, "evaluate", refuse)
        data = write_npz(tmp_path / "data.npz")
        with one_sentence("does not work"):
            train(small_recipe(data, tmp_path / "run", epochs=1))
        assert Run.load(tmp_path / "run").metrics["test"] is None

    def test_metrics_stay_valid_json_where_one_cannot_be_computed(self, tmp_path):
        """R2 of a single series is undefined."""
        X, y = levels(cases=1, seed=1)
        data = write_npz(tmp_path / "data.npz", levels, X_test=X, y_test=y)
        train(small_recipe(data, tmp_path / "run", kind="regression", epochs=1))

        def refuse(constant):
            raise AssertionError(f"{constant} is not JSON")

        json.loads((tmp_path / "run" / "metrics.json").read_text(), parse_constant=refuse)

    def test_a_fixed_budget_has_no_validation_figures(self, folder, data):
        recipe = small_recipe(data, folder / "budget", training={"validation": 0.0})
        trained = train(recipe)
        assert trained.metrics["validation"] is None
        assert trained.metrics["epoch"] == 2
        assert "| validation |" not in (trained.folder / "README.md").read_text()

    def test_an_interrupted_training_is_a_run_too(self, folder, data, monkeypatch):
        interrupt_training(monkeypatch, after=6)
        trained = train(small_recipe(data, folder / "interrupted", epochs=50))
        assert trained.metrics["interrupted"] is True
        assert Run.load(trained.folder).metrics["test"] == trained.metrics["test"]

    def test_progress_is_shown_only_where_asked(self, folder, data, capfd):
        train(small_recipe(data, folder / "quiet", epochs=1))
        assert capfd.readouterr() == ("", "")
        train(small_recipe(data, folder / "loud", epochs=1), progress=True)
        shown = capfd.readouterr()
        assert "epoch" in shown.err
        assert shown.out == ""


class TestOverwriting:
    def test_a_run_is_not_overwritten_unasked(self, run):
        before = files_of(run.folder)
        with one_sentence("already holds a run", "--overwrite"):
            train(replace(run.recipe, seed=5))
        assert files_of(run.folder) == before

    def test_a_run_is_replaced_where_asked(self, folder, data):
        recipe = small_recipe(data, folder / "replaced", epochs=1)
        before = files_of(train(recipe).folder)
        after = files_of(train(replace(recipe, seed=5), overwrite=True).folder)
        assert set(after) == FILES
        assert before["model.safetensors"] != after["model.safetensors"]
        assert Run.load(folder / "replaced").recipe.seed == 5


class TestRefusals:
    """Each in one sentence, and nothing was written."""

    @pytest.mark.parametrize(
        ("changes", "word"),
        [
            ({"training": {"epochs": 0}}, "epochs"),
            ({"training": {"validation": -0.1}}, "validation"),
            ({"training": {"learning_rate": math.nan}}, "learning_rate"),
            ({"training": {"optimizer": "lion"}}, "optimizer"),
            ({"training": {"schedule": "step"}}, "schedule"),
            ({"training": {"precision": "float8"}}, "precision"),
            ({"model": {"alfa": 0.5}}, "alpha"),
            ({"model": {"alpha": 2}}, "alpha"),
            ({"model": {"alpha": "much"}}, "alpha"),
            ({"model": {"hidden_size": 7}}, "key_ratio"),
            ({"model": {"pooling": "median"}}, "pooling"),
            ({"model": {"patch_size": 0}}, "patch_size"),
            ({"processing": ProcessingOptions(clip=-1.0)}, "clip"),
            ({"processing": ProcessingOptions(normalization="minmax")}, "normalization"),
            ({"processing": ProcessingOptions(longer_series="drop")}, "longer_series"),
            ({"class_weight": "even"}, "class_weight"),
            ({"seed": -1}, "seed"),
            ({"seed": 2**32}, "seed"),
            ({"kind": "forecasting"}, "task"),
        ],
        ids=str,
    )
    def test_options_that_do_not_work(self, data, tmp_path, changes, word):
        with one_sentence(word):
            train(small_recipe(data, tmp_path / "run", **changes))
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize(
        ("arrays", "words"),
        [
            ({"y_train": None, "y_test": None}, ["targets"]),
            ({"y_train": np.zeros(24)}, ["2 classes"]),
            ({"y_train": np.arange(23)}, ["24", "23"]),
            ({"y_train": levels()[1], "y_test": None}, ["classes", "default_regression"]),
            ({"X_train": np.zeros((24, 2, 0))}, ["steps"]),
            ({"X_train": np.full((24, 2, 6), np.inf)}, ["infinite"]),
            ({"X_train": np.zeros((24, 2, 6, 1))}, ["shape"]),
        ],
        ids=["no labels", "one class", "a label too few", "numbers", "no steps", "infinite", "4-D"],
    )
    def test_data_that_do_not_work(self, tmp_path, arrays, words):
        data = write_npz(tmp_path / "data.npz", **arrays)
        with one_sentence(*words):
            train(small_recipe(data, tmp_path / "run"))
        assert not (tmp_path / "run").exists()

    def test_a_test_part_with_another_number_of_targets(self, tmp_path):
        data = write_npz(tmp_path / "data.npz", two_levels, y_test=levels(cases=10)[1])
        with one_sentence("1 targets", "2"):
            train(small_recipe(data, tmp_path / "run", kind="regression"))
        assert not (tmp_path / "run").exists()

    def test_data_that_are_not_there(self, tmp_path):
        with one_sentence("there is no file", "missing.ts"):
            train(small_recipe(tmp_path / "missing.ts", tmp_path / "run"))
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize("output", ["file", "file/below"])
    def test_an_output_that_cannot_be_a_folder_is_refused_before_training(
        self, data, tmp_path, output, monkeypatch
    ):
        (tmp_path / "file").write_text("in the way")
        interrupt_training(monkeypatch, after=0)
        with one_sentence(output):
            train(small_recipe(data, tmp_path / output))

    @pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="root may write anywhere")
    def test_an_output_that_may_not_be_written_is_refused(self, data, tmp_path):
        (tmp_path / "locked").mkdir(mode=0o500)
        with one_sentence("locked"):
            train(small_recipe(data, tmp_path / "locked" / "run"))

    def test_a_name_that_is_no_data_set(self, tmp_path, monkeypatch):
        def no_network(*_, **__):
            raise OSError("no network")

        monkeypatch.setattr(
            "evolving_attention.tasks.time_series_data.load_classification", no_network
        )
        with one_sentence("NoSuchDataSet", "no network"):
            train(small_recipe("NoSuchDataSet", tmp_path / "run"))
        assert not (tmp_path / "run").exists()
