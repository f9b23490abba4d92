import gc
import math
import os

import pytest
import torch

from tests.torchvision_operators import declare_missing

declare_missing()  # before anything imports transformers, which imports torchvision
if not torch.cuda.is_available():  # before anything imports Triton, whose kernels it interprets
    os.environ["TRITON_INTERPRET"] = "1"

from evolving_attention.cli import main  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def _frozen_imports():
    """Every training ends with a full garbage collection; spare it what the imports made."""
    gc.freeze()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def poisoned_memory(monkeypatch):
    """NaN in every tensor that is made without values."""

    def poisoned(make):
        @torch.no_grad()
        def call(*args, **kwargs):
            tensor = make(*args, **kwargs)
            return tensor.fill_(math.nan) if tensor.is_floating_point() else tensor

        return call

    monkeypatch.setattr(torch, "empty", poisoned(torch.empty))
    monkeypatch.setattr(torch, "empty_like", poisoned(torch.empty_like))
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)


@pytest.fixture
def call(capsys):
    """Run a command and return what it printed on stdout."""

    def call(*arguments):
        main([str(argument) for argument in arguments])
        return capsys.readouterr().out

    return call


@pytest.fixture
def refused(capsys):
    """Run a command that is a mistake and return the one line it tells."""

    def refused(*arguments):
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        told = capsys.readouterr()
        assert stopped.value.code == 2
        assert told.out == ""
        assert told.err.startswith("evolving-attention: "), told.err
        assert told.err.endswith("\n")
        assert len(told.err.splitlines()) == 1, told.err
        return told.err

    return refused
