"""Augmented convolutions: a convolution and an evolving attention side by side.

Shape letters: B batch, N steps, C channels.

Source: the EA-DC-Transformer of "Convolution-enhanced Evolving Attention Networks" (TPAMI 2023);
the idea of the two branches is Bello et al., "Attention Augmented Convolutional Networks" (ICCV
2019).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evolving_attention.attention import (
    EvolvingAttention,
    MultiHeadSelfAttention,
    RelativePositionLogits1d,
    padding_mask,
)

__all__ = ["AugmentedConv1d", "BranchDropout", "CausalConv1d", "attention_channels"]


def attention_channels(channels: int, ratio: float, num_heads: int, name: str) -> int:
    """Return ``ratio * channels``; raise ``ValueError`` unless the heads divide it."""
    size = round(ratio * channels) if 0 <= ratio <= 1 else -1
    if abs(size - ratio * channels) > 1e-6 or size % num_heads or size < 0:
        raise ValueError(
            f"{name}={ratio} of {channels} channels must be a multiple of the {num_heads} heads, "
            f"such as {num_heads / channels:g} or {2 * num_heads / channels:g}."
        )
    return size


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

    def forward(self, hidden_BNC: Tensor) -> Tensor:
        """Return ``[B, N, C]``, 0 for the samples that were drawn."""
        if not self.training or self.p == 0:
            return hidden_BNC
        kept_B11 = torch.rand_like(hidden_BNC[:, :1, :1]) >= self.p
        return hidden_BNC * (kept_B11 / (1 - self.p)).to(hidden_BNC.dtype)

    def extra_repr(self) -> str:
        """Show the chance."""
        return f"p={self.p}"


class AugmentedConv1d(nn.Module):
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
        super().__init__()
        key_size = attention_channels(channels, key_ratio, num_heads, "key_ratio")
        value_size = attention_channels(channels, value_ratio, num_heads, "value_ratio")
        if (key_size == 0) != (value_size == 0):
            raise ValueError(
                f"key_ratio={key_ratio} and value_ratio={value_ratio} must both be 0 (no "
                "attention) or both positive."
            )
        self.convolution: CausalConv1d | None = None
        if value_size < channels:
            self.convolution = CausalConv1d(channels, channels - value_size, kernel_size, dilation)
        self.attention: MultiHeadSelfAttention | None = None
        if value_size:
            self.attention = MultiHeadSelfAttention(
                channels,
                num_heads,
                key_size=key_size,
                value_size=value_size,
                evolution=evolution,
                relative_position=RelativePositionLogits1d(key_size // num_heads, max_length),
            )
        self.branch_dropout = BranchDropout(branch_dropout if value_size < channels else 0.0)

    def forward(
        self, hidden_BNC: Tensor, previous_map: Tensor | None = None, mask_BN: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the output ``[B, N, C]`` and the map ``[B, H, N, N]``, if there is attention.

        ``mask_BN`` is True at real steps. Padded steps are read by neither branch.
        """
        attention_mask = None
        if mask_BN is not None:
            hidden_BNC = hidden_BNC.masked_fill(~mask_BN[..., None], 0.0)
            attention_mask = padding_mask(mask_BN)
        branches, map_BHNN = [], None
        if self.convolution is not None:
            branches.append(self.convolution(hidden_BNC))
        if self.attention is not None:
            attended_BNC, map_BHNN = self.attention(hidden_BNC, previous_map, mask=attention_mask)
            branches.append(self.branch_dropout(attended_BNC))
        return torch.cat(branches, dim=-1), map_BHNN
