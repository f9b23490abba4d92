"""Recomputation in segments: the same to the bit, and fewer maps."""

import itertools
import math
from functools import partial

import pytest
import torch
from peak_memory import peak_allocated

from evolving_attention.attention import attention_backend
from evolving_attention.models import (
    EAAAResNetForImageClassification,
    EADCTransformerForClassification,
    EADCTransformerForPretraining,
)
from tests.models.helpers import lived_in, one_sentence, padded, series_of, small_config
from tests.models.images import images, tiny_config

LABELS = torch.tensor([0, 2, 1])
DROPOUTS = {"hidden_dropout": 0.3, "attention_dropout": 0.3, "branch_dropout": 0.3}


def series_model(num_blocks=3, **options):
    torch.manual_seed(0)
    config = small_config(num_blocks=num_blocks, dilated=False, **options)
    return lived_in(EADCTransformerForClassification(config)).train()


def image_model():
    torch.manual_seed(0)
    config = tiny_config(**DROPOUTS, drop_path_rate=0.3)
    return lived_in(EAAAResNetForImageClassification(config)).train()


def trained(model, *inputs, **named):
    """Loss, gradients and statistics of two steps, and the random state after them."""
    losses = []
    for step in range(2):
        torch.manual_seed(step)
        losses.append(model(*inputs, labels=LABELS, **named).loss)
        losses[-1].backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    return [*losses, *gradients, *model.buffers(), torch.get_rng_state()]


def assert_same_bits(actual, expected):
    for one, other in itertools.zip_longest(actual, expected):
        assert torch.equal(one, other)


# The same bits


@pytest.mark.parametrize("backend", ["reference", "banded"])
@pytest.mark.parametrize("is_padded", [False, True], ids=["no mask", "padded"])
@pytest.mark.parametrize("length", [None, 1, 4, 5, 100])
def test_segments_change_no_bit(length, is_padded, backend):
    values, mask = padded(series_of(dtype=torch.float32), steps=12)
    inputs = (values, mask) if is_padded else (values,)
    model = series_model(**DROPOUTS)
    segmented = series_model(**DROPOUTS)
    segmented.segment_checkpointing_enable(length)
    with attention_backend(backend):
        assert_same_bits(trained(segmented, *inputs), trained(model, *inputs))


@pytest.mark.parametrize(
    "options",
    [
        {"key_ratio": 0, "value_ratio": 0},
        {"learned_mixing": True, "normalize_maps": False},
        {"alpha": 0, "beta": 0},
    ],
    ids=str,
)
def test_segments_change_no_bit_of_other_networks(options):
    values, mask = padded(series_of(dtype=torch.float32), steps=12)
    model, segmented = (series_model(**options | DROPOUTS) for _ in range(2))
    segmented.segment_checkpointing_enable()
    assert_same_bits(trained(segmented, values, mask), trained(model, values, mask))


def test_segments_change_no_bit_of_pretraining():
    values, mask = padded(series_of(dtype=torch.float32), steps=12)
    hidden = torch.rand(values.shape) < 0.4
    results = []
    for segmented in (False, True):
        torch.manual_seed(0)
        model = EADCTransformerForPretraining(small_config(**DROPOUTS)).train()
        if segmented:
            model.segment_checkpointing_enable()
        torch.manual_seed(1)
        loss = model(values, mask, label_mask=hidden).loss
        results.append([loss, *torch.autograd.grad(loss, list(model.parameters()))])
    assert_same_bits(*results)


@pytest.mark.parametrize("length", [None, 1, 2])
def test_segments_change_no_bit_of_a_network_for_images(length):
    pixels = images(3, dtype=torch.float32)
    model, segmented = image_model(), image_model()
    segmented.segment_checkpointing_enable(length)
    assert_same_bits(trained(segmented, pixels), trained(model, pixels))


def test_a_step_works_under_bfloat16_autocast():
    values, mask = padded(series_of(dtype=torch.float32), steps=12)
    model, segmented = series_model(**DROPOUTS), series_model(**DROPOUTS)
    segmented.segment_checkpointing_enable()
    with torch.autocast("cpu", torch.bfloat16):
        assert_same_bits(trained(segmented, values, mask), trained(model, values, mask))


# When there is nothing to recompute


def calls_of(layer, work):
    calls = []
    handle = layer.register_forward_hook(lambda *_: calls.append(1))
    work()
    handle.remove()
    return len(calls)


def step(model, values, **named):
    model(values, labels=LABELS, **named).loss.backward()


def test_layers_run_again_in_training_alone_and_where_no_map_is_asked_for():
    values = torch.randn(3, 12, 3)
    model = series_model()
    model.segment_checkpointing_enable(2)
    first, last = (model.model.blocks[index].first_norm for index in (0, -1))
    assert calls_of(first, partial(step, model, values)) == 3
    assert calls_of(last, partial(step, model, values)) == 2  # its segment's turn comes at once
    for asked in ("output_maps", "output_attentions", "output_hidden_states"):
        assert calls_of(first, partial(step, model, values, **{asked: True})) == 1
    with torch.no_grad():
        assert calls_of(first, lambda: model(values)) == 1
    model.segment_checkpointing_disable()
    assert calls_of(first, partial(step, model, values)) == 1
    model.segment_checkpointing_enable(2)
    assert calls_of(first, partial(step, model.eval(), values)) == 1


@pytest.mark.parametrize("length", [0, -2])
def test_a_segment_without_layers_is_refused_in_one_sentence(length):
    with pytest.raises(ValueError, match=r"at least 1 layer") as error:
        series_model().segment_checkpointing_enable(length)
    assert one_sentence(error)


def test_a_segment_is_by_default_the_square_root_of_the_layers_long():
    for num_blocks in (1, 2, 8, 18):
        model = series_model(num_blocks)
        model.segment_checkpointing_enable()
        assert model.model.segment_length == round(math.sqrt(2 * num_blocks))


# Memory


def peak_maps(model, values):
    """Bytes that a step allocates at a time, at the most, in maps."""
    step(model, values)
    one_map = len(values) * model.config.num_attention_heads * values.shape[1] ** 2 * 4
    return peak_allocated(lambda: step(model, values)) / one_map


def kept_by_depth(how):
    """Maps that twelve more layers add to the peak."""
    values, peaks = torch.randn(3, 96, 3), []
    for num_blocks in (2, 8):
        model = series_model(num_blocks, max_length=96, num_attention_heads=4)
        how(model)
        with attention_backend("banded"):
            peaks.append(peak_maps(model, values))
    return peaks[1] - peaks[0]


def test_twelve_more_layers_cost_few_maps_in_segments():
    # From 4 to 16 layers a segment, and the number of segments, grow from 2 to 4.
    assert kept_by_depth(lambda model: model.segment_checkpointing_enable()) < 5
    blocks = kept_by_depth(lambda model: model.activation_checkpointing_enable())
    assert 6 <= blocks < 8  # one map a block of two layers
    assert kept_by_depth(lambda model: None) > 24
