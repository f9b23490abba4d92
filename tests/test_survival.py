"""A run whose process is killed, really, ends with ``--resume`` as if nothing had happened."""

import random
import signal
import subprocess
import sys
import time

import pytest

from tests.small import SMALL_MODEL, files_of

#: Four updates an epoch and a checkpoint after each; a refit follows the choice of the epoch.
TRAINING = {"epochs": 4, "batch_size": 64, "refit": True, "checkpoint_every": 0.0}


def command(output, *start):
    options = {f"model.{name}": value for name, value in SMALL_MODEL.items()}
    options |= {f"training.{name}": value for name, value in TRAINING.items()}
    options |= {"training.validation": 0.2, "data.train": "JapaneseVowels", "seed": 7}
    values = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    run = ["train", "time_series/default", "--output", str(output), "--resume", *values]
    return [sys.executable, "-m", *start, *run]


def die(output, call, number):
    """Let a process kill itself at a moment that it cannot foresee."""
    process = subprocess.run(
        command(output, "tests.dying", call, str(number)), capture_output=True, text=True
    )
    assert process.returncode == -signal.SIGKILL, process.stderr


def kill(output, seconds):
    """Kill a process so many seconds after its first checkpoint."""
    before = set(output.glob("checkpoint/*/[0-9]*"))
    with subprocess.Popen(command(output, "evolving_attention"), stderr=subprocess.PIPE) as process:
        while process.poll() is None and set(output.glob("checkpoint/*/[0-9]*")) <= before:
            time.sleep(0.01)
        time.sleep(seconds)
        process.kill()
        assert process.wait() == -signal.SIGKILL, process.stderr.read()


def without_times(folder):
    lines = (folder / "metrics.json").read_text().splitlines()
    return [line for line in lines if "train_seconds" not in line]


@pytest.mark.slow
def test_a_run_that_was_killed_again_and_again_has_the_weights_of_an_undisturbed_one(tmp_path):
    draw = random.Random(11)
    output = tmp_path / "killed"
    die(output, "batch", draw.randint(4, 9))  # between two updates
    assert (output / "checkpoint").is_dir()
    die(output, "flush", draw.randint(12, 18))  # while the second checkpoint is being written
    assert list(output.glob("checkpoint/*/.*.new"))
    kill(output, draw.uniform(0, 0.5))
    end = subprocess.run(command(output, "evolving_attention"), capture_output=True, text=True)
    assert end.returncode == 0, end.stderr
    assert "going on with the unfinished run" in end.stderr
    # The other run has a process of its own too: inside the tests' process, where others ran before
    # it, its weights once differed in the last bit, for a reason not yet found.
    whole = tmp_path / "whole"
    subprocess.run(command(whole, "evolving_attention"), check=True, capture_output=True)
    assert files_of(output).keys() == files_of(whole).keys()
    for name in ("model.safetensors", "config.json", "preprocessor_config.json"):
        assert files_of(output)[name] == files_of(whole)[name], name
    assert without_times(output) == without_times(whole)
