import pytest
import torch

from evolving_attention.attention import attention_backend
from evolving_attention.models import EADCTransformerForClassification
from evolving_attention.models.segments import default_segment
from tests.memory import peak_bytes
from tests.models.helpers import padded, series_of, small_config

LABELS = torch.tensor([0, 2, 1])
DROPS = {"hidden_dropout": 0.3, "attention_dropout": 0.3, "branch_dropout": 0.5}
LENGTH = 64


def recomputing(model, segment, use_reentrant=False):
    # Its name in newer versions of transformers, and its older one.
    enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
    enable({"use_reentrant": use_reentrant, "segment": segment})
    return model


def new(**options):
    torch.manual_seed(1)
    return EADCTransformerForClassification(small_config(**options)).train()


def two_steps(model, is_padded):
    """What two backward passes leave behind: losses, gradients, statistics of batch norm."""
    torch.manual_seed(2)
    values, mask = padded(series_of(dtype=torch.float32), steps=12)
    losses = []
    for _ in range(2):
        losses.append(model(values, mask if is_padded else None, labels=LABELS).loss)
        losses[-1].backward()
    return [*losses, *(each.grad for each in model.parameters()), *model.buffers()]


@pytest.mark.parametrize("backend", ["reference", "banded"])
@pytest.mark.parametrize("is_padded", [True, False], ids=["padded", "no mask"])
@pytest.mark.parametrize("segment", [None, 2, 3, 7])
def test_recomputing_in_segments_changes_no_bit(segment, is_padded, backend):
    options = {"num_blocks": 4, "learned_mixing": True, **DROPS}
    with attention_backend(backend):
        expected = two_steps(new(**options), is_padded)
        actual = two_steps(recomputing(new(**options), segment), is_padded)
    assert all(map(torch.equal, actual, expected))


@pytest.mark.parametrize("options", [{}, {"key_ratio": 0, "value_ratio": 0}], ids=str)
def test_reentrant_checkpoints_nest_too(options):
    options = {"num_blocks": 5, **DROPS, **options}
    expected = two_steps(new(**options), is_padded=True)
    actual = two_steps(recomputing(new(**options), 2, use_reentrant=True), is_padded=True)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-6)


def test_what_is_asked_for_comes_out_of_segments():
    asked = {"output_hidden_states": True, "output_maps": True, "output_attentions": True}
    plain, segmented = (new(num_blocks=5) for _ in range(2))
    values, mask = padded(series_of(dtype=torch.float32))
    recomputing(segmented, 2)
    outputs = []
    for model in (plain, segmented):
        torch.manual_seed(3)
        outputs.append(model(values, mask, **asked))
    expected, actual = outputs
    for name, count in (("hidden_states", 6), ("maps", 10), ("attentions", 10)):
        assert len(actual[name]) == count
        assert all(map(torch.equal, actual[name], expected[name]))
    for model, output in ((plain, expected), (segmented, actual)):
        sum(own_map.square().sum() for own_map in output.maps[::3]).backward()
        assert model.model.stem.positions.grad.abs().sum() > 0
    for one, other in zip(plain.parameters(), segmented.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None)
        assert one.grad is None or torch.equal(one.grad, other.grad)


def test_a_stack_of_a_few_blocks_recomputes_them_one_by_one():
    assert [default_segment(blocks) for blocks in (1, 4, 8, 9, 16, 35)] == [1, 1, 1, 3, 4, 5]


def test_segments_are_switched_off_again():
    model = recomputing(new(num_blocks=4), 2)
    assert [len(blocks) for blocks in model.model.segments(model.model.blocks)] == [2, 2]
    disable = getattr(
        model, "activation_checkpointing_disable", model.gradient_checkpointing_disable
    )
    disable()
    assert [len(blocks) for blocks in model.model.segments(model.model.blocks)] == [4]


@pytest.mark.parametrize("segment", [0, -1, 1.5])
def test_a_segment_of_no_blocks_is_refused(segment):
    with pytest.raises(ValueError, match="number of blocks, at least 1"):
        recomputing(new(), segment)


def peak_maps(blocks, segment):
    """The most maps that live at a time in a training step in which little else is as large."""
    options = {"num_blocks": blocks, "max_length": LENGTH, "hidden_size": 8, "dilated": False}
    model = new(**options, intermediate_size=8)
    if segment != "none":
        recomputing(model, segment)
    values = torch.randn(3, LENGTH, 3)

    def step():
        model(values, labels=LABELS).loss.backward()
        model.zero_grad()

    with attention_backend("banded"):
        step()  # what is allocated once
        return peak_bytes(step) / (3 * 2 * LENGTH**2 * 4)


def test_a_segment_costs_one_map_and_each_of_its_blocks_another():
    block = peak_maps(1, None)  # which is being recomputed
    assert peak_maps(9, "none") > block + 30
    assert peak_maps(9, 1) == pytest.approx(block + 8, abs=3)
    assert peak_maps(9, None) == pytest.approx(block + 2 + 2, abs=2)
