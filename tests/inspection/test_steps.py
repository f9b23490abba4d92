"""The steps inside a layer lead from what it was given to exactly what it returned."""

import pytest
import torch
from torch.testing import assert_close

from evolving_attention.attention import EvolvingAttention, MultiHeadSelfAttention, padding_mask
from evolving_attention.attention.functional import ACTIVATIONS
from evolving_attention.inspection import recorded_steps

OPTIONS = {
    "twin": {},
    "residual": {"alpha": 0.4},
    "convolution": {"beta": 0.6},
    "both": {"alpha": 0.4, "beta": 0.6},
    "leaky": {"alpha": 0.4, "beta": 0.6, "activation": "leaky_relu"},
    "kernel of 5": {"alpha": 0.4, "beta": 0.6, "kernel_size": 5},
    "causal": {"alpha": 0.4, "beta": 0.6, "window": "causal"},
    "learned": {"alpha": 0.3, "beta": 0.2, "learned_mixing": True},
    "identity": {
        "beta": 0.5,
        "learned_mixing": True,
        "activation": "identity",
        "initialization": "identity",
    },
}


class Stack(torch.nn.Module):
    """A plain layer and one that evolves, over a padded batch."""

    def __init__(self, evolution):
        super().__init__()
        self.first = MultiHeadSelfAttention(8, 2)
        self.second = MultiHeadSelfAttention(8, 2, evolution=evolution)

    def forward(self, hidden, mask=None):
        hidden, first_map = self.first(hidden, None, mask=mask)
        _, second_map = self.second(hidden, first_map, mask=mask)
        return first_map, second_map


def run(evolution, masked=True):
    torch.manual_seed(0)
    stack = Stack(evolution).eval()
    real = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    mask = padding_mask(real) if masked else None
    with recorded_steps(stack) as layers:
        maps = stack(torch.randn(2, 5, 8), mask)
    return stack, layers, maps


def zero_masked(map_BHNM, mask):
    return map_BHNM if mask is None else map_BHNM.masked_fill(~mask, 0.0)


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "padded"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_steps_compose_to_exactly_the_map_returned(options, masked):
    evolution = EvolvingAttention(2, **options)
    _, (first, second), maps = run(evolution, masked)
    mask = second.mask
    assert (mask is not None) == masked
    for steps, returned in zip((first, second), maps, strict=True):
        assert torch.equal(steps.map_BHNM, returned)
    assert torch.equal(second.previous_BHNM, maps[0])
    mixed = zero_masked(second.logits_BHNM, mask)
    if second.residual_BHNM is not None:
        mixed = zero_masked(torch.lerp(second.logits_BHNM, maps[0], evolution.alpha), mask)
    assert torch.equal(second.mixed_BHNM, mixed)
    if second.convolved_BHNM is None:
        assert torch.equal(mixed, maps[1])
    else:
        evolved = torch.lerp(mixed, second.activated_BHNM, evolution.beta)
        assert torch.equal(zero_masked(evolved, mask), maps[1])


def test_what_a_layer_does_not_do_has_no_step():
    _, (first, second), _ = run(EvolvingAttention(2, alpha=0.4))
    assert first.previous_BHNM is first.residual_BHNM is first.convolved_BHNM is None
    assert second.residual_BHNM is not None
    assert second.convolved_BHNM is second.activated_BHNM is None
    _, (_, second), _ = run(EvolvingAttention(2))
    assert second.previous_BHNM is not None
    assert second.residual_BHNM is None


def test_the_residual_and_the_own_logits_make_the_mix():
    _, (_, second), maps = run(EvolvingAttention(2, alpha=0.4, beta=0.6), masked=False)
    assert_close(second.residual_BHNM, 0.4 * maps[0])
    assert_close(second.mixed_BHNM - second.residual_BHNM, 0.6 * second.logits_BHNM)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_convolved_and_activated_differ_by_the_activation(activation):
    _, (_, second), _ = run(EvolvingAttention(2, beta=0.6, activation=activation), masked=False)
    assert torch.equal(ACTIVATIONS[activation](second.convolved_BHNM), second.activated_BHNM)
    assert (second.convolved_BHNM < 0).any()


def test_a_way_of_mixing_that_is_not_known_is_not_guessed():
    class Doubled(EvolvingAttention):
        def forward(self, *args, **kwargs):
            output, map_BHNM = super().forward(*args, **kwargs)
            return output, 2 * map_BHNM

    _, (_, second), maps = run(Doubled(2, alpha=0.4, beta=0.6))
    assert torch.equal(second.map_BHNM, maps[1])
    assert second.mixed_BHNM is second.residual_BHNM is second.convolved_BHNM is None


def test_noting_changes_nothing_and_ends_with_the_block():
    stack, layers, _ = run(EvolvingAttention(2, alpha=0.4, beta=0.6), masked=False)
    hidden = torch.ones(2, 5, 8)
    outside = stack(hidden)
    assert len(layers) == 2
    with recorded_steps(stack):
        assert all(map(torch.equal, stack(hidden), outside))


def test_hooks_go_when_the_network_fails():
    stack = Stack(EvolvingAttention(2))
    with pytest.raises(RuntimeError), recorded_steps(stack):
        stack(torch.randn(2, 5, 7))
    assert not stack.second.evolution._forward_hooks
