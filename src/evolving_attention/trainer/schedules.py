"""A schedule of the learning rate that transformers does not have."""

import torch
from torch.optim.lr_scheduler import LambdaLR

__all__ = ["DROPS", "schedule_by_steps"]

#: Shares of a training after which the learning rate is divided by 10, as when ResNets are trained
#: for 100 epochs on ImageNet.
DROPS = (0.3, 0.6, 0.8, 0.9)


def schedule_by_steps(optimizer: torch.optim.Optimizer, warmup: int, total: int) -> LambdaLR:
    """Raise the learning rate for ``warmup`` of ``total`` updates, then divide it at the drops."""

    def factor(update: int) -> float:
        rising = min(1.0, update / warmup) if warmup else 1.0
        return float(rising * 10.0 ** -sum(update >= share * total for share in DROPS))

    return LambdaLR(optimizer, factor)
