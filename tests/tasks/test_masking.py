"""Masks: how much, how long, what is drawn from where."""

from itertools import chain, groupby

import pytest
import torch

from evolving_attention.recipe import PretrainingOptions
from evolving_attention.tasks.masking import check_masking, draw_mask
from tests.tasks.helpers import one_sentence

OPTIONS = PretrainingOptions()
SHAPE = (300, 200, 4)


def stretches(mask_T):
    """Lengths of the stretches of a channel, those of masked and of visible entries, but for the
    first and the last, which the ends of the series cut.
    """
    runs = [(value, len(list(group))) for value, group in groupby(mask_T.tolist())][1:-1]
    return [[length for value, length in runs if value is wanted] for wanted in (True, False)]


def mean(values):
    return sum(values) / len(values)


@pytest.fixture(params=[(0.15, 3.0), (0.4, 5.0), (0.25, 2.0)], ids=str)
def options(request):
    share, length = request.param
    return PretrainingOptions(masked_share=share, mean_length=length)


def test_a_share_of_the_entries_is_masked(options):
    assert draw_mask(SHAPE, options).float().mean() == pytest.approx(options.masked_share, rel=0.03)


def test_the_share_is_the_same_at_the_first_step_as_at_any_other(options):
    share_T = draw_mask((5000, 12, 4), options).float().mean((0, 2))
    for share in share_T.tolist():
        assert share == pytest.approx(options.masked_share, rel=0.06)


def test_stretches_have_the_mean_lengths_of_the_chain(options):
    lengths = [stretches(mask_T) for mask_T in draw_mask((300, 400, 1), options)[..., 0]]
    masked, visible = (list(chain.from_iterable(each)) for each in zip(*lengths, strict=True))
    share, length = options.masked_share, options.mean_length
    # Stretches that begin and end in 400 steps are a little shorter than all are.
    assert mean(masked) == pytest.approx(length, rel=0.04)
    assert mean(visible) == pytest.approx(length * (1 - share) / share, rel=0.08)


def test_masked_stretches_are_geometric():
    lengths = [stretches(mask_T)[0] for mask_T in draw_mask((300, 400, 1), OPTIONS)[..., 0]]
    lengths = torch.tensor(list(chain.from_iterable(lengths)))
    for length in range(1, 6):
        expected = (2 / 3) ** (length - 1) / 3
        assert (lengths == length).float().mean() == pytest.approx(expected, abs=0.015)


def test_channels_are_masked_each_for_itself_by_default():
    mask_BTF = draw_mask(SHAPE, OPTIONS).float()
    both = (mask_BTF[..., 0] * mask_BTF[..., 1]).mean()
    assert both == pytest.approx(OPTIONS.masked_share**2, rel=0.15)


def test_channels_are_masked_together_where_asked():
    mask_BTF = draw_mask(SHAPE, PretrainingOptions(together=True))
    assert (mask_BTF == mask_BTF[..., :1]).all()
    assert mask_BTF.shape == SHAPE
    assert mask_BTF.float().mean() == pytest.approx(0.15, rel=0.05)


def test_series_are_masked_each_for_itself():
    mask_BTF = draw_mask(SHAPE, OPTIONS).float()
    assert (mask_BTF[0] * mask_BTF[1]).mean() < 0.1


def test_the_shortest_stretches_mask_each_entry_for_itself():
    options = PretrainingOptions(masked_share=0.5, mean_length=2.0)
    mask_BT = draw_mask((400, 100, 1), options)[..., 0].float()
    following = (mask_BT[:, 1:] * mask_BT[:, :-1]).mean()
    assert following == pytest.approx(0.25, rel=0.03)


def test_the_global_generator_is_the_source():
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = draw_mask((2, 30, 2), OPTIONS)
    second = draw_mask((2, 30, 2), OPTIONS)
    torch.set_rng_state(state)
    assert torch.equal(draw_mask((2, 30, 2), OPTIONS), first)
    assert not torch.equal(first, second)


def test_a_generator_of_ones_own_leaves_the_global_one_alone():
    before = torch.get_rng_state()
    masks = [draw_mask((2, 30, 2), OPTIONS, torch.Generator().manual_seed(1)) for _ in range(2)]
    assert torch.equal(*masks)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("steps", [1, 2])
def test_the_shortest_series_have_masks(steps):
    mask_BTF = draw_mask((4000, steps, 1), OPTIONS)
    assert mask_BTF.dtype == torch.bool
    assert mask_BTF.float().mean() == pytest.approx(0.15, abs=0.02)


@pytest.mark.parametrize("share", [0, 1, -0.1, True, "half", float("nan")])
def test_a_share_that_masks_nothing_or_everything_is_refused(share):
    with one_sentence("masked_share", "between 0 and 1"):
        check_masking(PretrainingOptions(masked_share=share))


@pytest.mark.parametrize("length", [0.5, 1.1, float("inf"), float("nan"), "3", True])
def test_stretches_shorter_than_chance_are_refused(length):
    with one_sentence("mean_length", "1.18"):
        check_masking(PretrainingOptions(mean_length=length))
