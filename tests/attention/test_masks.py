import pytest
import torch
from torch import nn
from torch.testing import assert_close

from evolving_attention.attention import (
    EvolvingAttention,
    MultiHeadCrossAttention,
    MultiHeadSelfAttention,
    RelativePositionLogits1d,
    causal_mask,
    padding_mask,
)
from tests.attention.helpers import WINDOWS

HIDDEN, HEADS, DEPTH = 8, 2, 3
EXACT = {"rtol": 1e-9, "atol": 1e-11}


class Chain(nn.Module):
    """Three evolving layers with residuals, in float64; over a memory where one is given."""

    def __init__(self, window, cross=False):
        super().__init__()
        self.layers = nn.ModuleList(self.make_layer(window, cross) for _ in range(DEPTH)).double()

    @staticmethod
    def make_layer(window, cross):
        evolution = EvolvingAttention(HEADS, alpha=0.4, beta=0.6, kernel_size=3, window=window)
        common = {"output_size": HIDDEN, "evolution": evolution}
        if cross:
            return MultiHeadCrossAttention(HIDDEN, HIDDEN, HEADS, **common)
        position = RelativePositionLogits1d(HIDDEN // HEADS, max_length=4)
        return MultiHeadSelfAttention(HIDDEN, HEADS, relative_position=position, **common)

    def forward(self, hidden, *memory, mask):
        """Return the hidden states after every layer and every map."""
        states, maps, previous_map = [], [], None
        for layer in self.layers:
            change, previous_map = layer(hidden, *memory, previous_map, mask=mask)
            hidden = hidden + change
            states.append(hidden)
            maps.append(previous_map)
        return torch.stack(states), torch.stack(maps)


def random_states(*shape):
    return torch.randn(*shape, HIDDEN, dtype=torch.float64)


# The masks themselves


@pytest.mark.parametrize(("N", "M"), [(1, 1), (4, 4), (2, 5), (5, 2)])
def test_the_causal_mask_aligns_the_last_query_with_the_last_key(N, M):
    mask = causal_mask(N, M)
    assert (mask.dtype, mask.shape) == (torch.bool, (1, 1, N, M))
    assert mask[0, 0].tolist() == [[M - 1 - j >= N - 1 - i for j in range(M)] for i in range(N)]


def test_the_causal_mask_is_square_by_default_and_on_the_device_asked_for():
    assert torch.equal(causal_mask(4), causal_mask(4, 4))
    assert causal_mask(4, device=torch.device("meta")).is_meta


@pytest.mark.parametrize("dtype", [torch.bool, torch.long, torch.float32], ids=str)
def test_the_padding_mask_joins_real_queries_and_real_keys(dtype):
    queries = torch.tensor([[1, 1, 0], [1, 0, 0]]).to(dtype)
    keys = torch.tensor([[1, 0], [1, 1]]).to(dtype)
    mask = padding_mask(queries, keys)
    assert (mask.dtype, mask.shape) == (torch.bool, (2, 1, 3, 2))
    assert mask[:, 0].int().tolist() == [[[1, 0], [1, 0], [0, 0]], [[1, 1], [0, 0], [0, 0]]]


def test_the_padding_mask_of_one_sequence_serves_queries_and_keys():
    real = torch.tensor([[1, 1, 0]])
    assert torch.equal(padding_mask(real), padding_mask(real, real))


# What they keep out, over a chain


def pad_with_garbage(states, length, side):
    garbage = 100 * random_states(1, length - states.shape[1])
    return torch.cat((garbage, states) if side == "left" else (states, garbage), dim=1)


def real_steps(length, longest, side):
    real = torch.arange(longest) < length
    return real.flip(0) if side == "left" else real


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", WINDOWS)
def test_padding_changes_no_real_step_of_a_chain(window, causal, side):
    chain, lengths, longest = Chain(window), (4, 1, 6), 9
    alone = [random_states(1, length) for length in lengths]
    batch = torch.cat([pad_with_garbage(states, longest, side) for states in alone])
    real = torch.stack([real_steps(length, longest, side) for length in lengths])
    allowed = padding_mask(real)
    states, maps = chain(batch, mask=allowed & causal_mask(longest) if causal else allowed)
    for index, (each, length) in enumerate(zip(alone, lengths, strict=True)):
        own = real[index]
        expected = chain(each, mask=causal_mask(length) if causal else None)
        assert_close(states[:, index : index + 1][:, :, own], expected[0], **EXACT)
        assert_close(maps[:, index : index + 1][..., own, :][..., own], expected[1], **EXACT)
        assert (maps[:, index][:, :, ~own] == 0).all()
        assert (maps[:, index][..., ~own] == 0).all()


@pytest.mark.parametrize("window", WINDOWS)
def test_padding_of_either_sequence_changes_no_real_step_of_a_cross_attention_chain(window):
    chain = Chain(window, cross=True)
    hidden, memory = random_states(1, 4), random_states(1, 5)
    expected = chain(hidden, memory, mask=None)
    mask = padding_mask(real_steps(4, 6, "right")[None], real_steps(5, 8, "right")[None])
    states, maps = chain(
        pad_with_garbage(hidden, 6, "right"), pad_with_garbage(memory, 8, "right"), mask=mask
    )
    assert_close(states[:, :, :4], expected[0], **EXACT)
    assert_close(maps[..., :4, :5], expected[1], **EXACT)


def test_a_mask_of_keys_alone_would_let_padding_in():
    chain, states = Chain("bidirectional"), random_states(1, 4)
    expected, _ = chain(states, mask=None)
    keys_only = real_steps(4, 6, "right")[None, None, None, :]
    actual, _ = chain(pad_with_garbage(states, 6, "right"), mask=keys_only)
    assert (actual[-1, :, :4] - expected[-1]).abs().max() > 1e-3


def change_of_each_step(window, changed, length=6):
    """How much a chain's states and map rows move when one step's input does."""
    chain, states = Chain(window), random_states(1, length)
    other = states.clone()
    other[:, changed] += 1
    before, after = (chain(each, mask=causal_mask(length)) for each in (states, other))
    of_states = (after[0] - before[0]).abs().amax(dim=(0, 1, 3))
    of_maps = (after[1] - before[1]).abs().amax(dim=(0, 1, 2, 4))
    return torch.maximum(of_states, of_maps)


@pytest.mark.parametrize("window", ["causal", "cross"])
def test_a_later_step_never_changes_an_earlier_one_of_a_causal_chain(window):
    for changed in range(6):
        change = change_of_each_step(window, changed)
        assert (change[:changed] == 0).all()
        assert (change[changed:] > 0).all()


def test_a_bidirectional_window_would_leak_under_a_causal_mask():
    assert change_of_each_step("bidirectional", 5)[:5].max() > 1e-6


def change_of_each_query(window, changed):
    chain = Chain(window, cross=True)
    hidden, memory = random_states(1, 6), random_states(1, 5)
    other = hidden.clone()
    other[:, changed] += 1
    mask = real_steps(4, 5, "right")
    before, after = (chain(each, memory, mask=mask) for each in (hidden, other))
    return (after[0] - before[0]).abs().amax(dim=(0, 1, 3))


def test_a_later_query_never_changes_an_earlier_one_through_a_cross_window():
    for changed in range(6):
        change = change_of_each_query("cross", changed)
        assert (change[:changed] == 0).all()
        assert (change[changed:] > 0).sum() == min(6 - changed, 1 + 2 * DEPTH)


def test_a_bidirectional_window_would_show_queries_the_ones_after_them():
    assert change_of_each_query("bidirectional", 5)[:5].max() > 1e-6


def test_a_memory_of_padding_alone_gives_zeros_and_not_nan():
    chain = Chain("cross", cross=True)
    hidden, memory = random_states(2, 4), random_states(2, 5)
    mask = padding_mask(torch.ones(2, 4), torch.tensor([[1] * 5, [0] * 5]))
    states, maps = chain(hidden, memory, mask=mask)
    assert states.isfinite().all()
    assert (maps[:, 1] == 0).all()
    assert_close(states[-1, 1], hidden[1] + sum(layer.output.bias for layer in chain.layers))
