"""Augmented convolutions: a convolution and an evolving attention side by side.

Shape letters: B batch, C channels, N steps of a sequence or pixels of an image, Y rows and X
columns of an image, H heads.

Source: the EA-AA-ResNet of "Evolving Attention with Residual Convolutions" (ICML 2021) and the
EA-DC-Transformer of "Convolution-enhanced Evolving Attention Networks" (TPAMI 2023); the idea of
the two branches is Bello et al., "Attention Augmented Convolutional Networks" (ICCV 2019).
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evolving_attention.attention import (
    EvolvingAttention,
    MultiHeadSelfAttention,
    RelativePositionLogits1d,
    RelativePositionLogits2d,
    padding_mask,
)

__all__ = [
    "AugmentedConv1d",
    "AugmentedConv2d",
    "BranchDropout",
    "CausalConv1d",
    "attention_channels",
    "check_ratios",
]


def attention_channels(channels: int, ratio: float, num_heads: int, name: str) -> int:
    """Return ``ratio * channels``; raise ``ValueError`` unless the heads divide it."""
    size = round(ratio * channels) if 0 <= ratio <= 1 else -1
    if abs(size - ratio * channels) > 1e-6 or size % num_heads or size < 0:
        raise ValueError(
            f"{name}={ratio} of {channels} channels must be a multiple of the {num_heads} heads, "
            f"such as {num_heads / channels:g} or {2 * num_heads / channels:g}."
        )
    return size


def check_ratios(key_ratio: float, value_ratio: float) -> None:
    """Raise ``ValueError`` for keys without values, or values without keys."""
    if (key_ratio == 0) != (value_ratio == 0):
        raise ValueError(
            f"key_ratio={key_ratio} and value_ratio={value_ratio} must both be 0 (no attention) or "
            "both positive."
        )


class CausalConv1d(nn.Module):
    """Weight-normed dilated convolution over steps that reads no later step.

    The kernel of an output channel is its direction scaled to its magnitude (Salimans and Kingma,
    2016). Both are plain parameters: PyTorch's parametrised modules can neither be pickled nor
    copied into another process.

    Parameters
    ----------
    in_channels, out_channels : int
        Widths of input and output.
    kernel_size : int
        Steps read, ``dilation`` apart, the last of them the step itself.
    dilation : int
        Distance between the steps read.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, dilation: int
    ) -> None:
        super().__init__()
        self.dilation = dilation
        self.direction = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size))
        self.magnitude = nn.Parameter(torch.empty(out_channels, 1, 1))
        self.bias = nn.Parameter(torch.empty(out_channels))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Start as :class:`torch.nn.Conv1d` does."""
        nn.init.kaiming_uniform_(self.direction, a=math.sqrt(5))
        self.magnitude.copy_(self._norm())
        bound = self.direction[0].numel() ** -0.5
        nn.init.uniform_(self.bias, -bound, bound)

    def _norm(self) -> Tensor:
        return torch.linalg.vector_norm(self.direction, dim=(1, 2), keepdim=True)

    def forward(self, hidden_BNC: Tensor) -> Tensor:
        """Convolve ``[B, N, C]`` into ``[B, N, out_channels]``."""
        weight = self.direction * (self.magnitude / self._norm())
        reach = (weight.shape[-1] - 1) * self.dilation
        padded_BCN = F.pad(hidden_BNC.transpose(1, 2), (reach, 0))
        return F.conv1d(padded_BCN, weight, self.bias, dilation=self.dilation).transpose(1, 2)


class BranchDropout(nn.Module):
    """Drop a whole branch for some samples of a batch, in training.

    What is left is scaled by ``1 / (1 - p)``, so that its expectation stays (stochastic depth,
    Huang et al., ECCV 2016).

    Parameters
    ----------
    p : float in [0, 1)
        Chance that a sample goes without the branch.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, hidden: Tensor) -> Tensor:
        """Return ``[B, ...]``, 0 for the samples that were drawn."""
        if not self.training or self.p == 0:
            return hidden
        sample_sized = hidden[(slice(None), *[slice(1)] * (hidden.dim() - 1))]
        kept = torch.rand_like(sample_sized) >= self.p
        return hidden * (kept / (1 - self.p)).to(hidden.dtype)

    def extra_repr(self) -> str:
        """Show the chance."""
        return f"p={self.p}"


