"""Several processes make one run, and one of them speaks."""

import signal
import subprocess
import sys

import pytest

from evolving_attention.trainer.processes import connect, first_alone, from_all, tell, together
from tests.small import SMALL_MODEL, files_of, one_sentence, write_npz


def test_one_process_simply_calls():
    connect()
    assert first_alone(lambda: 3) == together(lambda: 3) == 3
    assert from_all("a") == ["a"]


def test_the_first_of_several_tells(monkeypatch, capsys):
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        tell(f"by {rank}")
    assert capsys.readouterr() == ("", "by 0\n")


@pytest.mark.parametrize("way", ["FSDP", "DEEPSPEED"])
def test_networks_are_not_cut_into_parts(way, monkeypatch):
    monkeypatch.setenv(f"ACCELERATE_USE_{way}", "true")
    with one_sentence(way):
        connect()


def torchrun(module, *arguments):
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run([*start, "-m", *module, *arguments], capture_output=True, text=True)


@pytest.fixture
def command(tmp_path):
    """Training with dropout and a checkpoint after every update."""
    options = {f"--model.{name}": str(value) for name, value in SMALL_MODEL.items()} | {
        "--data.train": str(write_npz(tmp_path / "data.npz")),
        "--training.epochs": "3",
        "--training.batch_size": "8",
        "--training.validation": "0.2",
        "--training.checkpoint_every": "0",
    }
    return ["train", "time_series/default", *(word for pair in options.items() for word in pair)]


@pytest.mark.slow
def test_a_killed_run_of_two_processes_goes_on_to_the_same_bits(command, tmp_path):
    whole = torchrun(["evolving_attention"], *command, "--output", str(tmp_path / "whole"))
    assert whole.returncode == 0, whole.stderr
    assert whole.stdout.count("run folder") == 1
    assert "Warning" not in whole.stderr
    killed = [*command, "--output", str(tmp_path / "killed")]
    assert str(-signal.SIGKILL.value) in torchrun(["tests.dying", "batch", "7"], *killed).stderr
    assert list(tmp_path.glob("killed/checkpoint/first/0*"))
    end = torchrun(["evolving_attention"], *killed, "--resume")
    assert end.returncode == 0, end.stderr
    expected, actual = files_of(tmp_path / "whole"), files_of(tmp_path / "killed")
    assert actual.keys() == expected.keys()
    assert actual["model.safetensors"] == expected["model.safetensors"]


@pytest.mark.slow
def test_an_error_is_told_once(command, tmp_path):
    wrong = ["--output", str(tmp_path / "run"), "--data.train", str(tmp_path / "missing.ts")]
    done = torchrun(["evolving_attention"], *command, *wrong)
    assert done.returncode != 0
    assert done.stderr.count("there is no file") == 1
    assert not (tmp_path / "run").exists()
