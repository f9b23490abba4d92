"""Unfinished runs: what goes on with them, what stands in the way, each in one sentence."""

import errno
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from safetensors import SafetensorError

from evolving_attention import Run, train, workspace
from evolving_attention.trainer import chosen, snapshots
from evolving_attention.trainer.files import file_sum
from evolving_attention.workspace import Workspace
from tests.small import (
    Killed,
    files_of,
    interrupt_training,
    kill_training,
    one_sentence,
    small_recipe,
    two_classes,
    write_npz,
)

#: 19 series train, in 3 updates an epoch; 5 validate, in a batch.
TRAINING = {"epochs": 4, "checkpoint_every": 0.0}


@pytest.fixture(autouse=True)
def _flushing_takes_no_time(monkeypatch):
    """What happens to a process, not to a machine, is looked at here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def data(tmp_path):
    return write_npz(tmp_path / "data.npz")


@pytest.fixture
def recipe(data, tmp_path):
    return small_recipe(data, tmp_path / "run", training=TRAINING)


def break_off(recipe, after=8, **options):
    """Leave an unfinished run behind."""
    with pytest.MonkeyPatch.context() as patch:
        kill_training(patch, after)
        with pytest.raises(Killed):
            train(recipe, **options)


def recipe_folder(recipe):
    return Path(recipe.output)


def checkpoints(recipe):
    return sorted(recipe_folder(recipe).glob("checkpoint/*/[0-9]*"))


def weights(folder):
    return files_of(folder)["model.safetensors"]


def undisturbed(recipe, tmp_path):
    """Return the weights of a run that nothing happens to, and that writes no checkpoint."""
    training = replace(recipe.training, checkpoint_every=None)
    return weights(
        train(replace(recipe, training=training, output=str(tmp_path / "undisturbed"))).folder
    )


class TestGoingOn:
    def test_a_finished_run_holds_no_trace_of_its_death(self, recipe, tmp_path):
        break_off(recipe)
        run = train(recipe, resume=True)
        assert weights(run.folder) == undisturbed(recipe, tmp_path)
        assert files_of(run.folder).keys() == files_of(tmp_path / "undisturbed").keys()
        assert run.metrics["test"] == Run.load(run.folder).evaluate()
        assert not (run.folder / "checkpoint").exists()

    @pytest.mark.parametrize("after", [6, 14])
    def test_pretraining_goes_on_too(self, recipe, tmp_path, after):
        recipe = replace(recipe, pretraining=replace(recipe.pretraining, epochs=3))
        alone = recipe.as_pretraining()
        alone = replace(alone, training=replace(alone.training, epochs=4))
        for kind in (recipe, alone):
            break_off(kind, after)
            run = train(kind, resume=True)
            assert weights(run.folder) == undisturbed(kind, tmp_path)
            shutil.rmtree(run.folder)
            shutil.rmtree(tmp_path / "undisturbed")

    def test_without_a_run_it_starts_at_the_beginning_and_says_so(self, recipe, tmp_path, capfd):
        run = train(recipe, resume=True, progress=True)
        assert "there is no checkpoint" in capfd.readouterr().err
        assert weights(run.folder) == undisturbed(recipe, tmp_path)

    def test_a_run_that_died_before_its_first_checkpoint_starts_again(self, recipe, tmp_path):
        seldom = replace(recipe, training=replace(recipe.training, checkpoint_every=60.0))
        break_off(seldom)
        assert not recipe_folder(recipe).exists()
        assert weights(train(seldom, resume=True).folder) == undisturbed(recipe, tmp_path)

    def test_output_and_frequency_may_change(self, recipe, tmp_path):
        break_off(recipe)
        recipe_folder(recipe).rename(tmp_path / "moved")
        seldom = replace(recipe.training, checkpoint_every=None)
        moved = replace(recipe, output=str(tmp_path / "moved"), training=seldom)
        assert weights(train(moved, resume=True).folder) == undisturbed(recipe, tmp_path)

    def test_ctrl_c_leaves_a_run_that_works_and_can_go_on(self, recipe, tmp_path):
        with pytest.MonkeyPatch.context() as patch:
            interrupt_training(patch, after=10)
            assert train(recipe).metrics["interrupted"]
        assert Run.load(recipe.output).evaluate()
        assert checkpoints(recipe)
        run = train(recipe, resume=True)
        assert not run.metrics["interrupted"]
        assert weights(run.folder) == undisturbed(recipe, tmp_path)
        assert not checkpoints(recipe)

    def test_the_seconds_before_the_death_count(self, recipe):
        break_off(recipe)
        path = checkpoints(recipe)[-1]
        progress = json.loads((path / "progress.json").read_text())
        assert progress["seconds"] > 0
        (path / "progress.json").write_text(json.dumps(progress | {"seconds": 5000.0}))
        make_whole(path)
        assert train(recipe, resume=True).metrics["train_seconds"] > 5000

    def test_no_file_of_a_checkpoint_is_a_pickle(self, recipe):
        recipe = replace(recipe, training=replace(recipe.training, refit=True))
        break_off(recipe, after=18)
        written = files_of(recipe_folder(recipe) / "checkpoint")
        assert {name.partition("/")[0] for name in written} == {"chosen", "refit", "started"}
        for name, content in written.items():
            assert name.endswith((".safetensors", ".json")), name
            assert not content.startswith((b"\x80", b"PK")), name

    @pytest.mark.parametrize("after", [1, 14, 18, 22])
    def test_a_refit_goes_on_wherever_it_was(self, recipe, tmp_path, after):
        recipe = replace(recipe, training=replace(recipe.training, refit=True))
        break_off(recipe, after=after)
        run = train(recipe, resume=True)
        assert weights(run.folder) == undisturbed(recipe, tmp_path)
        assert run.metrics["history"] == Run.load(tmp_path / "undisturbed").metrics["history"]


def make_whole(folder):
    """Let a checkpoint that was changed pass for whole."""
    sums = {name: file_sum(folder / name) for name in files_of(folder) if name != "sha256.json"}
    (folder / "sha256.json").write_text(json.dumps(sums))


class TestWhatStandsInTheWay:
    def test_an_unfinished_run_asks_what_to_do(self, recipe):
        break_off(recipe)
        before = files_of(recipe_folder(recipe))
        with one_sentence("run", "unfinished", "--resume", "--overwrite"):
            train(recipe)
        assert files_of(recipe_folder(recipe)) == before

    def test_an_unfinished_run_can_be_overwritten(self, recipe, tmp_path):
        break_off(recipe)
        other = replace(recipe, seed=3)
        assert weights(train(other, overwrite=True).folder) == undisturbed(other, tmp_path)

    def test_resume_or_overwrite_but_not_both(self, recipe):
        with one_sentence("--resume", "--overwrite"):
            train(recipe, resume=True, overwrite=True)
        assert not recipe_folder(recipe).exists()

    def test_a_page_of_something_else_is_not_replaced(self, recipe):
        recipe_folder(recipe).mkdir(parents=True)
        (recipe_folder(recipe) / "README.md").write_text("# My project\n")
        for wish in ({}, {"resume": True}, {"overwrite": True}):
            with one_sentence("README.md", "another output"):
                train(recipe, **wish)
        assert files_of(recipe_folder(recipe)) == {"README.md": b"# My project\n"}

    @pytest.mark.parametrize(
        "name", ["config.json", "metrics.json", "checkpoint/model.pt", "tensorboard/events"]
    )
    def test_nothing_else_of_something_else_is_replaced_either(self, recipe, name):
        path = recipe_folder(recipe) / name
        path.parent.mkdir(parents=True)
        path.write_text("mine")
        for wish in ({}, {"resume": True}, {"overwrite": True}):
            with one_sentence(name.split("/")[0], "another output"):
                train(recipe, **wish)
        assert files_of(recipe_folder(recipe)) == {name: b"mine"}

    def test_a_finished_run_has_nothing_to_resume(self, recipe):
        train(recipe)
        before = files_of(recipe_folder(recipe))
        with one_sentence("is finished", "nothing to resume"):
            train(recipe, resume=True)
        assert files_of(recipe_folder(recipe)) == before

    @pytest.mark.parametrize(
        ("section", "name", "then", "now"),
        [
            ("training", "epochs", 4, 6),
            ("model", "hidden_size", 8, 16),
            ("processing", "clip", 5.0, None),
            (None, "seed", 0, 1),
        ],
    )
    def test_a_changed_option_is_named_with_both_values(self, recipe, section, name, then, now):
        break_off(recipe)
        if section is None:
            changed = replace(recipe, **{name: now})
        elif section == "model":
            changed = replace(recipe, model=recipe.model | {name: now})
        else:
            changed = replace(recipe, **{section: replace(getattr(recipe, section), **{name: now})})
        dotted = f"{section}.{name}" if section else name
        with one_sentence(f"{dotted} was {then!r} and is {now!r}", "--overwrite"):
            train(changed, resume=True)
        assert checkpoints(recipe)

    @pytest.mark.parametrize("changes", ["a value", "a label", "a series less"])
    def test_changed_training_data_are_told(self, recipe, data, changes):
        break_off(recipe)
        X, y = two_classes()
        if changes == "a value":
            X[3, 1, 2] += 1e-6
        elif changes == "a label":
            y[5] = 1 - y[5]
        else:
            X, y = X[:-1], y[:-1]
        write_npz(data, X_train=X, y_train=y)
        with one_sentence("training data have changed", "--overwrite"):
            train(recipe, resume=True)
        write_npz(data)
        train(recipe, resume=True)

    def test_another_test_part_is_no_matter(self, recipe, data, tmp_path):
        expected = undisturbed(recipe, tmp_path)
        break_off(recipe)
        write_npz(data, X_test=two_classes(cases=10, seed=9)[0])
        assert weights(train(recipe, resume=True).folder) == expected

    def test_another_number_of_processes_is_told(self, recipe, monkeypatch):
        break_off(recipe)
        monkeypatch.setattr("evolving_attention.workspace.process_count", lambda: 4)
        with one_sentence("number of processes", "was 1 and is 4"):
            train(recipe, resume=True)

    def test_another_network_to_start_from_is_told(self, recipe, tmp_path):
        pretrained = train(replace(recipe, output=str(tmp_path / "pretrained")))
        recipe = replace(recipe, pretrained=str(pretrained.folder))
        break_off(recipe)
        train(replace(recipe, output=recipe.pretrained, pretrained=None, seed=4), overwrite=True)
        with one_sentence("pretrained", "has changed"):
            train(recipe, resume=True)

    def test_another_process_at_work_is_told(self, recipe):
        folder = recipe_folder(recipe)
        folder.mkdir()
        code = (
            "import sys, time; from filelock import FileLock;"
            "lock = FileLock(sys.argv[1] + '/.lock'); lock.acquire();"
            "print('here', flush=True); time.sleep(60)"
        )
        start = [sys.executable, "-c", code, str(folder)]
        with subprocess.Popen(start, stdout=subprocess.PIPE, text=True) as other:
            try:
                assert other.stdout.readline() == "here\n"
                for wish in ({}, {"resume": True}, {"overwrite": True}):
                    with one_sentence("another process", str(folder)):
                        train(recipe, **wish)
            finally:
                other.kill()
        train(recipe)  # the lock of a process that was killed holds nobody up
        assert ".lock" not in files_of(folder)

    def test_the_lock_of_the_process_that_comes_next_stays(self, tmp_path, monkeypatch):
        path, seen = tmp_path / "run" / ".lock", []

        class Lock(FileLock):
            def release(self, force=False):
                seen.append(path.exists())
                super().release(force)

        monkeypatch.setattr(workspace, "FileLock", Lock)
        with Workspace(tmp_path / "run").opened(resume=False, overwrite=False):
            assert path.exists()
        assert seen[0] is False  # what is removed after the release may be another's


class TestDamage:
    def damage(self, path, how):
        weights = path / "model.safetensors"
        if how == "missing":
            weights.unlink()
        elif how == "truncated":
            weights.write_bytes(weights.read_bytes()[:-10])
        elif how == "a bit":
            content = bytearray(weights.read_bytes())
            content[-5] ^= 1
            weights.write_bytes(content)
        else:
            (path / "sha256.json").write_text("{")

    @pytest.mark.parametrize("how", ["missing", "truncated", "a bit", "sums"])
    def test_a_damaged_checkpoint_gives_way_to_the_one_before(self, recipe, tmp_path, how):
        break_off(recipe)
        self.damage(checkpoints(recipe)[-1], how)
        assert weights(train(recipe, resume=True).folder) == undisturbed(recipe, tmp_path)

    def test_where_all_are_damaged_the_run_must_start_again(self, recipe):
        break_off(recipe)
        for path in checkpoints(recipe):
            self.damage(path, "truncated")
        with one_sentence("every checkpoint", "damaged", "--overwrite"):
            train(recipe, resume=True)
        train(recipe, overwrite=True)

    def test_without_what_it_was_started_with_the_run_must_start_again(self, recipe):
        break_off(recipe)
        shutil.rmtree(recipe_folder(recipe) / "checkpoint" / "started")
        with one_sentence("started", "missing or damaged", "--overwrite"):
            train(recipe, resume=True)


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full_disk_of_safetensors(*_, **__):
    raise SafetensorError('IoError(Os { code: 28, message: "No space left on device" })')


class TestAFullDisk:
    @pytest.mark.parametrize("fail", [full_disk, full_disk_of_safetensors])
    def test_the_last_checkpoint_stays(self, recipe, tmp_path, monkeypatch, fail):
        break_off(recipe)
        before = files_of(recipe_folder(recipe) / "checkpoint")
        with monkeypatch.context() as patch:
            patch.setattr(snapshots, "save_file", fail)
            with one_sentence("cannot be written", "No space left", "--resume"):
                train(recipe, resume=True)
        assert files_of(recipe_folder(recipe) / "checkpoint") == before
        assert weights(train(recipe, resume=True).folder) == undisturbed(recipe, tmp_path)

    def test_before_the_first_checkpoint_nothing_is_left_behind(self, recipe, monkeypatch):
        monkeypatch.setattr(snapshots, "save_file", full_disk)
        with one_sentence("cannot be written", "No space left", "train again"):
            train(recipe)
        assert not recipe_folder(recipe).exists()

    def test_at_the_choice_of_the_epoch(self, recipe, tmp_path, monkeypatch):
        recipe = replace(recipe, training=replace(recipe.training, refit=True))
        with monkeypatch.context() as patch:
            patch.setattr(chosen, "save_model", full_disk)
            with one_sentence("cannot be written", "--resume"):
                train(recipe)
        assert weights(train(recipe, resume=True).folder) == undisturbed(recipe, tmp_path)

    def test_at_the_end_the_run_that_is_replaced_stays(self, recipe, tmp_path, monkeypatch):
        before = files_of(train(recipe).folder)
        other = replace(recipe, seed=1)
        with monkeypatch.context() as patch:
            patch.setattr(Run, "_write_report", full_disk)
            with one_sentence("cannot be written", "--resume"):
                train(other, overwrite=True)
        after = files_of(recipe_folder(recipe))
        assert {name: after[name] for name in before} == before
        assert weights(train(other, resume=True).folder) == undisturbed(other, tmp_path)


def test_a_loss_that_is_not_finite_leaves_nothing_behind(recipe):
    recipe = replace(recipe, training=replace(recipe.training, learning_rate=1e20))
    with one_sentence("loss"):
        train(replace(recipe, training=replace(recipe.training, checkpoint_every=60.0)))
    assert not recipe_folder(recipe).exists()


def test_series_and_labels_of_any_type_have_a_fingerprint(tmp_path):
    y = two_classes()[1]
    names = np.array(["low", "high"])[y]
    data = write_npz(tmp_path / "names.npz", y_train=names, y_test=None)
    recipe = small_recipe(data, tmp_path / "names", training=TRAINING)
    break_off(recipe)
    train(recipe, resume=True)
