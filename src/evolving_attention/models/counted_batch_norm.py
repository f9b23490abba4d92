"""Batch normalisation of images that counts every batch once.

Shape letters: B batch, C channels, Y rows, X columns.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from evolving_attention.models.masked_batch_norm import is_recomputing

__all__ = ["CountedBatchNorm2d"]


class CountedBatchNorm2d(nn.BatchNorm2d):
    """:class:`torch.nn.BatchNorm2d`, but gradient checkpointing's second pass leaves it alone."""

    running_mean: Tensor
    running_var: Tensor
    momentum: float

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``[B, C, Y, X]``; running statistics see a batch once."""
        if not (self.training and is_recomputing()):
            return super().forward(input)
        return F.batch_norm(
            input,
            self.running_mean.clone(),  # written to, and thrown away
            self.running_var.clone(),
            self.weight,
            self.bias,
            training=True,
            momentum=self.momentum,
            eps=self.eps,
        )
