"""Comparisons from end to end: what runs, what is left, what goes on where it was."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from pandas.testing import assert_frame_equal

from evolving_attention import Run, read_recipe, train
from evolving_attention.comparison import compare, execution, report
from evolving_attention.errors import InputError
from tests.small import (
    Killed,
    files_of,
    interrupt_training,
    kill_training,
    levels,
    one_sentence,
    small_recipe,
    two_classes,
    write_npz,
    write_ts,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("comparison")


@pytest.fixture(scope="module")
def recipe(folder):
    """A recipe for a small data set, with a single epoch on all of its training part."""
    data = write_npz(folder / "small.npz")
    return small_recipe(data, "unused", epochs=1, training={"validation": 0.0})


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def output(folder, recipe, told):
    """A finished comparison, which tests leave as it is."""
    compare(
        recipe,
        folder / "finished",
        against=["twin", "wide:model.hidden_size=16"],
        seeds=2,
        command="evolving-attention compare small.yaml",
        tell=told.append,
    )
    return folder / "finished"


@pytest.fixture(scope="module")
def mixed(recipe, folder):
    """Classification and regression in one comparison."""
    for split, options in (("TRAIN", {}), ("TEST", {"cases": 10, "seed": 1})):
        write_ts(folder / f"levels_{split}.ts", *levels(**options), kind="regression")
    sources = [recipe.data.train, str(folder / "levels_TRAIN.ts")]
    return folder / "mixed", compare(recipe, folder / "mixed", data=sources, seeds=1)


@pytest.fixture
def trained(monkeypatch):
    """The run folders that are trained from now on."""
    folders = []

    def note(recipe, **options):
        folders.append("/".join(Path(recipe.output).parts[-3:]))
        return train(recipe, **options)

    monkeypatch.setattr(execution, "train", note)
    return folders


class TestWhatItLeaves:
    def test_a_folder_for_each_run(self, output):
        runs = {"/".join(path.parent.parts[-3:]) for path in output.rglob("result.json")}
        assert runs == {
            f"small/{variant}/seed-{seed}"
            for variant in ("evolving", "twin", "wide")
            for seed in (0, 1)
        }

    def test_a_run_folder_is_that_of_train_without_the_weights(self, output, recipe, folder):
        run = output / "runs/small/evolving/seed-1"
        own = train(replace(recipe, seed=1, output=str(folder / "own")))
        assert {*files_of(run), "model.safetensors"} == {*files_of(own.folder), "result.json"}
        row = json.loads((run / "result.json").read_text())["row"]
        assert {name: row[name] for name in own.metrics["test"]} == own.metrics["test"]
        assert row["parameters"] == own.metrics["parameters"]
        with one_sentence("model.safetensors"):
            Run.load(run)

    def test_weights_are_kept_where_asked_for(self, recipe, tmp_path):
        compare(recipe, tmp_path, against=[], seeds=1, keep_weights=True)
        run = Run.load(tmp_path / "runs/small/evolving/seed-0")
        assert run.evaluate() == run.metrics["test"]

    def test_the_variants_are_what_they_are_called(self, output):
        model = {
            name: read_recipe(output / f"runs/small/{name}/seed-0/recipe.yaml").model
            for name in ("evolving", "twin", "wide")
        }
        assert (model["twin"]["alpha"], model["twin"]["beta"]) == (0, 0)
        assert model["twin"] | {"alpha": 0.5, "beta": 0.5} == model["evolving"]
        assert model["wide"] == model["evolving"] | {"hidden_size": 16}

    def test_a_table_with_a_row_a_run_in_the_order_asked_for(self, output):
        table = pd.read_csv(output / "results.csv")
        assert list(table["variant"]) == ["evolving", "twin", "wide"] * 2
        assert list(table["seed"]) == [0, 0, 0, 1, 1, 1]
        assert table[["accuracy", "log_loss", "train_seconds"]].notna().all(axis=None)
        assert set(table["status"]) == {"finished"}

    def test_a_line_a_run(self, told):
        assert len(told) == 6
        assert told[1].startswith("[2/6] small twin seed 0: accuracy ")

    def test_a_report_that_names_its_command(self, output):
        text = (output / "README.md").read_text()
        assert text.startswith("# evolving against twin, wide\n")
        assert "evolving-attention compare small.yaml" in text[:200]
        assert "Data sets: 1. Seeds: 2. Runs: 6 finished, 0 failed." in text

    def test_no_path_of_the_machine_in_tables_and_report(self, output, folder):
        for path in [output / "README.md", *output.glob("*.csv"), *output.rglob("result.json")]:
            assert str(folder) not in path.read_text(), path


class TestGoingOn:
    def test_what_is_finished_is_not_run_again(self, recipe, output, trained):
        before = files_of(output / "runs")
        told = []
        against = ["twin", "wide:model.hidden_size=16"]
        compare(
            recipe,
            output,
            against=against,
            seeds=2,
            tell=told.append,
            command="evolving-attention compare small.yaml",
        )
        assert trained == []
        assert files_of(output / "runs") == before
        assert told == ["6 of 6 runs were finished before"]

    def test_more_seeds_and_variants_run_alone(self, recipe, output, tmp_path, trained):
        shutil.copytree(output, tmp_path / "more")
        results = compare(recipe, tmp_path / "more", against=["twin", "kernel_1"], seeds=3)
        assert trained == [
            "small/kernel_1/seed-0",
            "small/kernel_1/seed-1",
            "small/evolving/seed-2",
            "small/twin/seed-2",
            "small/kernel_1/seed-2",
        ]
        assert len(results) == 11  # and those of before are reported too
        assert list(results["variant"].unique()) == ["evolving", "twin", "wide", "kernel_1"]

    @pytest.mark.parametrize("seconds", [None, 0], ids=["no checkpoint", "checkpoint"])
    def test_a_killed_run_goes_on_from_its_checkpoint_or_starts_again(
        self, recipe, output, tmp_path, monkeypatch, seconds
    ):
        recipe = replace(recipe, training=replace(recipe.training, checkpoint_every=seconds))
        with monkeypatch.context() as patch:
            kill_training(patch, after=5)  # in the middle of the second run
            with pytest.raises(Killed):
                compare(recipe, tmp_path, seeds=2)
        resumed = []

        def note(own, **options):
            resumed.append(options["resume"])
            return train(own, **options)

        monkeypatch.setattr(execution, "train", note)
        results = compare(recipe, tmp_path, seeds=2)
        assert resumed == [seconds is not None, False, False]
        same = pd.read_csv(output / "results.csv").query("variant != 'wide'")
        scores = ["variant", "seed", "accuracy", "log_loss"]
        assert_frame_equal(results[scores], same[scores].reset_index(drop=True))

    def test_an_interrupted_run_is_not_finished(
        self, recipe, output, tmp_path, trained, monkeypatch
    ):
        with monkeypatch.context() as patch:
            interrupt_training(patch, after=4)  # in the middle of the second run
            with pytest.raises(KeyboardInterrupt):
                compare(recipe, tmp_path, seeds=2)
        assert trained == ["small/evolving/seed-0", "small/twin/seed-0"]
        results = compare(recipe, tmp_path, seeds=2)
        assert trained[2:] == [
            "small/twin/seed-0",
            "small/evolving/seed-1",
            "small/twin/seed-1",
        ]
        same = pd.read_csv(output / "results.csv").query("variant != 'wide'")
        scores = ["variant", "seed", "accuracy", "log_loss"]
        assert_frame_equal(results[scores], same[scores].reset_index(drop=True))

    def test_a_folder_without_a_result_is_no_finished_run(self, recipe, output, tmp_path, trained):
        shutil.copytree(output, tmp_path / "killed")
        run = tmp_path / "killed/runs/small/twin/seed-1"
        (run / "result.json").unlink()
        (run / "rest").touch()
        compare(recipe, tmp_path / "killed", seeds=2)
        assert trained == ["small/twin/seed-1"]
        assert not (run / "rest").exists()

    @pytest.mark.parametrize(
        ("change", "word"),
        [
            ({"model": {"alpha": 0.1}}, "model.alpha 0.5, now 0.1"),
            ({"class_weight": "balanced"}, "class_weight"),
        ],
    )
    def test_another_recipe_is_refused_and_the_option_named(
        self, recipe, output, trained, change, word
    ):
        before = files_of(output)
        change = {
            name: getattr(recipe, name) | value if isinstance(value, dict) else value
            for name, value in change.items()
        }
        with one_sentence(word, "another output"):
            compare(replace(recipe, **change), output, seeds=3)
        assert trained == []
        assert files_of(output) == before

    def test_a_variant_that_means_something_else_now_is_refused(self, recipe, output, trained):
        with one_sentence("wide", "model.hidden_size 16, now 32"):
            compare(recipe, output, against=["wide:model.hidden_size=32"], seeds=3)
        assert trained == []

    def test_other_data_of_the_same_name_are_refused(self, recipe, output, tmp_path):
        data = write_npz(tmp_path / "small.npz", more=np.zeros(9))
        with one_sentence("data.train", "small.npz"):
            compare(recipe, output, data=[str(data)])

    def test_the_same_data_elsewhere_are_the_same(self, recipe, output, tmp_path, trained):
        shutil.copytree(output, tmp_path / "moved")
        shutil.copy(recipe.data.train, tmp_path / "small.npz")
        compare(recipe, tmp_path / "moved", data=[str(tmp_path / "small.npz")], seeds=2)
        assert trained == []


class TestSeveralProcesses:
    def test_a_run_that_another_is_at_is_left_to_it(self, recipe, tmp_path, trained):
        (tmp_path / "locks").mkdir()
        told = []
        with FileLock(tmp_path / "locks/small--twin--0.lock"):
            compare(recipe, tmp_path, seeds=1, tell=told.append)
        assert trained == ["small/evolving/seed-0"]
        assert told[1] == "[2/2] small twin seed 0: another process is at it"

    def test_the_lock_of_a_killed_process_is_free(self, recipe, tmp_path, trained):
        lock = tmp_path / "locks/small--twin--0.lock"
        lock.parent.mkdir()
        code = f"""
