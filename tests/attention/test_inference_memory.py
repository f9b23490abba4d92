import pytest
import torch

from evolving_attention.attention import EvolvingAttention, attention_backend
from tests.memory import peak_bytes

B, H, N, E = 3, 4, 96, 4
ONE_MAP = B * H * N * N * 4


def stack_of(layers, **options):
    torch.manual_seed(0)
    shares = {"alpha": 0.5, "beta": 0.5} | options
    first = EvolvingAttention(H)
    return [first, *(EvolvingAttention(H, **shares) for _ in range(layers - 1))]


def pass_through(stack, states):
    """Attend layer by layer; a map is held until the next is made."""
    own_map = None
    for layer in stack:
        states, own_map = layer(states, states, states, own_map)
    return states


@pytest.mark.parametrize("options", [{}, {"beta": 0.0}, {"activation": "identity"}], ids=str)
def test_inference_needs_two_maps_however_deep_the_stack(options):
    states = torch.randn(B, H, N, E)
    peaks = []
    with torch.no_grad(), attention_backend("banded"):
        for layers in (2, 12):
            stack = stack_of(layers, **options)
            pass_through(stack, states)  # what is compiled and allocated once
            peaks.append(peak_bytes(lambda stack=stack: pass_through(stack, states)) / ONE_MAP)
    assert peaks == pytest.approx([2, 2], abs=0.2)
