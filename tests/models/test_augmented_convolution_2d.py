import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from evolving_attention.attention import EvolvingAttention, RelativePositionLogits2d
from evolving_attention.attention.relative_position import resize_distances
from evolving_attention.models import AugmentedConv2d
from tests.models.helpers import EXACT, one_sentence
from tests.models.images import attend, halved, images

H = 2


def layer(**options):
    given = {"key_ratio": 0.5, "value_ratio": 0.25, "grid": (4, 4)} | options
    evolution = EvolvingAttention(H, alpha=0.5, beta=0.7)
    made = AugmentedConv2d(6, 16, H, evolution=evolution, **given).double()
    nn.init.normal_(made.attention.output.bias)
    return made


# What it computes


@pytest.mark.parametrize(
    ("options", "height", "width"),
    [
        ({}, 4, 4),
        ({}, 3, 5),
        ({"stride": 2}, 8, 7),
        ({"attention_stride": 2}, 7, 8),
        ({"stride": 2, "attention_stride": 2}, 11, 9),
        ({"kernel_size": 1, "stride": 2}, 8, 8),
        ({"grid": (1, 1)}, 2, 1),
        ({"grid": (3, 2)}, 1, 1),
    ],
    ids=str,
)
def test_it_joins_a_convolution_with_the_attention_of_the_paper(options, height, width):
    ours, image = layer(**options), images(1, 6, height, width)
    _, first = layer(**options)(image)
    previous = torch.randn_like(first)
    actual, map_HNN = ours(image, previous)
    attended, expected_map = attend(ours, image[0], previous[0])
    assert_close(map_HNN[0], expected_map, **EXACT)
    assert_close(actual[0, 12:], attended, **EXACT)
    kernel = ours.convolution.weight
    convolved = F.conv2d(image, kernel, stride=ours.stride, padding=kernel.shape[-1] // 2)
    assert_close(actual[:, :12], convolved, **EXACT)


def test_pooling_leaves_out_what_lies_outside_the_image():
    image = images(1, 2, 5, 4)
    pooled = F.avg_pool2d(image, 3, 2, padding=1, count_include_pad=False)
    assert_close(halved(image[0]), pooled[0], **EXACT)
    constant = AugmentedConv2d(2, 4, 1, value_ratio=1.0, stride=2).double()
    out, _ = constant(torch.ones(1, 2, 6, 6, dtype=torch.float64))
    assert_close(out, out[:, :, :1, :1].expand_as(out), **EXACT)


def test_a_map_of_another_size_is_not_mixed_in():
    ours, image = layer(), images(1, 6, 4, 4)
    alone, _ = ours(image)
    assert torch.equal(ours(image, torch.randn(1, H, 9, 9).double())[0], alone)
    assert not torch.equal(ours(image, torch.randn(1, H, 16, 16).double())[0], alone)


def test_gradients_of_everything_are_right():
    evolution = EvolvingAttention(1, alpha=0.5, beta=0.7)
    ours = AugmentedConv2d(2, 4, 1, value_ratio=0.5, stride=2, grid=(3, 2), evolution=evolution)
    ours, image = ours.double(), images(1, 2, 3, 3).requires_grad_()
    previous = torch.randn(1, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    names, values = zip(*ours.named_parameters(), strict=True)

    def forward(image, previous, *values):
        given = dict(zip(names, values, strict=True))
        return torch.func.functional_call(ours, given, (image, previous))

    assert torch.autograd.gradcheck(forward, (image, previous, *values))


def test_a_value_ratio_of_one_is_attention_alone_and_of_zero_a_convolution():
    alone = AugmentedConv2d(6, 16, H, key_ratio=0.5, value_ratio=1.0)
    assert alone.convolution is None
    assert alone(images(dtype=torch.float32, channels=6))[0].shape == (2, 16, 8, 8)
    plain = AugmentedConv2d(6, 16, H, key_ratio=0.0, value_ratio=0.0, stride=2)
    image = images(channels=6, dtype=torch.float32)
    out, no_map = plain(image)
    assert no_map is None
    assert torch.equal(out, F.conv2d(image, plain.convolution.weight, stride=2, padding=1))


def test_keys_are_at_least_as_wide_as_asked_in_every_head():
    assert layer().attention.key_size == 8
    assert layer(min_key_head_size=3).attention.key_size == 8
    assert layer(min_key_head_size=5).attention.key_size == 10


def test_a_dropped_branch_leaves_the_convolution():
    ours = layer(branch_dropout=0.5)
    image = images(64, 6, 4, 4)
    with torch.no_grad():
        out, _ = ours(image)
        whole, _ = ours.eval()(image)
    attended = out[:, 12:].abs().amax((1, 2, 3)) > 0
    assert 0 < attended.sum() < 64
    assert torch.equal(out[:, :12], whole[:, :12])
    assert_close(out[attended, 12:], 2 * whole[attended, 12:])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"stride": 3}, "stride must be a power of 2, got 3"),
        ({"attention_stride": 0}, "attention_stride must be a power of 2, got 0"),
        ({"kernel_size": 2}, "kernel_size must be a positive odd number, got 2"),
        ({"value_ratio": 0.0}, "must both be 0"),
        ({"value_ratio": 0.3}, "value_ratio=0.3 of 16 channels must be a multiple"),
    ],
)
def test_what_makes_no_layer_is_refused_in_one_sentence(options, told):
    with pytest.raises(ValueError, match=told) as error:
        layer(**options)
    assert one_sentence(error)


# Memory layouts and precisions


def test_channels_last_gives_the_same_and_keeps_the_layout():
    ours, image = layer(attention_stride=2).float(), images(channels=6, dtype=torch.float32)
    expected, _ = ours(image)
    actual, _ = ours.to(memory_format=torch.channels_last)(
        image.to(memory_format=torch.channels_last)
    )
    assert actual.is_contiguous(memory_format=torch.channels_last)
    assert_close(actual, expected)


# Relative positions at another size


@pytest.mark.parametrize("length", [1, 2, 3, 4, 9])
def test_a_table_at_another_length_keeps_its_ends_and_its_middle(length):
    table = torch.randn(7, 3)
    resized = resize_distances(table, length)
    assert resized.shape == (2 * length - 1, 3)
    assert_close(resized[length - 1], table[3])
    if length > 1:
        assert_close(resized[0], table[0])
        assert_close(resized[-1], table[-1])


def test_a_table_of_the_right_length_is_left_alone():
    table = torch.randn(7, 3)
    assert resize_distances(table, 4) is table


def test_a_finer_image_of_the_same_picture_has_the_positions_in_between():
    table = torch.arange(-3.0, 4.0)[:, None]
    assert_close(resize_distances(table, 7)[:, 0], torch.arange(-3.0, 3.5, 0.5))


def test_resizing_for_good_computes_the_same_as_resizing_at_every_call():
    ours = RelativePositionLogits2d(3, 4, 4, resize=True)
    query = torch.randn(1, 2, 6 * 5, 3)
    expected = ours(query, 6, 5)
    ours.resize_(6, 5)
    assert [tuple(each.shape) for each in ours.parameters()] == [(11, 3), (9, 3)]
    assert all(each.requires_grad for each in ours.parameters())
    assert_close(ours(query, 6, 5), expected)
