"""Batch normalisation over the real steps of padded sequences.

Shape letters: B batch, N steps, D channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["MaskedBatchNorm", "is_recomputing"]


class MaskedBatchNorm(nn.BatchNorm1d):
    """Batch norm over the last dimension whose statistics come from real steps alone.

    Parameters and buffers are those of :class:`torch.nn.BatchNorm1d`; with every step real, so is
    the result.
    """

    weight: Tensor  # type: ignore[assignment]
    bias: Tensor  # type: ignore[assignment]
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def forward(self, hidden_BND: Tensor, mask_BN: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Normalise ``[B, N, D]``; padded steps are normalised too, but contribute nothing."""
        hidden_BND = hidden_BND.to(
            self.weight.dtype
        )  # statistics of half-precision sums would drift
        if not self.training:
            scale_D = self.weight * torch.rsqrt(self.running_var + self.eps)
            return hidden_BND * scale_D + (self.bias - self.running_mean * scale_D)
        if mask_BN is None and hidden_BND.shape[:2].numel() > 1:
            return self._normalise_unmasked(hidden_BND)
        if mask_BN is None:  # a single step, which PyTorch's own refuses
            mask_BN = hidden_BND.new_ones(hidden_BND.shape[:2], dtype=torch.bool)
        hidden_BND = hidden_BND.masked_fill(~mask_BN[..., None], 0.0)
        mask_BN1 = mask_BN[..., None].to(hidden_BND.dtype)
        steps = mask_BN1.sum()
        count = steps.clamp(min=1)
        mean_D = hidden_BND.sum((0, 1)) / count
        centered_BND = hidden_BND - mean_D
        variance_D = (centered_BND.square() * mask_BN1).sum((0, 1)) / count
        self._track(mean_D.detach(), variance_D.detach(), steps)
        return centered_BND * (torch.rsqrt(variance_D + self.eps) * self.weight) + self.bias

    def _normalise_unmasked(self, hidden_BND: Tensor) -> Tensor:
        counted = not is_recomputing()
        if counted:
            self.num_batches_tracked.add_(1)
        normalised = F.batch_norm(
            hidden_BND.flatten(0, 1),
            self.running_mean if counted else self.running_mean.clone(),
            self.running_var if counted else self.running_var.clone(),
            self.weight,
            self.bias,
            training=True,
            momentum=self.momentum,
            eps=self.eps,
        )
        return normalised.view_as(hidden_BND)

    @torch.no_grad()
    def _track(self, mean_D: Tensor, variance_D: Tensor, steps: Tensor) -> None:
        if is_recomputing():
            return
        self.num_batches_tracked.add_(1)
        # A batch without a real step has no mean, and one with a single step no variance.
        unbiased_D = variance_D * (steps / (steps - 1).clamp(min=1))
        for statistic_D, batch_D, least in (
            (self.running_mean, mean_D, 1),
            (self.running_var, unbiased_D, 2),
        ):
            momentum = self.momentum * (steps >= least).to(statistic_D.dtype)
            statistic_D.lerp_(batch_D.to(statistic_D.dtype), momentum)


def is_recomputing() -> bool:
    """Whether this forward pass runs inside a backward pass: gradient checkpointing's second one.

    It must not count a batch again.
    """
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1
