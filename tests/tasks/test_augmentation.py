import pytest
import torch

from evolving_attention.errors import InputError
from evolving_attention.recipe import AugmentationOptions
from evolving_attention.tasks.augmentation import augment, augmentation_for, check_augmentation


def drawn(series, seed=0, **amounts):
    options = AugmentationOptions(**{"slicing": 0.0, **amounts})
    return augment(series, options, torch.Generator().manual_seed(seed))


def ramp(steps=50, features=3):
    return torch.arange(steps, dtype=torch.float32)[:, None].expand(steps, features)


def test_without_any_amount_nothing_changes_and_nothing_is_drawn():
    torch.manual_seed(0)
    state, series = torch.get_rng_state(), torch.randn(5, 2, generator=torch.Generator())
    assert augment(series, AugmentationOptions(slicing=0.0)) is series
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", ["slicing", "scaling", "jitter", "masking"])
def test_a_variation_keeps_shape_type_and_the_series_itself(name):
    series = torch.randn(30, 4)
    before = series.clone()
    varied = drawn(series, **{name: 0.4})
    assert varied.shape == series.shape
    assert varied.dtype == series.dtype
    assert not torch.equal(varied, series)
    assert torch.equal(series, before)


@pytest.mark.parametrize("name", ["slicing", "scaling", "jitter", "masking"])
def test_the_same_seed_gives_the_same_variation_and_another_another(name):
    series = torch.randn(30, 4)
    first, again, other = (drawn(series, seed, **{name: 0.4}) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_slicing_stretches_a_window_that_is_never_shorter_than_allowed():
    for seed in range(200):
        varied = drawn(ramp(), seed, slicing=0.3)[:, 0]
        steps = varied.diff()
        assert torch.allclose(steps, steps[0].expand_as(steps), atol=1e-4)  # still a straight ramp
        assert varied[0] >= 0
        assert varied[-1] <= 49
        assert varied[-1] - varied[0] >= round(50 * 0.7) - 1.001


def test_slicing_reaches_both_ends_of_a_series():
    windows = [drawn(ramp(), seed, slicing=0.5)[[0, -1], 0] for seed in range(300)]
    assert min(start for start, _ in windows) < 1
    assert max(end for _, end in windows) > 48


def test_a_series_of_two_steps_is_not_sliced():
    series = torch.randn(2, 1)
    assert torch.equal(drawn(series, slicing=0.9), series)


def test_scaling_multiplies_a_channel_by_one_factor_of_the_deviation_asked_for():
    series = torch.rand(20, 2000) + 1
    factors = drawn(series, scaling=0.2) / series
    assert torch.allclose(factors, factors[:1].expand_as(factors), rtol=1e-5)
    assert factors[0].mean() == pytest.approx(1, abs=0.02)
    assert factors[0].std() == pytest.approx(0.2, abs=0.02)


def test_jitter_has_the_deviation_asked_for():
    noise = drawn(torch.zeros(200, 100), jitter=0.3)
    assert noise.mean() == pytest.approx(0, abs=0.01)
    assert noise.std() == pytest.approx(0.3, abs=0.01)


def test_masking_hides_whole_steps_in_the_share_asked_for():
    hidden = drawn(torch.ones(5000, 3), masking=0.2) == 0
    assert torch.equal(hidden.all(1), hidden.any(1))
    assert hidden.float().mean() == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize(
    ("name", "amount", "wanted"),
    [
        ("slicing", 1.0, "a number in [0, 1)"),
        ("masking", -0.1, "a number in [0, 1)"),
        ("jitter", float("inf"), "0 or a positive number"),
        ("scaling", "much", "0 or a positive number"),
        ("jitter", True, "0 or a positive number"),
    ],
)
def test_an_amount_that_cannot_be_is_told_in_one_sentence(name, amount, wanted):
    with pytest.raises(InputError) as caught:
        check_augmentation(AugmentationOptions(**{name: amount}))
    assert str(caught.value) == f"augmentation.{name} must be {wanted}, got {amount!r}."


def test_slicing_is_for_classes_alone_where_nobody_says_so():
    options = AugmentationOptions(jitter=0.1)
    check_augmentation(options)
    assert augmentation_for("classification", options) == AugmentationOptions(0.2, jitter=0.1)
    assert augmentation_for("regression", options) == AugmentationOptions(0.0, jitter=0.1)
    assert augmentation_for("regression", AugmentationOptions(0.5)) == AugmentationOptions(0.5)
