"""Averages of a network's weights over the updates of a training.

They are kept in the optimiser's state, and with it in checkpoints.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

__all__ = ["Averages"]


class Averages:
    """Exponential averages of what an optimiser trains, and of the statistics of batch norm.

    After update t an average moves towards the weights by ``1 - min(decay, (1 + t) / (10 + t))``:
    it is not held back by where the training began.

    Parameters
    ----------
    optimizer : Optimizer
        Gets a group with the model's buffers, which have no gradient and so are never updated.
    model : Module
        Whose buffers they are.
    decay : float in [0, 1)
        Share of an average that an update leaves, in the long run.
    """

    def __init__(self, optimizer: Optimizer, model: nn.Module, decay: float) -> None:
        buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        if buffers:
            optimizer.add_param_group({"params": buffers, "weight_decay": 0.0})
        self.optimizer, self.decay = optimizer, decay
        optimizer.register_step_post_hook(self._update)

    def _states(self) -> Iterator[tuple[Tensor, dict[str, Any]]]:
        for group in self.optimizer.param_groups:
            for tensor in group["params"]:
                yield tensor, self.optimizer.state[tensor]

    @torch.no_grad()
    def _update(self, *_: Any) -> None:
        for tensor, state in self._states():
            if "average" not in state:
                state["average"], state["averaged"] = tensor.detach().clone(), 0
                # What has no gradient has no state of Adam's either, who looks for it when loading.
                state.setdefault("step", torch.zeros(()))
            state["averaged"] += 1
            kept = min(self.decay, (1 + state["averaged"]) / (10 + state["averaged"]))
            state["average"].lerp_(tensor, 1 - kept)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Let the network have its averages inside the block."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for tensor, state in self._states():
            if "average" in state:
                held = tensor.clone()
                tensor.copy_(state["average"])
                state["average"].copy_(held)

    @torch.no_grad()
    def take(self) -> None:
        """Give the network its averages for good."""
        for tensor, state in self._states():
            if "average" in state:
                tensor.copy_(state["average"])

    def save(self, folder: Path) -> None:
        """Do nothing: averages are written with the optimiser's state."""

    def load(self, folder: Path) -> None:
        """Do nothing: averages are read with the optimiser's state."""
