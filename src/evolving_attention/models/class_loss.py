"""The loss of networks that tell classes apart."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["ClassLoss"]


class ClassLoss:
    """Cross entropy, weighted and smoothed as the configuration says; put it before the network.

    Labels are class numbers ``[B]``, or probabilities ``[B, num_labels]`` of mixed examples.
    """

    config: Any

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross entropy of a batch."""
        weights = self.config.class_weights
        weight = None if weights is None else logits.new_tensor(weights)
        return F.cross_entropy(
            logits, labels, weight=weight, label_smoothing=self.config.label_smoothing
        )

    def loss_weight(self, batch: dict[str, Tensor]) -> Tensor:
        """Return what the loss of a batch weighs in the mean loss of several batches.

        PyTorch takes the mean by the weights of the classes, but of mixed examples by their number.
        """
        labels, weights = batch["labels"], self.config.class_weights
        if weights is None or labels.is_floating_point():
            return torch.tensor(len(labels))
        return torch.tensor(weights, device=labels.device)[labels].sum()
