"""Which entries of a series are hidden in pretraining: stretches of geometric length.

Whether an entry is masked is a Markov chain of two states along each channel. With the share r and
the mean length l of a masked stretch, a masked stretch ends with probability 1 / l and one between
them with r / (l (1 - r)), so that its mean length is l (1 - r) / r and a share r of each channel is
masked, at the first step as at any other (Zerveas et al., KDD 2021, section 3.2).

Shape letters: B batch, T steps, F features (channels of the series).
"""

import math

import torch
from torch import Tensor

from evolving_attention.errors import InputError
from evolving_attention.recipe import PretrainingOptions

__all__ = ["check_masking", "draw_mask"]


def draw_mask(
    shape: tuple[int, int, int],
    options: PretrainingOptions,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw which entries are masked.

    Parameters
    ----------
    shape : (B, T, F)
    options : PretrainingOptions
        Share, mean length, and whether all channels are masked at the same steps.
    generator : torch.Generator, optional
        Source of chance. Default: PyTorch's global one, which checkpoints save and restore.

    Returns
    -------
    bool Tensor of shape [B, T, F]
        True: masked.
    """
    check_masking(options)
    cases, steps, features = shape
    chance_BTF = torch.rand(cases, steps, 1 if options.together else features, generator=generator)
    starts = options.masked_share / (options.mean_length * (1 - options.masked_share))
    stops = 1 / options.mean_length
    # One number decides a step whatever the state before it: in [0, starts) masked, in
    # [1 - stops, 1) not; between them the state stays. The state is that of the last decision.
    decides_BTF = (chance_BTF < starts) | (chance_BTF >= 1 - stops)
    masks_BTF = chance_BTF < starts
    decides_BTF[:, 0], masks_BTF[:, 0] = True, chance_BTF[:, 0] < options.masked_share
    step_BTF = torch.arange(steps)[:, None].expand_as(decides_BTF)
    decided_BTF = step_BTF.masked_fill(~decides_BTF, 0).cummax(1).values
    return masks_BTF.gather(1, decided_BTF).expand(shape)


def check_masking(options: PretrainingOptions) -> None:
    """Raise :class:`InputError`, in one sentence, for masks that cannot be drawn."""
    share, length = options.masked_share, options.mean_length
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
        raise InputError(f"pretraining.masked_share must lie between 0 and 1, got {share!r}.")
    shortest = 1 / (1 - share)
    is_number = isinstance(length, int | float) and not isinstance(length, bool)
    if not is_number or not shortest * (1 - 1e-9) <= length < math.inf:
        raise InputError(
            f"pretraining.mean_length must be a number, at least {shortest:.3g} (that of stretches "
            f"where each entry is masked for itself), got {length!r}."
        )
