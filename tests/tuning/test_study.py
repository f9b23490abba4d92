"""Searches: what is scored, what is kept, how they go on where they were."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from filelock import FileLock
from pandas.testing import assert_frame_equal

from evolving_attention import read_recipe, train
from evolving_attention.cli import main
from evolving_attention.tasks import time_series_data
from evolving_attention.tasks.family import family_of
from evolving_attention.tasks.time_series_data import LabelledSeries
from evolving_attention.tuning import scoring, study, tune
from evolving_attention.tuning.scoring import score
from tests.small import (
    interrupt_training,
    levels,
    one_sentence,
    small_recipe,
    two_classes,
    write_npz,
    write_ts,
)

SPACE = {
    "model.alpha": {"low": 0.0, "high": 0.9, "step": 0.1},
    "training.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
}
#: Of a trial, what does not depend on the clock.
TRIAL = ["state", "score", *SPACE]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tuning")


@pytest.fixture(scope="module")
def recipe(folder):
    data = write_npz(folder / "small.npz")
    return small_recipe(data, "unused", epochs=1, training={"validation": 0.0})


@pytest.fixture
def scored(monkeypatch):
    """Replace training by a formula; return the recipes that are scored from now on."""
    scored = []

    def formula(recipe, data, folds, after_fold):
        scored.append(recipe)
        return (recipe.model["alpha"] - 0.2) ** 2

    monkeypatch.setattr(study, "score", formula)
    return scored


def trials(folder):
    return pd.read_csv(folder / "trials.csv")


class TestTheSearch:
    def test_of_a_pretrained_network_leaves_what_its_weights_fix(self, recipe, folder, tmp_path):
        start = train(replace(recipe, output=str(folder / "start"))).folder
        tune(replace(recipe, pretrained=str(start), model={}), tmp_path, trials=3)
        done = trials(tmp_path)
        assert (done["state"] == "complete").all()
        searched = set(done) & set(family_of(recipe).search_space)
        assert searched == {
            "model.hidden_dropout",
            "training.learning_rate",
            "training.weight_decay",
        }

    def test_finds_a_better_recipe_and_leaves_it_as_yaml(self, recipe, tmp_path, scored):
        best = tune(recipe, tmp_path, trials=15, space=SPACE)
        assert abs(best.model["alpha"] - 0.2) < 0.11
        assert read_recipe(tmp_path / "best.yaml") == best
        assert best == replace(
            recipe,
            model=recipe.model | {"alpha": best.model["alpha"]},
            training=replace(recipe.training, learning_rate=best.training.learning_rate),
            output=str(tmp_path / "best"),
        )

    def test_begins_with_the_recipe_itself(self, recipe, tmp_path, scored):
        tune(recipe, tmp_path, trials=2, space=SPACE)
        assert scored[0].model["alpha"] == 0.5
        assert scored[0].training == recipe.training
        assert "The recipe itself: 0.0900." in (tmp_path / "README.md").read_text()

    def test_begins_anywhere_where_the_recipe_is_not_in_the_space(self, recipe, tmp_path, scored):
        space = {"model.alpha": {"low": 0.7, "high": 0.9}}
        tune(recipe, tmp_path, trials=2, space=space)
        assert scored[0].model["alpha"] != 0.5
        assert "The recipe itself" not in (tmp_path / "README.md").read_text()

    def test_says_what_mattered(self, recipe, tmp_path, scored):
        tune(recipe, tmp_path, trials=10, space=SPACE)
        importance = pd.read_csv(tmp_path / "importance.csv").set_index("option")["importance"]
        assert importance["model.alpha"] > 0.8
        assert importance.sum() == pytest.approx(1)

    def test_has_nothing_to_say_of_scores_that_are_all_alike(self, recipe, tmp_path, monkeypatch):
        monkeypatch.setattr(study, "score", lambda *_: 1.0)
        tune(recipe, tmp_path, trials=3, space=SPACE)
        assert len(pd.read_csv(tmp_path / "importance.csv")) == 0

    def test_maximises_what_is_better_larger(self, recipe, tmp_path, scored):
        by_metric = replace(recipe, training=replace(recipe.training, select_by="metric"))
        best = tune(by_metric, tmp_path, trials=10, space=SPACE)
        assert best.model["alpha"] == 0.9

    def test_trains_for_real_and_its_best_recipe_trains(self, recipe, tmp_path):
        told = []
        best = tune(recipe, tmp_path, trials=2, space=SPACE, tell=told.append)
        assert told[0].startswith("[1/2] log loss ")
        assert (trials(tmp_path)["score"] > 0).all()
        assert train(best).metrics["test"]["accuracy"] >= 0


class TestGoingOn:
    def test_more_trials_are_added_to_those_that_are_done(self, recipe, tmp_path, scored):
        tune(recipe, tmp_path, trials=2, space=SPACE)
        told = []
        tune(recipe, tmp_path, trials=5, space=SPACE, tell=told.append)
        assert len(scored) == 5
        assert told[0] == "2 trials were done before"
        assert len(trials(tmp_path)) == 5
        tune(recipe, tmp_path, trials=5, space=SPACE)
        assert len(scored) == 5

    def test_a_search_in_pieces_is_the_one_in_a_piece(self, recipe, tmp_path, scored):
        tune(recipe, tmp_path / "whole", trials=12, space=SPACE)  # the first ten are random
        for number in (1, 11, 12):
            tune(recipe, tmp_path / "pieces", trials=number, space=SPACE)
        whole, pieces = trials(tmp_path / "whole"), trials(tmp_path / "pieces")
        assert_frame_equal(whole[TRIAL], pieces[TRIAL])
        assert whole["model.alpha"].nunique() > 3

    @pytest.mark.parametrize("after", [0, 11])
    def test_an_interrupted_trial_is_proposed_again(
        self, recipe, tmp_path, scored, monkeypatch, after
    ):
        tune(recipe, tmp_path / "whole", trials=12, space=SPACE)
        formula, calls = study.score, []

        def stop(*arguments):
            calls.append(arguments)
            if len(calls) == after + 1:
                raise KeyboardInterrupt
            return formula(*arguments)

        monkeypatch.setattr(study, "score", stop)
        told = []
        with pytest.raises(KeyboardInterrupt):
            tune(recipe, tmp_path / "stopped", trials=12, space=SPACE, tell=told.append)
        assert "kept" in told[-1]
        assert (tmp_path / "stopped/best.yaml").exists() == (after > 0)
        tune(recipe, tmp_path / "stopped", trials=12, space=SPACE)
        assert_frame_equal(trials(tmp_path / "whole")[TRIAL], trials(tmp_path / "stopped")[TRIAL])

    def test_so_is_that_of_a_killed_process(self, recipe, tmp_path, scored):
        tune(recipe, tmp_path / "whole", trials=3, space=SPACE)
        tune(recipe, tmp_path / "killed", trials=1, space=SPACE)
        storage = f"sqlite:///{tmp_path / 'killed' / 'trials.db'}"
        optuna.load_study(study_name="trials", storage=storage).ask()  # and never told
        tune(recipe, tmp_path / "killed", trials=3, space=SPACE)
        assert_frame_equal(trials(tmp_path / "whole")[TRIAL], trials(tmp_path / "killed")[TRIAL])

    def test_ctrl_c_inside_a_training_stops_the_search(self, recipe, tmp_path, monkeypatch):
        tune(recipe, tmp_path, trials=1, space=SPACE)
        interrupt_training(monkeypatch, after=2)
        with pytest.raises(KeyboardInterrupt):
            tune(recipe, tmp_path, trials=3, space=SPACE)
        assert len(trials(tmp_path)) == 1

    @pytest.mark.parametrize(
        ("recipe_changes", "options", "word"),
        [
            ({"seed": 1}, {}, "seed 0, now 1"),
            ({"model": {"hidden_size": 16}}, {}, "model.hidden_size"),
            ({}, {"folds": 3}, "folds 1, now 3"),
            ({}, {"space": {"model.beta": {"low": 0.0, "high": 1.0}}}, "space model"),
        ],
        ids=str,
    )
    def test_other_settings_are_refused_and_named(
        self, recipe, tmp_path, scored, recipe_changes, options, word
    ):
        tune(recipe, tmp_path, trials=1, space=SPACE)
        with one_sentence(word, "another output"):
            tune(replace(recipe, **recipe_changes), tmp_path, **{"space": SPACE} | options)
        assert len(scored) == 1

    def test_one_process_at_a_time(self, recipe, tmp_path, scored):
        with FileLock(tmp_path / "tuning.lock"), one_sentence("another process"):
            tune(recipe, tmp_path, trials=1, space=SPACE)


class TestFailures:
    def test_a_trial_that_cannot_work_is_kept_and_not_tried_again(self, recipe, tmp_path):
        space = {"model.num_attention_heads": {"choices": [2, 3]}}
        told = []
        tune(recipe, tmp_path, trials=6, space=space, tell=told.append)
        table = trials(tmp_path)
        failed = table[table["state"] == "fail"]
        assert set(failed["model.num_attention_heads"]) == {3}
        assert failed["error"].str.contains("heads").all()
        assert any("failed: " in line for line in told)
        again = []
        tune(recipe, tmp_path, trials=6, space=space, tell=again.append)
        assert again == ["6 trials were done before"]

    def test_a_score_that_is_no_number_is_a_failure(self, recipe, tmp_path, monkeypatch):
        monkeypatch.setattr(study, "score", lambda *_: np.nan)
        with one_sentence("trials.csv"):
            tune(recipe, tmp_path, trials=2, space=SPACE)
        assert trials(tmp_path)["error"].str.contains("nan").all()

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"trials": 0}, ["trials"]),
            ({"folds": 0}, ["folds"]),
            ({"space": {"model.alpah": {"low": 0.0, "high": 1.0}}}, ["alpah"]),
            ({"space": {"training.epoch": {"low": 1, "high": 2}}}, ["epoch"]),
        ],
        ids=str,
    )
    def test_what_cannot_work_is_told_before_anything_is_written(
        self, recipe, tmp_path, options, words
    ):
        with one_sentence(*words):
            tune(recipe, tmp_path / "new", **options)
        assert not (tmp_path / "new").exists()

    def test_a_seed_that_is_none_is_told_before_anything_is_written(self, recipe, tmp_path):
        with one_sentence("seed", "-1"):
            tune(replace(recipe, seed=-1), tmp_path / "new", space=SPACE)
        assert not (tmp_path / "new").exists()

    def test_several_processes_that_train_one_network_are_refused(
        self, recipe, tmp_path, monkeypatch
    ):
        monkeypatch.setenv("WORLD_SIZE", "2")
        with one_sentence("a search trains one network after the other", "in 2", "torchrun"):
            tune(recipe, tmp_path / "new", space=SPACE)
        assert not (tmp_path / "new").exists()

    def test_a_page_of_something_else_is_not_replaced(self, recipe, tmp_path, scored):
        (tmp_path / "README.md").write_text("# My project\n")
        with one_sentence("README.md", "another output"):
            tune(recipe, tmp_path, trials=1, space=SPACE)
        assert (tmp_path / "README.md").read_text() == "# My project\n"


class TestTheScore:
    def data(self, make=two_classes, **options):
        return LabelledSeries(*make(**options))

    def test_is_the_log_loss_or_the_accuracy_or_the_rmse(self, recipe):
        by_metric = replace(recipe, training=replace(recipe.training, select_by="metric"))
        regression = replace(recipe, task="time_series_regression")
        metric_of = family_of(recipe).metric_of
        assert metric_of(recipe) == ("log_loss", False)
        assert metric_of(by_metric) == ("accuracy", True)
        assert metric_of(regression) == ("rmse", False)
        assert score(by_metric, self.data(), 1) * 5 % 1 < 1e-9  # of five series
        assert score(regression, self.data(levels), 1) > 0

    def test_without_choosing_is_that_of_the_last_epoch(self, recipe, monkeypatch):
        networks = self.networks(monkeypatch)
        figure = score(replace(recipe, training=replace(recipe.training, epochs=3)), self.data(), 1)
        assert figure == networks[0].history[-1]["validation_log_loss"]

    def test_with_choosing_is_that_of_the_chosen_epoch(self, recipe, monkeypatch):
        networks = self.networks(monkeypatch)
        training = replace(recipe.training, epochs=4, validation=0.4, learning_rate=0.3)
        figure = score(replace(recipe, training=training), self.data(), 1)
        losses = [entry["validation_log_loss"] for entry in networks[0].history]
        assert figure == min(losses)

    @staticmethod
    def networks(monkeypatch):
        networks, original = [], scoring.train_network

        def note(*arguments, **options):
            networks.append(original(*arguments, **options))
            return networks[-1]

        monkeypatch.setattr(scoring, "train_network", note)
        return networks

    def test_of_folds_is_their_mean_and_every_series_is_scored_once(self, recipe, monkeypatch):
        held_out, means = [], []
        original = LabelledSeries.take

        def note(data, indices):
            held_out.append(indices)
            return original(data, indices)

        monkeypatch.setattr(LabelledSeries, "take", note)
        result = score(recipe, self.data(), 3, lambda fold, mean: means.append((fold, mean)))
        train_parts, rests = held_out[::2], held_out[1::2]
        assert sorted(np.concatenate(rests)) == list(range(24))
        for train_part, rest in zip(train_parts, rests, strict=True):
            assert sorted([*train_part, *rest]) == list(range(24))
        assert [fold for fold, _ in means] == [0, 1, 2]
        assert result == means[-1][1]

    def test_of_folds_leaves_rare_classes_in_training(self, recipe):
        X, y = two_classes()
        y = np.where(np.arange(24) == 5, 7, y)
        folds = list(scoring._folds(recipe, y, 3))
        assert all(5 in train_part for train_part, _ in folds)
        assert np.isfinite(score(recipe, LabelledSeries(X, y), 3))

    def test_needs_more_series_than_folds(self, recipe):
        with one_sentence("too few"):
            score(recipe, self.data(cases=4), 5)

    def test_stops_bad_trials_after_a_fold_when_pruned(self, recipe, tmp_path, monkeypatch):
        def formula(recipe, data, folds, after_fold):
            for fold in range(folds):
                after_fold(fold, recipe.model["alpha"])
            return recipe.model["alpha"]

        monkeypatch.setattr(study, "score", formula)
        tune(recipe, tmp_path, trials=15, folds=3, space=SPACE, prune=True)
        states = trials(tmp_path)["state"].value_counts()
        assert states["pruned"] >= 1
        assert states["pruned"] + states["complete"] == 15

    def test_never_opens_the_test_part(self, recipe, tmp_path, monkeypatch):
        for split, options in (("TRAIN", {}), ("TEST", {"cases": 10, "seed": 1})):
            write_ts(tmp_path / f"two_{split}.ts", *two_classes(**options))
        opened, read = [], time_series_data.load_from_ts_file
        monkeypatch.setattr(
            time_series_data,
            "load_from_ts_file",
            lambda path: opened.append(Path(path).name) or read(path),
        )
        own = replace(recipe, data=replace(recipe.data, train=str(tmp_path)))
        (tmp_path / f"{tmp_path.name}_TRAIN.ts").write_text((tmp_path / "two_TRAIN.ts").read_text())
        tune(own, tmp_path / "out", trials=1, space=SPACE)
        assert opened == [f"{tmp_path.name}_TRAIN.ts"]


class TestTheCommand:
    @pytest.fixture
    def here(self, recipe, tmp_path, monkeypatch):
        (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
        (tmp_path / "space.yaml").write_text("model.alpha: {low: 0.0, high: 0.9}\n")
        monkeypatch.chdir(tmp_path)
        return tmp_path

    def test_tells_trial_by_trial_and_where_the_best_recipe_is(self, here, capsys):
        main(["tune", "recipe.yaml", "--trials", "2", "--space", "space.yaml"])
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith("[1/2] log loss ")
        assert lines[2] == "best recipe: tuning/recipe/best.yaml"
        page = (here / "tuning/recipe/README.md").read_text()
        assert "evolving-attention tune recipe.yaml --trials 2 --space space.yaml" in page

    def test_data_output_and_options_of_the_recipe(self, here, recipe):
        data = str(recipe.data.train)
        words = ["--data", data, "--output", "out", "--model.hidden_size", "16", "--folds", "2"]
        main(["tune", "recipe.yaml", "--trials", "1", "--space", "space.yaml", *words])
        assert read_recipe(here / "out/best.yaml").model["hidden_size"] == 16
        assert str(Path(data).parent) not in (here / "out/README.md").read_text()

    def test_names_the_missing_extra(self, here):
        code = (
            "import sys; sys.modules['optuna'] = None\n"
            "from evolving_attention.cli import main; main(['tune', 'recipe.yaml'])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 2
        assert done.stderr == (
            "evolving-attention: optuna is not installed: pip install 'evolving-attention[tune]'.\n"
        )
