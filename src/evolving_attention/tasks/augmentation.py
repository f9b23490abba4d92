"""Random changes of training series that leave what they mean: more data out of few.

Shape letters: T steps, F features (channels of the series).
"""

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from evolving_attention.errors import InputError
from evolving_attention.recipe import AugmentationOptions

__all__ = ["augment", "augmentation_for", "check_augmentation"]


def augment(
    series_TF: Tensor, options: AugmentationOptions, generator: torch.Generator | None = None
) -> Tensor:
    """Draw a variation of a normalised series.

    Parameters
    ----------
    series_TF : Tensor of shape [T, F]
        Not changed in place.
    options : AugmentationOptions
        How much of each change, in numbers; with 0 everywhere the series is returned as it is, and
        nothing is drawn.
    generator : torch.Generator, optional
        Source of chance. Default: PyTorch's global one, which checkpoints save and restore.

    Returns
    -------
    Tensor of shape [T, F]
    """
    for change, amount in (
        (_slice, float(options.slicing)),
        (_scale, options.scaling),
        (_jitter, options.jitter),
        (_hide, options.masking),
    ):
        if amount:
            series_TF = change(series_TF, amount, generator)
    return series_TF


def augmentation_for(kind: str, options: AugmentationOptions) -> AugmentationOptions:
    """Return the options with a number for ``slicing="auto"``."""
    if options.slicing != "auto":
        return options
    return replace(options, slicing=0.2 if kind == "classification" else 0.0)


def check_augmentation(options: AugmentationOptions) -> None:
    """Raise :class:`InputError`, in one sentence, for an amount that cannot be."""
    if options.slicing != "auto":
        _check_amount("slicing", options.slicing, 1.0)
    for name, below in (("scaling", math.inf), ("jitter", math.inf), ("masking", 1.0)):
        _check_amount(name, getattr(options, name), below)


def _check_amount(name: str, amount: object, below: float) -> None:
    is_number = isinstance(amount, int | float) and not isinstance(amount, bool)
    if not is_number or not 0 <= amount < below:  # type: ignore[operator]
        wanted = "0 or a positive number" if below == math.inf else "a number in [0, 1)"
        raise InputError(f"augmentation.{name} must be {wanted}, got {amount!r}.")


def _slice(series_TF: Tensor, most: float, generator: torch.Generator | None) -> Tensor:
    """Cut a window out, at a random place, and stretch it to the length of the series."""
    steps = series_TF.shape[0]
    if steps < 3:
        return series_TF
    share, place = torch.rand(2, generator=generator).tolist()
    width = max(2, round(steps * (1 - most * share)))
    start = int(place * (steps - width + 1))
    window_1FW = series_TF[start : start + width].T[None]
    return F.interpolate(window_1FW, size=steps, mode="linear", align_corners=True)[0].T


def _scale(series_TF: Tensor, deviation: float, generator: torch.Generator | None) -> Tensor:
    """Multiply each channel by a factor around 1."""
    return series_TF * (1 + deviation * torch.randn(series_TF.shape[1], generator=generator))


def _jitter(series_TF: Tensor, deviation: float, generator: torch.Generator | None) -> Tensor:
    """Add noise to every value."""
    return series_TF + deviation * torch.randn(series_TF.shape, generator=generator)


def _hide(series_TF: Tensor, share: float, generator: torch.Generator | None) -> Tensor:
    """Set all channels to 0, the centre of normalised values, at random steps."""
    hidden_T1 = torch.rand(series_TF.shape[0], 1, generator=generator) < share
    return series_TF.masked_fill(hidden_T1, 0.0)
