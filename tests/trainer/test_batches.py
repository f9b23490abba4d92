"""However a batch is cut, in time or among processes, its update is the same."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import SequentialSampler

from evolving_attention.trainer.batches import FilledCollator, SharedBatches
from tests.tasks.helpers import one_sentence
from tests.trainer.frozen import SCENARIOS, train


@pytest.mark.parametrize("cases", [1, 2, 3, 7, 8, 9, 23, 24])
@pytest.mark.parametrize(("accumulation", "processes"), [(1, 1), (2, 1), (1, 2), (2, 2), (4, 2)])
def test_processes_share_every_series_once_in_as_many_rounds(cases, accumulation, processes):
    order = SequentialSampler(range(cases))
    shares = [
        SharedBatches(order, 8, accumulation, processes, process) for process in range(processes)
    ]
    rounds = [list(share) for share in shares]
    assert {len(share) for share in shares} == {len(rounds[0])} == {len(r) for r in rounds}
    together = [index for pieces in zip(*rounds, strict=True) for p in pieces for index in p]
    assert together == list(range(cases))
    most = 8 // (accumulation * processes)
    assert all(len(piece) <= most for pieces in rounds for piece in pieces)
    assert all(rounds[0])


def test_an_empty_share_is_filled_with_a_batch_that_does_not_count():
    collate = FilledCollator(lambda examples: {"values": list(examples)}, ["first", "second"])
    assert collate(["second"]) == {"values": ["second"]}
    assert collate([]) == {"values": ["first"], "counts": False}


def assert_close(weights, network):
    for name, expected in network.model.state_dict().items():
        torch.testing.assert_close(weights[name], expected, rtol=1e-5, atol=2e-6, msg=name)


@pytest.mark.parametrize("name", ["one_update", "odd_end", "regression"])
@pytest.mark.parametrize("pieces", [2, 8])
def test_accumulated_pieces_equal_the_whole_batch(name, pieces):
    whole, accumulated = train(name), train(name, gradient_accumulation=pieces)
    assert_close(accumulated.model.state_dict(), whole)
    for entry, expected in zip(accumulated.history, whole.history, strict=True):
        assert entry == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("pieces", [3, 16])
def test_a_batch_that_cannot_be_cut_evenly_is_refused(pieces):
    with one_sentence("training.batch_size", f"a multiple of {pieces}", "got 8"):
        train("odd_end", gradient_accumulation=pieces)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What two processes make of all scenarios."""
    folder = tmp_path_factory.mktemp("shared")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    start = [*torchrun, "--nproc-per-node", "2", "-m", "tests.trainer.frozen", str(folder)]
    done = subprocess.run(start, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="only Linux tells threads so")
def test_processes_that_have_taken_leave_hold_no_thread_of_their_group(folder):
    for process in (0, 1):
        threads = json.loads((folder / f"threads-{process}.json").read_text())
        assert threads
        assert not [name for name in threads if "gloo" in name]


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_two_processes_equal_one(folder, name):
    network = train(name)
    assert_close(load_file(folder / f"{name}.safetensors"), network)
    epoch, history = json.loads((folder / f"{name}.json").read_text())
    assert epoch == network.epoch
    for entry, expected in zip(history, network.history, strict=True):
        assert entry == pytest.approx(expected, rel=1e-5)
