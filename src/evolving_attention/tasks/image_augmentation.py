"""Random changes of training images that leave what they show.

An image's changes are drawn from a generator of its own, so that threads may work on images in any
order. They are the same with and without timm, but for ``policy``, which is timm's.

Shape letters: B batch, C channels, Y rows, X columns, K classes.
"""

import math
import random
from functools import cache
from threading import Lock
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from evolving_attention.errors import InputError, needing
from evolving_attention.recipe import ImageAugmentationOptions
from evolving_attention.tasks.image_processor import ImageProcessor, resized

__all__ = ["check_image_augmentation", "mixed", "varied"]


def varied(
    image_CYX: Tensor, seed: int, options: ImageAugmentationOptions, processor: ImageProcessor
) -> Tensor:
    """Draw a variation of an image and return it as the network reads it.

    Parameters
    ----------
    image_CYX : Tensor of shape [C, Y, X]
        Of its own size, with values from 0 to 1.
    seed : int
        What the changes follow from.
    options : ImageAugmentationOptions
        How much of each change.
    processor : ImageProcessor
        Size and normalisation.
    """
    generator = torch.Generator().manual_seed(seed)
    if options.policy is not None:
        image_CYX = _by_policy(image_CYX, options.policy, seed)
    if options.scale < 1:
        image_CYX = _cut_out(image_CYX, options.scale, processor.size, generator)
    else:
        image_CYX = processor.framed(image_CYX)
    if options.flip and torch.rand((), generator=generator) < 0.5:
        image_CYX = image_CYX.flip(-1)
    image_CYX = processor.normalised(image_CYX)
    if reach := _reach(options, processor):
        image_CYX = _shifted(image_CYX, reach, generator)
    if options.erasing and torch.rand((), generator=generator) < options.erasing:
        image_CYX = _erased(image_CYX, generator)
    return image_CYX


def _reach(options: ImageAugmentationOptions, processor: ImageProcessor) -> int:
    if options.shift != "auto":
        return options.shift
    return min(processor.size) // 8 if options.scale == 1 else 0


def _cut_out(image_CYX: Tensor, least: float, size: list[int], generator: Any) -> Tensor:
    """Cut a rectangle out, at a random place, and stretch it to ``size``."""
    rows, columns = _rectangle(image_CYX, (least, 1.0), 4 / 3, generator)
    return resized(image_CYX[:, rows, columns], size)


def _rectangle(
    image_CYX: Tensor, shares: tuple[float, float], slant: float, generator: Any
) -> tuple[slice, slice]:
    """Draw a rectangle: its share of the area between two, its sides from 1:slant to slant:1."""
    sides = image_CYX.shape[-2:]
    share, tilt, down, right = torch.rand(4, generator=generator).tolist()
    area = sides.numel() * (shares[0] + (shares[1] - shares[0]) * share)
    ratio = slant ** (2 * tilt - 1)
    lengths = (math.sqrt(area / ratio), math.sqrt(area * ratio))
    found = []
    for side, wanted, place in zip(sides, lengths, (down, right), strict=True):
        length = min(side, max(1, round(wanted)))
        start = int(place * (side - length + 1))
        found.append(slice(start, start + length))
    return found[0], found[1]


def _shifted(image_CYX: Tensor, reach: int, generator: Any) -> Tensor:
    """Move an image; where it leaves its frame there is the mean, 0."""
    height, width = image_CYX.shape[-2:]
    down, right = torch.randint(2 * reach + 1, (2,), generator=generator).tolist()
    padded_CYX = F.pad(image_CYX, (reach, reach, reach, reach))
    return padded_CYX[:, down : down + height, right : right + width]


def _erased(image_CYX: Tensor, generator: Any) -> Tensor:
    """Set a rectangle of 2 to 33 % of the image to the mean."""
    rows, columns = _rectangle(image_CYX, (0.02, 0.33), 10 / 3, generator)
    image_CYX = image_CYX.clone()
    image_CYX[:, rows, columns] = 0.0
    return image_CYX


# timm draws from Python's and NumPy's global generators: one image at a time, and what was there
# before is put back.
_TIMM = Lock()


def _by_policy(image_CYX: Tensor, policy: str, seed: int) -> Tensor:
    from PIL import Image

    change = timm_policy(policy)
    array = (image_CYX.permute(1, 2, 0) * 255).round().byte().numpy()
    grey = array.shape[2] == 1
    image = Image.fromarray(array.repeat(3, axis=2) if grey else array)
    with _TIMM:
        before = random.getstate(), np.random.get_state()
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            changed = change(image)
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])
    array = np.array(changed.convert("L" if grey else "RGB"))
    return torch.from_numpy(array.reshape(*array.shape[:2], -1)).permute(2, 0, 1).float() / 255


@cache
def timm_policy(name: str) -> Any:
    """Return an automatic augmentation of timm by its name, such as ``rand-m9-mstd0.5``."""
    with needing("vision"):
        from timm.data.auto_augment import (
            augment_and_mix_transform,
            auto_augment_transform,
            rand_augment_transform,
        )
    makers = {
        "rand": rand_augment_transform,
        "augmix": augment_and_mix_transform,
        "original": auto_augment_transform,
        "v0": auto_augment_transform,
    }
    kind = name.partition("-")[0]
    if kind not in makers:
        raise InputError(f"augmentation.policy must begin with {', '.join(makers)}, got {name!r}.")
    try:
        return makers[kind](name, {"translate_const": 100, "img_mean": (124, 116, 104)})
    except (AssertionError, KeyError, ValueError) as error:
        raise InputError(f"augmentation.policy {name!r} is none that timm knows.") from error


def mixed(
    images_BCYX: Tensor, labels_B: Tensor, classes: int, strength: float
) -> tuple[Tensor, Tensor]:
    """Mix each image of a batch, and its class, with another (mixup, Zhang et al., ICLR 2018).

    Drawn from PyTorch's global generator, which checkpoints save and restore.

    Returns
    -------
    images_BCYX : Tensor
        Mixed.
    shares_BK : Tensor
        Of each class.
    """
    # Beta(s, s) from two Gamma(s) of that generator.
    first, second = torch._standard_gamma(torch.full((2,), strength)).tolist()
    share = first / (first + second) if first + second > 0 else 0.5
    others = torch.randperm(len(images_BCYX))
    shares_BK = F.one_hot(labels_B, classes).float()
    return (
        torch.lerp(images_BCYX[others], images_BCYX, share),
        torch.lerp(shares_BK[others], shares_BK, share),
    )


def check_image_augmentation(options: ImageAugmentationOptions) -> None:
    """Raise :class:`InputError`, in one sentence, for an amount that cannot be."""
    shift = options.shift
    if shift != "auto" and not (isinstance(shift, int) and shift >= 0):
        raise InputError(f"augmentation.shift must be a number of pixels or 'auto', got {shift!r}.")
    if not 0 < options.scale <= 1:
        raise InputError(f"augmentation.scale must lie in (0, 1], got {options.scale!r}.")
    if not 0 <= options.erasing <= 1:
        raise InputError(f"augmentation.erasing must lie in [0, 1], got {options.erasing!r}.")
    if not 0 <= options.mixup < math.inf:
        raise InputError(
            f"augmentation.mixup must be 0 or a positive number, got {options.mixup!r}."
        )
    if options.policy is not None:
        timm_policy(options.policy)