class _AugmentedConvolution(nn.Module):
    """A convolution and evolving self-attention over the same input, joined along channels.

    One and two dimensions differ in three things, which the subclasses supply: the convolution,
    the relative positions, and how an input becomes tokens and tokens an output
    (:meth:`_attend`).
    """

    channel_dim: int

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_heads: int,
        *,
        key_ratio: float,
        value_ratio: float,
        min_key_head_size: int = 0,
        make_convolution: Callable[[int], nn.Module],
        make_relative_position: Callable[[int], nn.Module],
        projects: bool,
        branch_dropout: float,
        evolution: EvolvingAttention | None,
    ) -> None:
        super().__init__()
        key_size = attention_channels(out_channels, key_ratio, num_heads, "key_ratio")
        value_size = attention_channels(out_channels, value_ratio, num_heads, "value_ratio")
        check_ratios(key_ratio, value_ratio)
        self.convolution: nn.Module | None = None
        if value_size < out_channels:
            self.convolution = make_convolution(out_channels - value_size)
        self.attention: MultiHeadSelfAttention | None = None
        if value_size:
            key_size = max(key_size, min_key_head_size * num_heads)
            self.attention = MultiHeadSelfAttention(
                in_channels,
                num_heads,
                key_size=key_size,
                value_size=value_size,
                output_size=value_size if projects else None,
                evolution=evolution,
                relative_position=make_relative_position(key_size // num_heads),
            )
        self.branch_dropout = BranchDropout(branch_dropout if value_size < out_channels else 0.0)

    def _branches(
        self, hidden: Tensor, previous_map: Tensor | None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        branches, map_BHNN = [], None
        if self.convolution is not None:
            branches.append(self.convolution(hidden))
        if self.attention is not None:
            attended, map_BHNN = self._attend(self.attention, hidden, previous_map, mask)
            branches.append(self.branch_dropout(attended))
        return torch.cat(branches, dim=self.channel_dim), map_BHNN

    def _attend(
        self,
        attention: MultiHeadSelfAttention,
        hidden: Tensor,
        previous_map: Tensor | None,
        mask: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


class AugmentedConv1d(_AugmentedConvolution):
    """Causal dilated convolution and evolving self-attention, concatenated along channels.

    Parameters
    ----------
    channels : int
        Width of input and output.
    num_heads : int
        Attention heads.
    key_ratio, value_ratio : float in [0, 1]
        The papers' k and v: widths of keys and values as shares of ``channels``. Both 0:
        convolution alone; ``value_ratio=1``: attention alone.
    kernel_size, dilation : int
        Of the convolution over steps.
    max_length : int
        Longest sequence with a relative position for every distance.
    branch_dropout : float in [0, 1)
        Chance that a sample goes without attention in a step of training, where there is a
        convolution beside it.
    evolution : EvolvingAttention, optional
        The evolving step. Default: plain attention.
    """

    channel_dim = -1

    def __init__(
        self,
        channels: int,
        num_heads: int,
        *,
        key_ratio: float = 0.125,
        value_ratio: float = 0.125,
        kernel_size: int = 3,
        dilation: int = 1,
        max_length: int = 256,
        branch_dropout: float = 0.0,
        evolution: EvolvingAttention | None = None,
    ) -> None:
        super().__init__(
            channels,
            channels,
            num_heads,
            key_ratio=key_ratio,
            value_ratio=value_ratio,
            make_convolution=lambda width: CausalConv1d(channels, width, kernel_size, dilation),
            make_relative_position=lambda size: RelativePositionLogits1d(size, max_length),
            projects=False,
            branch_dropout=branch_dropout,
            evolution=evolution,
        )

    def forward(
        self, hidden_BNC: Tensor, previous_map: Tensor | None = None, mask_BN: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the output ``[B, N, C]`` and the map ``[B, H, N, N]``, if there is attention.

        ``mask_BN`` is True at real steps. Padded steps are read by neither branch.
        """
        if mask_BN is None:
            return self._branches(hidden_BNC, previous_map)
        hidden_BNC = hidden_BNC.masked_fill(~mask_BN[..., None], 0.0)
        return self._branches(hidden_BNC, previous_map, padding_mask(mask_BN))

    def _attend(
        self,
        attention: MultiHeadSelfAttention,
        hidden: Tensor,
        previous_map: Tensor | None,
        mask: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        attended_BNC, map_BHNN = attention(hidden, previous_map, mask=mask)
        return attended_BNC, map_BHNN


class AugmentedConv2d(_AugmentedConvolution):
    """Convolution over an image and evolving self-attention, concatenated along channels.

    Attention reads the image average-pooled (3 x 3, stride 2) once for a stride of 2 and once
    for each further halving, passes a 1 x 1 convolution, and is interpolated bilinearly to the
    convolution's size.

    Parameters
    ----------
    in_channels, out_channels : int
        Widths of input and output.
    num_heads : int
        H.
    key_ratio, value_ratio : float in [0, 1]
        The papers' k and v: widths of keys and values as shares of ``out_channels``. Both 0:
        convolution alone; ``value_ratio=1``: attention alone.
    min_key_head_size : int
        Keys are at least as wide as this in every head, whatever ``key_ratio``.
    kernel_size : int, odd
        Of the convolution.
    stride : {1, 2}
        Of the whole layer: the output has ``ceil(Y / stride)`` rows.
    attention_stride : int, a power of 2
        How much coarser attention sees than the output is.
    grid : tuple of int
        Height and width of the pooled image for which relative positions are learned. They are
        interpolated for another.
    branch_dropout : float in [0, 1)
        Chance that a sample goes without attention in a step of training, where there is a
        convolution beside it.
    evolution : EvolvingAttention, optional
        The evolving step. Default: plain attention.
    """

    channel_dim = 1

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_heads: int,
        *,
        key_ratio: float = 0.25,
        value_ratio: float = 0.125,
        min_key_head_size: int = 0,
        kernel_size: int = 3,
        stride: int = 1,
        attention_stride: int = 1,
        grid: tuple[int, int] = (14, 14),
        branch_dropout: float = 0.0,
        evolution: EvolvingAttention | None = None,
    ) -> None:
        for name, value in (("stride", stride), ("attention_stride", attention_stride)):
            if value < 1 or value & (value - 1):
                raise ValueError(f"{name} must be a power of 2, got {value}.")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be a positive odd number, got {kernel_size}.")
        super().__init__(
            in_channels,
            out_channels,
            num_heads,
            key_ratio=key_ratio,
            value_ratio=value_ratio,
            min_key_head_size=min_key_head_size,
            make_convolution=lambda width: nn.Conv2d(
                in_channels, width, kernel_size, stride, kernel_size // 2, bias=False
            ),
            make_relative_position=lambda size: RelativePositionLogits2d(size, *grid, resize=True),
            projects=True,
            branch_dropout=branch_dropout,
            evolution=evolution,
        )
        self.stride, self.attention_stride = stride, attention_stride

    def forward(
        self, hidden_BCYX: Tensor, previous_map: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the output ``[B, out_channels, Y', X']`` and the map ``[B, H, N, N]``, if any.

        ``Y'`` is ``ceil(Y / stride)``, and N the pixels that attention sees. A previous map of
        another size belongs to another resolution: the chain starts again.
        """
        return self._branches(hidden_BCYX, previous_map)

    def _attend(
        self,
        attention: MultiHeadSelfAttention,
        hidden: Tensor,
        previous_map: Tensor | None,
        mask: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        strided_BCYX = _halved(hidden, self.stride)
        pooled_BCYX = _halved(strided_BCYX, self.attention_stride)
        grid = pooled_BCYX.shape[-2:]
        tokens_BNC = pooled_BCYX.flatten(2).transpose(1, 2)
        if previous_map is not None and previous_map.shape[-1] != tokens_BNC.shape[1]:
            previous_map = None
        attended_BNC, map_BHNN = attention(tokens_BNC, previous_map, mask=mask, grid=tuple(grid))
        attended_BCYX = attended_BNC.transpose(1, 2).unflatten(2, grid)
        if self.attention_stride > 1:
            attended_BCYX = F.interpolate(
                attended_BCYX, strided_BCYX.shape[-2:], mode="bilinear", align_corners=False
            )
        return attended_BCYX, map_BHNN

    def resize_positions(self, grid: tuple[int, int]) -> None:
        """Interpolate the relative positions, as parameters, to another height and width."""
        if self.attention is not None:
            self.attention.relative_position.resize_(*grid)  # type: ignore[union-attr, operator]


def _halved(image_BCYX: Tensor, factor: int) -> Tensor:
    """Average-pool by 2 until ``factor`` is reached; what lies outside the image does not count."""
    while factor > 1:
        image_BCYX = F.avg_pool2d(image_BCYX, 3, 2, padding=1, count_include_pad=False)
        factor //= 2
    return image_BCYX
