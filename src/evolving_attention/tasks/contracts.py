"""What commands need of a task beyond training, and of the data that it works on."""

from pathlib import Path
from typing import Any, Protocol, Self

import pandas as pd
from numpy.typing import NDArray
from transformers import PreTrainedModel

from evolving_attention.trainer.contracts import TrainingTask

__all__ = ["Data", "Task"]


class Data(Protocol):
    """Examples and, where known, what belongs to each."""

    def __len__(self) -> int:
        """Return the number of examples."""

    @property
    def targets(self) -> NDArray | None:
        """Labels or numbers, ``(cases, ...)``; None where they are not known."""

    def take(self, indices: NDArray) -> Self:
        """Return some of the examples, by their numbers from 0."""

    def fingerprint(self) -> str:
        """Return a hash of examples and targets."""


class Task(TrainingTask, Protocol):
    """What is learned: it trains a network, and works with one that is trained."""

    #: ``"classification"``, ``"regression"`` or ``"pretraining"``, and what else families have.
    kind: str

    def load_network(self, folder: Path) -> PreTrainedModel:
        """Load a saved network, in evaluation mode, and its processor."""

    def can_evaluate(self, data: Any) -> bool:
        """Tell whether a network can be measured on these data."""

    def evaluate(self, model: PreTrainedModel, data: Any) -> dict[str, float]:
        """Measure a network; raise :class:`InputError` where the data have no labels."""

    def predict(self, model: PreTrainedModel, data: Any) -> pd.DataFrame:
        """Return a row an example, in their order: ``prediction`` and what else is known."""

    def embed(self, model: PreTrainedModel, data: Any) -> NDArray:
        """Return a vector for every example, ``(cases, D)``."""

    def resolve(self, recipe: Any, model: PreTrainedModel) -> Any:
        """Return the recipe with every option as it was used."""

    def report(self) -> dict[str, Any]:
        """Return what metrics.json tells beside the metrics of the network."""
