"""A family of tasks: what the commands need to know of one kind of data."""

import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import pandas as pd

from evolving_attention.errors import InputError
from evolving_attention.recipe import Recipe
from evolving_attention.tasks.contracts import Data, Task

__all__ = ["SEARCH_SPACE", "SHARES", "Family", "Space", "check_source", "family_of", "folder_name"]

R = TypeVar("R", bound=Recipe)

#: The range of a share of evolution.
SHARES = {"low": 0.0, "high": 0.9, "step": 0.1}

#: Dotted names of options, each with ``choices``, or with ``low`` and ``high`` and, as it may be, a
#: ``step`` or ``log: true``. Whole numbers make a range of whole numbers.
Space = Mapping[str, dict[str, Any]]

#: What any network with evolution that starts from chance can be searched for.
SEARCH_SPACE: Space = MappingProxyType(
    {
        "model.alpha": SHARES,
        "model.beta": SHARES,
        "training.learning_rate": {"low": 3e-4, "high": 5e-3, "log": True},
        "training.weight_decay": {"low": 1e-4, "high": 1e-1, "log": True},
    }
)


class Family(ABC, Generic[R]):
    """The tasks of one kind of data, from their recipes."""

    #: What the inputs are called, in messages: "series", "sentences", "images".
    inputs: str

    #: Name of a file of inputs, for examples.
    example_file: str

    #: Whether aeon's estimators, which know series alone, can be fitted to the same data.
    has_peers: bool = False

    #: The file of a run folder by which its processor is known.
    processor_file: str = "preprocessor_config.json"

    #: Whether predictions are lines of text, one for each line of input, written as they come.
    writes_lines: bool = False

    #: What ``tune`` searches where nobody says so, as far as :meth:`space_of` a recipe allows.
    search_space: Space = SEARCH_SPACE

    @abstractmethod
    def check(self, recipe: R) -> None:
        """Raise :class:`InputError` for options that cannot work, whatever the data."""

    @abstractmethod
    def load(self, recipe: R) -> tuple[Data, Data | None]:
        """Load the training part and, where there is one, the test part of a recipe's data."""

    @abstractmethod
    def load_training(self, recipe: R) -> Data:
        """Load the training part alone; the test part is not opened."""

    @abstractmethod
    def load_file(self, recipe: R, path: Path, *, labelled: bool = False) -> Data:
        """Load a file of inputs, as a trained recipe's network takes them.

        With ``labelled``, its targets, if it has any, are checked to fit the recipe's task.
        """

    def load_unlabelled(self, recipe: R) -> Mapping[str, Data]:
        """Load the parts that a benchmark wants predicted, by the file that it takes for each."""
        return {}

    def write_predictions(self, recipe: R, table: pd.DataFrame, path: Path) -> None:
        """Write predictions, a row an input: as CSV."""
        table.to_csv(path, index_label="case")

    def metric_lines(self, part: str, metrics: dict[str, float], task: Any) -> list[str]:
        """Return the lines that tell the metrics of a part of the data: one, with all of them."""
        told = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        return [f"{part}: {told}"]

    @abstractmethod
    def task_of(self, recipe: R) -> Task:
        """Return the task that a trained recipe's network works for."""

    @abstractmethod
    def task_to_train(self, recipe: R, *, progress: bool = False) -> Task:
        """Return the task that trains a recipe, from the network that it starts from.

        Raises
        ------
        InputError
            That network cannot be loaded, or options of the recipe contradict each other.
        """

    @abstractmethod
    def model_options(self, recipe: R) -> dict[str, Any]:
        """Return every option of the model that a recipe may set, as the recipe has it."""

    def metric_of(self, recipe: R) -> tuple[str, bool]:
        """Return what tells the better of two networks, and whether more of it is better.

        As the recipe chooses its epoch: by loss, that of classes being the log loss; or by the
        metric of its task, which is also that of other kinds of targets.
        """
        if recipe.kind == "classification" and recipe.training.select_by == "loss":
            return "log_loss", False
        task = self.task_of(recipe)
        return task.metric, task.greater_is_better

    def space_of(self, recipe: R) -> Space:
        """Return what ``tune`` searches of a recipe: what its network can be given."""
        return self.search_space

    def fitted(self, recipe: R, searched: Collection[str]) -> R:
        """Return a recipe with the options that a search has set as its model can take them."""
        return recipe

    @abstractmethod
    def place(self, recipe: R, source: str) -> tuple[str, R]:
        """Return a data set's name and the recipe with it as its data; it must exist."""

    @abstractmethod
    def data_settings(self, recipe: R) -> dict[str, Any]:
        """Return what determines a recipe's data, by option; files by name and size alone."""

    @abstractmethod
    def title(self, recipe: R) -> str:
        """Return what a trained recipe is, such as "EA-DC-Transformer, classification of X"."""


#: Where the family of each name is: a module with ``FAMILY``.
_HOMES = {
    "time_series": "evolving_attention.tasks.time_series_family",
    "text": "evolving_attention.tasks.text_family",
    "image": "evolving_attention.tasks.image_family",
    "translation": "evolving_attention.tasks.translation_family",
}


def family_of(recipe: Recipe) -> Family[Any]:
    """Return the family of a recipe's task; what it needs is imported now."""
    return import_module(_HOMES[recipe.family]).FAMILY


def check_source(recipe: Recipe) -> str:
    """Return the name of the recipe's training data; raise :class:`InputError` without one."""
    if not recipe.data.train:
        raise InputError("say what to train on: --data.train NAME_OR_FILE.")
    return recipe.data.train


def folder_name(path: Path) -> str:
    """Return the name by which a folder is given: a link's own, not of what it points to."""
    return Path(os.path.abspath(path)).name
