"""Learned relative-position logits in one and two dimensions, with O(length) parameters.

Shape letters: B batch, H heads, N queries, M = N keys, E head width, R = 2N - 1 distances.

The logit of query i and key j gains ``query_i . r_(j - i)`` with one learned vector r a distance,
shared by the heads (Shaw et al. 2018; two dimensions as in attention-augmented convolution, Bello
et al. 2019). The vectors from each query to each key, ``[N, M, E]``, are laid out once for the
whole batch: less than a map as long as heads are narrow, E < B H, as they are in the papers'
networks.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["RelativePositionLogits1d", "RelativePositionLogits2d", "resize_distances"]


class _DistanceTable(nn.Module):
    """One learned vector for each distance from -(max_length - 1) to max_length - 1.

    Distances out of reach share the farthest vector, or, with ``resize``, the table of another
    length is interpolated: its ends stay its ends, and distance 0 stays distance 0.
    """

    def __init__(self, head_size: int, max_length: int, resize: bool = False) -> None:
        super().__init__()
        if max_length < 1:
            raise ValueError(f"max_length must be at least 1, got {max_length}.")
        self.max_length, self.resize = max_length, resize
        self.weight = nn.Parameter(torch.empty(2 * max_length - 1, head_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the vectors from a normal distribution with mean 0 and variance 1 / E."""
        nn.init.normal_(self.weight, mean=0.0, std=self.weight.shape[1] ** -0.5)

    def forward(self, query: Tensor) -> Tensor:
        """Score queries ``[..., N, E]`` against the distances to N keys: ``[..., N, N]``."""
        length = query.shape[-2]
        vector_RE = self._resized(length) if self.resize else self._nearest(length)
        # N consecutive distances lead from one query to all keys; the last query's come first.
        width = vector_RE.shape[1]
        vector_NME = vector_RE.as_strided((length, length, width), (width, width, 1)).flip(0)
        return torch.einsum("...ne,nme->...nm", query, vector_NME.to(query.dtype))

    def _nearest(self, length: int) -> Tensor:
        farthest = self.max_length - 1
        distance_R = torch.arange(1 - length, length, device=self.weight.device)
        return self.weight[distance_R.clamp(-farthest, farthest) + farthest]

    def _resized(self, length: int) -> Tensor:
        return resize_distances(self.weight, length)

    @torch.no_grad()
    def resize_(self, length: int) -> None:
        """Replace the table by one for another length, as a parameter that goes on learning."""
        learns = self.weight.requires_grad
        self.weight = nn.Parameter(resize_distances(self.weight, length).clone(), learns)
        self.max_length = length


def resize_distances(table_RE: Tensor, length: int) -> Tensor:
    """Interpolate a table of 2L - 1 distances linearly to ``2 * length - 1``.

    Parameters
    ----------
    table_RE : Tensor of shape [2L - 1, E]
        Vectors of the distances from -(L - 1) to L - 1.
    length : int
        Of the side of the image that the table shall fit.

    Returns
    -------
    Tensor of shape [2 * length - 1, E]
        The table itself where it fits already.
    """
    size = 2 * length - 1
    if size == table_RE.shape[0]:
        return table_RE
    if size == 1:  # one pixel: distance 0 alone, which a resize to one entry would not hit
        middle = table_RE.shape[0] // 2
        return table_RE[middle : middle + 1]
    image_1ER = table_RE.t().unsqueeze(0)
    return F.interpolate(image_1ER, size, mode="linear", align_corners=True)[0].t().contiguous()


class RelativePositionLogits1d(nn.Module):
    """Relative-position logits of a sequence.

    Parameters
    ----------
    head_size : int
        Width E of a head's queries.
    max_length : int
        Longest sequence with a vector for every distance; farther pairs share the farthest vector.
    """

    def __init__(self, head_size: int, max_length: int) -> None:
        super().__init__()
        self.distance = _DistanceTable(head_size, max_length)

    def forward(self, query_BHNE: Tensor) -> Tensor:
        """Return the logits ``[B, H, N, N]`` to add to those of (scaled) queries and keys."""
        logits_BHNN: Tensor = self.distance(query_BHNE)
        return logits_BHNN


class RelativePositionLogits2d(nn.Module):
    """Relative-position logits of an image whose rows are laid one after the other.

    Parameters
    ----------
    head_size : int
        Width E of a head's queries.
    max_height, max_width : int
        Largest image with a vector for every distance; farther pairs share the farthest vector.
    resize : bool
        Interpolate the vectors instead, for images larger or smaller: what the same picture needs
        at another resolution.
    """

    def __init__(
        self, head_size: int, max_height: int, max_width: int, *, resize: bool = False
    ) -> None:
        super().__init__()
        self.vertical = _DistanceTable(head_size, max_height, resize)
        self.horizontal = _DistanceTable(head_size, max_width, resize)

    def forward(self, query_BHNE: Tensor, height: int, width: int) -> Tensor:
        """Return the logits ``[B, H, N, N]``, N = height * width."""
        if query_BHNE.shape[-2] != height * width:
            raise ValueError(
                f"{query_BHNE.shape[-2]} queries do not fill an image of {height} x {width} = "
                f"{height * width}."
            )
        query_BHYXE = query_BHNE.unflatten(-2, (height, width))
        horizontal_BHYX1X = self.horizontal(query_BHYXE).unsqueeze(-2)
        vertical_BHYXY1 = (
            self.vertical(query_BHYXE.transpose(-3, -2)).transpose(-3, -2).unsqueeze(-1)
        )
        return (vertical_BHYXY1 + horizontal_BHYX1X).flatten(-2).flatten(-3, -2)

    def resize_(self, height: int, width: int) -> None:
        """Replace the vectors by interpolated ones for another largest image."""
        self.vertical.resize_(height)
        self.horizontal.resize_(width)
