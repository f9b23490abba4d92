import importlib.util
import random
import sys

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from evolving_attention.recipe import ImageAugmentationOptions as Options
from evolving_attention.tasks.image_augmentation import check_image_augmentation, mixed, varied
from evolving_attention.tasks.image_processor import ImageProcessor
from tests.small import one_sentence
from tests.tasks.image_files import small_images

STILL = Options(shift=0)
NEEDS_TIMM = pytest.mark.skipif(
    importlib.util.find_spec("timm") is None, reason="needs the extra [vision]"
)


@pytest.fixture(scope="module")
def processor():
    return ImageProcessor(normalization="none").fit(small_images())


def drawn(options, processor, image=None, times=64):
    image = torch.rand(3, 8, 8) if image is None else image
    return torch.stack([varied(image, seed, options, processor) for seed in range(times)])


def test_nothing_asked_for_is_nothing_changed(processor):
    image = torch.rand(3, 8, 8)
    assert (drawn(STILL, processor, image, 3) == processor.normalised(image)).all()


def test_the_same_seed_draws_the_same_and_the_global_generator_is_left_alone(processor):
    options = Options(scale=0.3, flip=True, erasing=0.5, shift=1)
    image = torch.rand(3, 8, 8)
    before = torch.get_rng_state()
    first, second = drawn(options, processor, image), drawn(options, processor, image)
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)
    assert len(torch.unique(first.flatten(1), dim=0)) > 50


def test_a_shift_moves_the_image_and_fills_with_the_mean(processor):
    image = torch.zeros(1, 8, 8)
    image[0, 4, 4] = 1.0
    processor = ImageProcessor(normalization="none").fit(small_images(channels=1))
    moved = drawn(Options(shift=2), processor, image, 200)
    places = {tuple(place[1:]) for place in moved[:, 0].nonzero().tolist()}
    assert places == {(y, x) for y in range(2, 7) for x in range(2, 7)}
    assert (moved.sum((1, 2, 3)) == 1).all()


@pytest.mark.parametrize(("options", "reach"), [(Options(), 1), (Options(scale=0.5), 0)], ids=str)
def test_the_shift_is_an_eighth_unless_images_are_cut_out(options, reach):
    processor = ImageProcessor(normalization="none").fit(small_images(channels=1))
    moved = drawn(options, processor, torch.ones(1, 8, 8), 50)
    assert (moved == 0).any().item() is (reach > 0)
    assert (moved[:, :, reach : 8 - reach, reach : 8 - reach] == 1).all()


def test_half_of_the_images_are_mirrored(processor):
    image = torch.rand(3, 8, 8)
    flipped = (drawn(Options(shift=0, flip=True), processor, image, 200) == image.flip(-1)).flatten(
        1
    )
    assert 70 < flipped.all(1).sum() < 130


def test_cut_outs_are_parts_of_the_image_of_the_asked_size(processor):
    rows = torch.linspace(0, 1, 40)[:, None].expand(3, 40, 40)
    cut = drawn(Options(scale=0.2), processor, rows, 100)
    assert cut.shape == (100, 3, 8, 8)
    span = cut[:, 0, -1, 0] - cut[:, 0, 0, 0]
    assert (span > 0).all()
    assert span.min() < 0.5 < 0.75 < span.max() + 0.1
    assert cut[:, 0, 0, 0].std() > 0.05


def test_erasing_sets_a_rectangle_to_the_mean(processor):
    erased = drawn(Options(shift=0, erasing=1.0), processor, torch.ones(3, 8, 8), 50)
    for image in erased:
        hole = image[0] == 0
        assert hole.any()
        assert not hole.all()
        rows, columns = hole.any(1), hole.any(0)
        assert hole.sum() == rows.sum() * columns.sum()
    kept = drawn(Options(shift=0, erasing=0.5), processor, torch.ones(3, 8, 8), 200)
    assert 60 < (kept == 1).flatten(1).all(1).sum() < 140


def test_mixup_mixes_images_and_classes_by_the_same_share():
    torch.manual_seed(3)
    labels = torch.arange(6) % 3
    images = torch.nn.functional.one_hot(labels, 3).float()[:, :, None, None].expand(6, 3, 2, 2)
    pictures, shares = mixed(images, labels, 3, 0.4)
    assert_close(shares.sum(1), torch.ones(6))
    assert_close(pictures[:, :, 0, 0], shares)
    assert ((shares > 0).sum(1) > 1).any()
    torch.manual_seed(3)
    assert torch.equal(mixed(images, labels, 3, 0.4)[1], shares)


@NEEDS_TIMM
@pytest.mark.parametrize("policy", ["rand-m9-mstd0.5", "augmix-m3", "original"])
@pytest.mark.parametrize("channels", [1, 3])
def test_policies_of_timm_are_drawn_from_the_images_seed(policy, channels):
    processor = ImageProcessor(normalization="none").fit(small_images(channels=channels))
    image = torch.rand(channels, 8, 8)
    options = Options(shift=0, policy=policy)
    states = random.getstate(), np.random.get_state()[1].tolist()
    first = drawn(options, processor, image, 10)
    assert first.shape == (10, channels, 8, 8)
    assert torch.equal(first, drawn(options, processor, image, 10))
    assert len(torch.unique(first.flatten(1), dim=0)) > 3
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states


@NEEDS_TIMM
def test_a_policy_that_timm_does_not_know_is_refused():
    with one_sentence("augmentation.policy", "'mystery'"):
        check_image_augmentation(Options(policy="mystery"))


def test_without_timm_a_policy_names_the_extra(monkeypatch):
    from evolving_attention.tasks.image_augmentation import timm_policy

    timm_policy.cache_clear()
    for name in ("timm", "timm.data", "timm.data.auto_augment"):
        monkeypatch.setitem(sys.modules, name, None)
    with one_sentence("timm", "[vision]"):
        check_image_augmentation(Options(policy="rand-m9"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (Options(shift=-1), ["augmentation.shift", "-1"]),
        (Options(scale=0.0), ["augmentation.scale", "0.0"]),
        (Options(erasing=1.1), ["augmentation.erasing", "1.1"]),
        (Options(mixup=-0.2), ["augmentation.mixup", "-0.2"]),
    ],
    ids=str,
)
def test_amounts_that_cannot_be_are_refused(options, words):
    with one_sentence(*words):
        check_image_augmentation(options)
