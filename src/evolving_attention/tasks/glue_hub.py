"""GLUE from the Hugging Face Hub, by name; needs the extra ``[text]`` and a network."""

from typing import Any

import numpy as np

from evolving_attention.errors import InputError, needing, reason
from evolving_attention.tasks.glue_tasks import GlueDescription
from evolving_attention.tasks.text_data import LabelledTexts

__all__ = ["SOURCE", "load_from_hub"]

#: The repository of data sets; its columns and splits are named in GLUE's card there.
SOURCE = "nyu-mll/glue"


def load_from_hub(task: GlueDescription, split: str) -> LabelledTexts:
    """Load a split of a task.

    Parameters
    ----------
    task : GlueDescription
        Which.
    split : str
        ``"train"``, ``"validation"``, ``"test"``; MNLI's have ``_matched`` or ``_mismatched`` at
        their ends.

    Raises
    ------
    InputError
        The extra is missing, or the Hub could not be reached and nothing was kept from before.
    """
    with needing("text"):
        from datasets import load_dataset
    try:
        data = load_dataset(SOURCE, task.hub, split=split)
    except Exception as error:  # the Hub's, the network's and the file system's
        raise InputError(
            f"{task.name} could not be loaded from the Hub ({SOURCE}): {reason(error)}; where "
            f"there is no network, give the folder with its files, --data.train PATH/{task.name}."
        ) from error
    return LabelledTexts(_texts(data, task), _targets(data, task))


def _texts(data: Any, task: GlueDescription) -> list[tuple[str, ...]]:
    columns = [[text.strip() for text in data[name]] for name in task.hub_texts]
    return list(zip(*columns, strict=True))


def _targets(data: Any, task: GlueDescription) -> Any:
    """Return labels as the files write them; the Hub numbers them, in the same order."""
    values = np.asarray(data["label"])
    if (values == -1).all():  # a test part, whose labels GLUE keeps
        return None
    if task.is_regression:
        return values.astype(np.float64)
    return np.array(task.labels)[values.astype(np.int64)]
