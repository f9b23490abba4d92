import pytest
import torch
from torch.testing import assert_close

from evolving_attention.attention import (
    attention_backend,
    evolving_attention,
    explain_backend,
)
from evolving_attention.attention.backends import BACKENDS, ENVIRONMENT_VARIABLE, Backend
from tests.attention.helpers import TwoLayers, plain_arguments, random_arguments


@pytest.fixture
def called(monkeypatch):
    """Names of the backends called, in order; none of them computes."""
    names = []

    def says(sentence):
        return lambda *_, **__: sentence

    monkeypatch.setitem(BACKENDS, "picky", Backend(print, says("it is picky.")))
    for name, backend in BACKENDS.items():
        drawback = says(None if name == "reference" else "it is slow.")
        noting = Backend(lambda *_, n=name, **__: names.append(n), backend.refusal, drawback)
        monkeypatch.setitem(BACKENDS, name, noting)
    return names


def plain():
    return plain_arguments(random_arguments())


def test_an_argument_counts_more_than_a_block_and_a_block_more_than_the_environment(
    called, monkeypatch
):
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "banded")
    evolving_attention(**plain())
    with attention_backend("reference"):
        evolving_attention(**plain())
        evolving_attention(**plain(), backend="banded")
        with attention_backend("banded"):
            evolving_attention(**plain())
        evolving_attention(**plain())
    evolving_attention(**plain())
    assert called == ["banded", "reference", "banded", "banded", "reference", "banded"]


def test_a_block_for_auto_chooses_whatever_the_environment_says(called, monkeypatch):
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "banded")
    with attention_backend("auto"):
        evolving_attention(**plain())
    assert called == ["reference"]


def test_a_block_that_ends_in_an_error_forces_nothing_any_more(called):
    with pytest.raises(KeyError), attention_backend("banded"):
        raise KeyError
    evolving_attention(**plain())
    assert called == ["reference"]


@pytest.mark.usefixtures("called")
def test_a_forced_backend_that_refuses_says_who_forced_it_and_why(monkeypatch):
    with pytest.raises(ValueError, match=r"^backend='picky' cannot be used here: it is picky\.$"):
        evolving_attention(**plain(), backend="picky")
    with pytest.raises(ValueError, match=r"^attention_backend\('picky'\).* it is picky\.$"):  # noqa: SIM117
        with attention_backend("picky"):
            evolving_attention(**plain())
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "picky")
    with pytest.raises(ValueError, match=rf"^{ENVIRONMENT_VARIABLE}=picky .* it is picky\.$"):
        evolving_attention(**plain())


def test_an_unknown_backend_is_named_with_those_to_choose_from(monkeypatch):
    with pytest.raises(ValueError, match=r"^backend must be one of 'auto', .*'reference'"):
        attention_backend("cuda").__enter__()
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "cuda")
    with pytest.raises(ValueError, match=f"^{ENVIRONMENT_VARIABLE} must be one of .* got 'cuda'"):
        evolving_attention(**plain())


def test_the_choice_is_explained_by_a_sentence_for_each_backend_passed_over():
    small = random_arguments(dtype=torch.float32)
    choice = explain_backend(**small, alpha=0.5, beta=0.5)
    assert choice.name == "reference"
    assert "entries" in choice.passed_over["banded"]
    assert str(choice).splitlines()[0] == "reference"
    assert f"not banded: {choice.passed_over['banded']}" in str(choice).splitlines()
    large = random_arguments(B=4, N=32, M=32, dtype=torch.float32)
    assert explain_backend(**large, alpha=0.5, beta=0.5).name == "banded"
    assert explain_backend(**plain_arguments(large)).name == "reference"
    wide = random_arguments(B=4, N=32, M=32, E=33, dtype=torch.float32)
    assert "32 wide, not for 33" in str(explain_backend(**wide, alpha=0.5, beta=0.5))
    assert explain_backend(**small, backend="banded", overwrite=True).name == "banded"


def test_explaining_checks_the_arguments_too():
    with pytest.raises(ValueError, match=r"^alpha"):
        explain_backend(**plain(), alpha=2.0)


@pytest.mark.parametrize("backend", sorted(BACKENDS))
def test_a_chain_in_a_block_computes_what_the_reference_computes(backend):
    model, hidden = TwoLayers(), torch.randn(2, 9, 8)
    with attention_backend("reference"):
        expected = model(hidden)
    try:
        with attention_backend(backend):
            actual = model(hidden)
    except ValueError as refused:
        pytest.skip(str(refused))
    assert_close(actual, expected)


def test_compilers_see_the_reference_also_where_auto_would_take_another():
    torch.compiler.reset()
    arguments = random_arguments(B=4, N=32, M=32, dtype=torch.float32)
    assert explain_backend(**arguments).name == "banded"
    compiled = torch.compile(evolving_attention, fullgraph=True, backend="aot_eager")
    assert_close(compiled(**arguments, beta=0.5), evolving_attention(**arguments, beta=0.5))
