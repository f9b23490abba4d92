"""What goes into training, a task, and what comes out of it, a trained network."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch.utils.data import Dataset
from transformers import EvalPrediction, PreTrainedModel

__all__ = ["TrainedNetwork", "TrainingTask"]


class TrainingTask(Protocol):
    """What training needs of a task: its parts are in :mod:`evolving_attention.tasks`.

    A task may also have ``reduce_outputs(outputs, labels)``, a tensor ``[B, ...]`` to keep of each
    batch's outputs for the metrics: all logits over a vocabulary would be too many.
    """

    processor: Any
    #: Name of the metric that may choose the epoch, and whether more of it is better.
    metric: str
    greater_is_better: bool

    def split(
        self, data: Any, validation: float, seed: int
    ) -> tuple[Dataset[Any], Dataset[Any] | None]:
        """Fit the processor on the training part; return the training and the validation part."""

    def build_model(self, options: dict[str, Any]) -> PreTrainedModel:
        """Make a network for the data last split."""

    def collate(self, examples: list[Any]) -> dict[str, torch.Tensor]:
        """Make a batch."""

    @property
    def compute_metrics(self) -> Callable[[EvalPrediction], dict[str, float]] | None:
        """Measures predictions of the validation part; None: its loss is all there is."""


@dataclass
class TrainedNetwork:
    """A trained network and how it came to be.

    Attributes
    ----------
    model : PreTrainedModel
        In evaluation mode, with the weights of the chosen epoch.
    epoch : int
        The chosen epoch, counted from 1; the last one where nothing was held out.
    seconds : float
        Wall-clock time of the training, the refit included.
    interrupted : bool
        Whether it was stopped by Ctrl-C.
    history : list of dict
        Loss and metrics of each epoch.
    """

    model: PreTrainedModel
    epoch: int
    seconds: float = 0.0
    interrupted: bool = False
    history: list[dict[str, float]] = field(default_factory=list)
