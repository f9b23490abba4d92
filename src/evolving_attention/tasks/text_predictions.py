"""What a network says of encoded texts."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

__all__ = ["read_texts_out"]


@torch.inference_mode()
def read_texts_out(
    collate: Callable[[list[dict[str, Any]]], dict[str, Tensor]],
    model: PreTrainedModel,
    examples: list[dict[str, Any]],
    read: Callable[[PreTrainedModel, dict[str, Tensor]], Tensor],
) -> NDArray[np.float32]:
    """Return what a network says of each encoded text, in their order: ``(cases, ...)``.

    Texts of like length share a batch.

    Parameters
    ----------
    collate : callable
        Makes a batch.
    model : PreTrainedModel
        Set to evaluation mode.
    examples : list of dict
        Each has ``input_ids``.
    read : callable
        Takes the model and a batch to a tensor ``[B, ...]``.
    """
    model.eval()
    outputs: list[NDArray] = [np.empty(0)] * len(examples)
    for indices in _batches([len(example["input_ids"]) for example in examples]):
        batch = collate([examples[index] for index in indices])
        batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
        for index, values in zip(indices, read(model, batch).float().cpu().numpy(), strict=True):
            outputs[index] = values
    return np.stack(outputs)


def _batches(lengths: list[int], most: int = 64, most_entries: int = 2**20) -> Iterator[list[int]]:
    """Yield numbers of texts of like length; a batch's maps have so many entries a head."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        entries = (len(batch) + 1) * lengths[index] ** 2
        if batch and (len(batch) == most or entries > most_entries):
            yield batch
            batch = []
        batch.append(index)
    yield batch