import os
from filelock import FileLock
FileLock({str(lock)!r}).acquire()
os.kill(os.getpid(), 9)
"""
        subprocess.run([sys.executable, "-c", code], env=os.environ, check=False)
        assert lock.exists()
        compare(recipe, tmp_path, seeds=1)
        assert "small/twin/seed-0" in trained

    def test_what_another_has_finished_meanwhile_is_not_repeated(
        self, recipe, tmp_path, monkeypatch
    ):
        started = []

        def both(own, **options):
            """While this process is at its first run, another does the second."""
            started.append(own.output)
            if len(started) == 1:
                compare(recipe, tmp_path, seeds=1)
            return train(own, **options)

        monkeypatch.setattr(execution, "train", both)
        compare(recipe, tmp_path, seeds=1)
        assert [Path(path).parts[-2] for path in started] == ["evolving", "twin"]


class TestFailures:
    def test_one_is_recorded_and_stops_no_other(self, recipe, tmp_path):
        told = []
        results = compare(
            recipe,
            tmp_path,
            against=["wild:training.learning_rate=1e30", "twin"],
            seeds=1,
            tell=told.append,
        )
        status = results.set_index("variant")["status"].to_dict()
        assert status == {"evolving": "finished", "wild": "failed", "twin": "finished"}
        assert "learning_rate" in results.set_index("variant").loc["wild", "message"]
        assert "wild seed 0: failed: " in told[1]
        assert "wild, seed 0: failed: " in (tmp_path / "README.md").read_text()
        assert (tmp_path / "runs/small/wild/seed-0/traceback.txt").is_file()

    def test_what_failed_is_tried_again(self, recipe, tmp_path, monkeypatch):
        with monkeypatch.context() as patch:
            patch.setattr(execution, "train", lambda *_, **__: 1 / 0)
            results = compare(recipe, tmp_path, seeds=1)
        assert set(results["status"]) == {"failed"}
        assert set(compare(recipe, tmp_path, seeds=1)["status"]) == {"finished"}

    def test_data_without_a_test_part_fail(self, recipe, tmp_path):
        data = write_ts(tmp_path / "alone.ts", *two_classes())
        results = compare(recipe, tmp_path / "out", data=[str(data)], against=[], seeds=1)
        assert "no labelled test part" in results["message"].iloc[0]

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"seeds": 0}, ["seeds"]),
            ({"against": ["mine:training.epochs=0"]}, ["epochs"]),
            ({"against": ["mine:model.alhpa=0"]}, ["mine", "alpha"]),
            ({"against": ["mine:model.key_ratio=0.3"]}, ["mine", "key_ratio", "heads"]),
            ({"data": ["nowhere.ts"]}, ["nowhere.ts"]),
            ({"data": ["../Libras"]}, ["../Libras"]),
            ({"data": ["Libras", "Libras"]}, ["Libras"]),
        ],
        ids=str,
    )
    def test_what_cannot_work_is_told_before_anything_is_written(
        self, recipe, tmp_path, options, words
    ):
        with one_sentence(*words):
            compare(recipe, tmp_path / "new", **options)
        assert not (tmp_path / "new").exists()

    @pytest.mark.parametrize("seed", [-1, 2**32 - 1])
    def test_seeds_that_are_none_are_told_before_anything_is_written(self, recipe, tmp_path, seed):
        with one_sentence("seed must lie"):
            compare(replace(recipe, seed=seed), tmp_path / "new", seeds=2)
        assert not (tmp_path / "new").exists()

    def test_several_processes_that_train_one_network_are_refused(
        self, recipe, tmp_path, monkeypatch
    ):
        monkeypatch.setenv("WORLD_SIZE", "2")
        with one_sentence("a comparison trains one network after the other", "in 2", "torchrun"):
            compare(recipe, tmp_path / "new")
        assert not (tmp_path / "new").exists()

    def test_a_page_of_something_else_is_not_replaced(self, recipe, tmp_path):
        page = tmp_path / "project" / "README.md"
        page.parent.mkdir()
        page.write_text("# My project\n")
        with one_sentence("README.md", "another output"):
            compare(recipe, page.parent)
        assert [*page.parent.iterdir()] == [page]


class TestKinds:
    def test_the_header_of_a_file_tells_regression(self, mixed):
        _, results = mixed
        kinds = results.groupby("data")["kind"].unique().map(list).to_dict()
        assert kinds == {"small": ["classification"], "levels": ["regression"]}
        assert results.query("data == 'levels'")["rmse"].notna().all()

    def test_each_has_a_section_of_the_report(self, mixed):
        output, _ = mixed
        text = (output / "README.md").read_text()
        classification, regression = text.split("## Regression")
        assert "### RMSE" in regression
        assert "accuracy (points)" in classification
        assert "RMSE (%)" in regression


class TestTheReport:
    def test_is_made_again_the_same_from_finished_runs(self, output, tmp_path):
        shutil.copytree(output, tmp_path / "again")
        before = files_of(tmp_path / "again")
        for path in [*(tmp_path / "again").glob("*.csv"), tmp_path / "again/README.md"]:
            path.unlink()
        report(tmp_path / "again")
        assert files_of(tmp_path / "again") == before

    def test_needs_a_comparison(self, tmp_path):
        with one_sentence("comparison.json"):
            report(tmp_path)

    def test_needs_a_run(self, output, tmp_path):
        shutil.copy(output / "comparison.json", tmp_path)
        with pytest.raises(InputError, match="no finished run"):
            report(tmp_path)
