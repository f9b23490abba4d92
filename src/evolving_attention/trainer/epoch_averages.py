"""The mean of a network's weights at the ends of its last epochs."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

__all__ = ["EpochAverages"]

_FILE = "epochs.safetensors"


class EpochAverages(TrainerCallback):
    """Keeps the weights of the last epochs, in the memory of the CPU, and gives their mean.

    After few epochs it is the mean of those there are.

    Parameters
    ----------
    model : Module
        Whose parameters and buffers they are.
    epochs : int
        How many.
    """

    def __init__(self, model: nn.Module, epochs: int) -> None:
        tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        self.tensors = {name: each for name, each in tensors.items() if each.is_floating_point()}
        self.kept: deque[dict[str, Tensor]] = deque(maxlen=epochs)

    @torch.no_grad()
    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Keep the weights of the epoch, before they are measured."""
        self.kept.append(
            {name: each.detach().to("cpu", copy=True) for name, each in self.tensors.items()}
        )

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Let the network have the mean inside the block."""
        own = {name: each.detach().clone() for name, each in self.tensors.items()}
        self.take()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, each in self.tensors.items():
                    each.copy_(own[name])

    @torch.no_grad()
    def take(self) -> None:
        """Give the network the mean for good; without an epoch it keeps what it has."""
        for name, each in self.tensors.items():
            if self.kept:
                mean = sum(epoch[name].double() for epoch in self.kept) / len(self.kept)
                each.copy_(mean)  # type: ignore[arg-type]

    def save(self, folder: Path) -> None:
        """Write the weights of the epochs into a checkpoint."""
        tensors = {
            f"{number}.{name}": each
            for number, epoch in enumerate(self.kept)
            for name, each in epoch.items()
        }
        if tensors:
            save_file(tensors, folder / _FILE)

    def load(self, folder: Path) -> None:
        """Set what :meth:`save` wrote."""
        self.kept.clear()
        if not (folder / _FILE).exists():
            return
        tensors = load_file(folder / _FILE)
        count = 1 + max(int(name.partition(".")[0]) for name in tensors)
        for number in range(count):
            self.kept.append({name: tensors[f"{number}.{name}"] for name in self.tensors})
