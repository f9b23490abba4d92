"""What tasks do with trained networks, whatever the inputs: load them, read them out, tell of them.

Shape letters: B batch.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from evolving_attention.errors import InputError, close_to, reading
from evolving_attention.training import quiet

__all__ = [
    "batches_by_length",
    "finite",
    "load_model",
    "probability_table",
    "read_by_length",
    "unknown_option",
]


def load_model(folder: Path, model_class: Any) -> PreTrainedModel:
    """Load a saved network, in evaluation mode, on the accelerator where there is one.

    Raises
    ------
    InputError
        A file is missing or damaged; the message names it.
    """
    with reading(folder / "config.json"):
        config: PreTrainedConfig = AutoConfig.from_pretrained(folder)
    with reading(folder / "model.safetensors"), quiet():
        model = model_class.from_pretrained(folder, config=config)
    device = torch.accelerator.current_accelerator()  # None without one
    return model.to(device or "cpu").eval()


@torch.inference_mode()
def read_by_length(
    model: PreTrainedModel,
    examples: Sequence[dict[str, Any]],
    lengths: Sequence[int],
    read: Callable[[PreTrainedModel, dict[str, Tensor]], Tensor],
    collate: Callable[[list[dict[str, Any]]], dict[str, Tensor]],
    *,
    patch_size: int = 1,
    most_entries: int = 2**22,
) -> NDArray[np.float32]:
    """Return what a network says of each example, in their order: ``(cases, ...)``.

    Parameters
    ----------
    model : PreTrainedModel
        Set to evaluation mode.
    examples : sequence of dict
        What ``collate`` takes.
    lengths : sequence of int
        Of the examples: those of like length share a batch.
    read : callable
        Takes the model and a batch to a tensor ``[B, ...]``.
    collate : callable
        Makes a batch.
    patch_size, most_entries : int
        See :func:`batches_by_length`.

    Raises
    ------
    InputError
        What it says is not finite.
    """
    outputs: list[NDArray] = [np.empty(0)] * len(examples)
    model.eval()
    for indices in batches_by_length(lengths, patch_size, most_entries=most_entries):
        batch = collate([examples[index] for index in indices])
        batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
        for index, values in zip(indices, read(model, batch).float().cpu().numpy(), strict=True):
            outputs[index] = values
    return finite(np.stack(outputs))


def finite(outputs: NDArray) -> NDArray:
    """Return a network's outputs ``(cases, ...)``; raise :class:`InputError` unless all are finite.

    Otherwise scores would be NaN, and the class the first.
    """
    broken = ~np.isfinite(outputs).reshape(len(outputs), -1).all(axis=1)
    if broken.any():
        raise InputError(
            f"the network's output for case {broken.argmax()} is not finite: its training "
            "diverged, with too high a learning rate, or the case has extreme values."
        )
    return outputs


def batches_by_length(
    lengths: Sequence[int], patch_size: int = 1, most: int = 64, most_entries: int = 2**22
) -> list[list[int]]:
    """Group indices by length; a batch's maps have at most ``most_entries`` entries a head."""
    batches: list[list[int]] = [[]]
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        entries = (len(batches[-1]) + 1) * (lengths[index] / patch_size) ** 2
        if batches[-1] and (len(batches[-1]) == most or entries > most_entries):
            batches.append([])
        batches[-1].append(index)
    return batches


def probability_table(predicted: NDArray, logits: NDArray, classes: Iterable[Any]) -> pd.DataFrame:
    """Return a row a case: the ``prediction``, and the probability of each class."""
    names = [f"probability_{label}" for label in classes]
    table = pd.DataFrame(softmax(logits.astype(np.float64), axis=1), columns=names)
    table.insert(0, "prediction", predicted)
    return table


def unknown_option(name: str, names: Sequence[str]) -> InputError:
    """Return the error that tells of an option which the model does not have."""
    hint = close_to(name, names) or f": it has {', '.join(names)}"
    return InputError(f"the model has no option {name!r}{hint}.")
