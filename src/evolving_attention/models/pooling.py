"""From one vector for each position to one vector for each sequence.

Shape letters: B batch, N positions, D width.
"""

import torch
from torch import Tensor, nn

__all__ = ["POOLINGS", "Pooling"]

#: ``flatten`` lays the positions side by side; the others pool over the real positions.
POOLINGS = ("flatten", "mean", "max", "attention")


class Pooling(nn.Module):
    """Pool the real positions of padded sequences.

    Parameters
    ----------
    kind : {"flatten", "mean", "max", "attention"}
        ``"attention"`` weighs positions by a learned linear score.
    hidden_size : int
        D.
    """

    def __init__(self, kind: str, hidden_size: int) -> None:
        super().__init__()
        self.kind = kind
        self.score = nn.Linear(hidden_size, 1) if kind == "attention" else None

    def forward(self, hidden_BND: Tensor, mask_BN: Tensor | None = None) -> Tensor:
        """Return ``[B, D]``, or ``[B, N * D]`` with ``flatten``; no mask: all are real."""
        if mask_BN is None:
            mask_BN = hidden_BND.new_ones(hidden_BND.shape[:2], dtype=torch.bool)
        mask_BN1 = mask_BN[..., None]
        if self.kind == "max":
            lowest = torch.finfo(hidden_BND.dtype).min
            pooled_BD = hidden_BND.masked_fill(~mask_BN1, lowest).amax(1)
            return pooled_BD.masked_fill(~mask_BN1.any(1), 0.0)
        hidden_BND = hidden_BND.masked_fill(~mask_BN1, 0.0)
        if self.kind == "flatten":
            return hidden_BND.flatten(1)
        if self.score is not None:
            score_BN1 = self.score(hidden_BND)
            lowest = torch.finfo(score_BN1.dtype).min
            weight_BN1 = score_BN1.masked_fill(~mask_BN1, lowest).softmax(1)
            return (weight_BN1.masked_fill(~mask_BN1, 0.0) * hidden_BND).sum(1)
        return hidden_BND.sum(1) / mask_BN1.sum(1).clamp(min=1)

    def extra_repr(self) -> str:
        """Show the kind."""
        return self.kind
