"""Inference in the memory of one map."""

import threading

import pytest
import torch
from peak_memory import peak_allocated

from evolving_attention.attention import (
    EvolvingAttention,
    attention_backend,
    evolving_attention,
    modules,
    overwriting_maps,
)
from evolving_attention.attention.overwriting import maps_may_be_overwritten

B, H, N, E = 3, 4, 150, 4
ONE_MAP = 4 * B * H * N * N


def stack_of(depth, **options):
    torch.manual_seed(0)
    evolution = {"alpha": 0.5, "beta": 0.5, **options}
    return [EvolvingAttention(H), *(EvolvingAttention(H, **evolution) for _ in range(depth - 1))]


def run(stack, states, mask=None):
    own_map = None
    for layer in stack:
        states, own_map = layer(states, states, states, own_map, mask=mask)
    return states, own_map


@pytest.fixture(autouse=True)
def _banded():
    with attention_backend("banded"):
        yield


@pytest.fixture
def _large(monkeypatch):
    """Normalise sample by sample, as large maps are."""
    monkeypatch.setattr(modules, "_LARGE", 1)


def some_mask(kind):
    shapes = {"none": None, "keys": (B, 1, 1, N), "all": (B, H, N, N), "shared": (1, 1, N, N)}
    if shapes[kind] is None:
        return None
    mask = torch.rand(shapes[kind]) < 0.7
    mask[..., 0] = True
    return mask


@pytest.mark.parametrize("mask", ["none", "keys", "all", "shared"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"normalize": True},
        {"kernel_size": 5},
        {"window": "causal"},
        {"beta": 0.0},
        {"learned_mixing": True},
    ],
    ids=str,
)
@pytest.mark.usefixtures("_large")
def test_overwriting_changes_no_bit(options, mask):
    stack, states, mask = stack_of(3, **options), torch.randn(B, H, N, E), some_mask(mask)
    with torch.no_grad():
        expected = run(stack, states, mask)
        with overwriting_maps():
            actual = run(stack, states, mask)
    assert all(map(torch.equal, actual, expected))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_overwriting_changes_no_bit_in_other_precisions(dtype):
    stack = [layer.to(dtype) for layer in stack_of(3)]
    states = torch.randn(B, H, N, E, dtype=dtype)
    with torch.inference_mode():
        expected = run(stack, states)
        with overwriting_maps():
            actual = run(stack, states)
    assert all(map(torch.equal, actual, expected))


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.usefixtures("_large")
def test_a_stack_needs_one_map_in_all(normalize):
    stack, states = stack_of(6, normalize=normalize), torch.randn(B, H, N, E)

    def predict():
        with torch.inference_mode(), overwriting_maps():
            run(stack, states)

    predict()
    a_sample = 1 / B if normalize else 0  # normalised at a time
    assert peak_allocated(predict) / ONE_MAP < 1.15 + a_sample


@pytest.mark.parametrize("normalize", [False, True])
def test_without_leave_two_maps_live_at_a_time(normalize):
    stack, states = stack_of(6, normalize=normalize), torch.randn(B, H, N, E)

    def predict():
        with torch.inference_mode():
            run(stack, states)

    predict()
    assert 1.9 < peak_allocated(predict) / ONE_MAP < 2.15


def layer_of(**options):
    weight = torch.randn(H, H, 3, 3)
    tensors = [torch.randn(B, H, N, E) for _ in range(3)]
    return lambda previous: evolving_attention(
        *tensors, previous, weight, alpha=0.5, beta=0.5, **options
    )


def test_the_new_map_is_in_the_memory_of_the_previous_one_and_autograd_knows():
    previous = torch.randn(B, H, N, N)
    version = previous._version
    with torch.no_grad():
        _, own_map = layer_of(overwrite=True)(previous)
    assert own_map.data_ptr() == previous.data_ptr()
    assert torch.equal(own_map, previous)
    assert previous._version > version


@pytest.mark.parametrize("options", [{}, {"overwrite": True, "backend": "reference"}], ids=str)
def test_who_may_not_or_cannot_overwrites_nothing(options):
    previous = torch.randn(B, H, N, N)
    before = previous.clone()
    with torch.no_grad():
        layer_of(**options)(previous)
    assert torch.equal(previous, before)


def test_where_gradients_are_wanted_nothing_is_overwritten():
    stack, states = stack_of(2), torch.randn(B, H, N, E)
    with overwriting_maps():
        _, first_map = stack[0](states, states, states)
        before = first_map.detach().clone()
        stack[1](states, states, states, first_map)
    assert torch.equal(first_map, before)


def test_maps_that_are_no_memory_of_their_own_are_left_alone():
    row = torch.randn(B, H, 1, N)
    before = row.clone()
    with torch.no_grad():
        layer_of(overwrite=True)(row.expand(B, H, N, N))
    assert torch.equal(row, before)


def test_threads_that_share_the_rows_of_a_sample_make_a_new_map():
    previous = torch.randn(B, H, N, N)
    before, threads = previous.clone(), torch.get_num_threads()
    call = layer_of(overwrite=True)
    try:
        torch.set_num_threads(2 * B)
        with torch.no_grad():
            call(previous)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(previous, before)


def test_the_leave_ends_with_its_block_and_holds_for_its_thread_alone():
    elsewhere = []
    with torch.no_grad():
        assert not maps_may_be_overwritten()
        with overwriting_maps():
            with overwriting_maps():
                pass
            assert maps_may_be_overwritten()
            thread = threading.Thread(target=lambda: elsewhere.append(_allowed_without_gradients()))
            thread.start()
            thread.join()
        assert not maps_may_be_overwritten()
    assert elsewhere == [False]


def _allowed_without_gradients():
    with torch.no_grad():
        return maps_may_be_overwritten()
