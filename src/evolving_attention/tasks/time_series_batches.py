"""Batches of processed series, and what a network says of series in such batches.

Shape letters: B batch, T steps, F features (channels of the series).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset
from transformers import PreTrainedModel

from evolving_attention.attention import overwriting_maps
from evolving_attention.recipe import AugmentationOptions
from evolving_attention.tasks.augmentation import augment
from evolving_attention.tasks.networks import read_by_length
from evolving_attention.tasks.time_series_data import Collection
from evolving_attention.tasks.time_series_processor import TimeSeriesProcessor

__all__ = ["TimeSeriesDataset", "collate", "predict_logits", "read_out"]


@dataclass
class TimeSeriesDataset(Dataset[dict[str, Any]]):
    """Processed series and their encoded targets; with ``augmentation``, a variation each time."""

    inputs: list[NDArray[np.float32]]
    targets: NDArray
    augmentation: AugmentationOptions = field(default_factory=lambda: AugmentationOptions(0.0))

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        series_TF = augment(torch.from_numpy(self.inputs[index]), self.augmentation)
        return {"input_values": series_TF.numpy(), "labels": self.targets[index]}


def collate(examples: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Pad processed series to the longest of the batch.

    Returns
    -------
    dict
        ``input_values [B, T, F]``; ``attention_mask [B, T]``, 1 at real steps, where lengths
        differ; ``labels`` where there are any.
    """
    series = [torch.from_numpy(example["input_values"]) for example in examples]
    batch = {"input_values": pad_sequence(series, batch_first=True)}
    if len({len(values) for values in series}) > 1:
        real = [torch.ones(len(values), dtype=torch.long) for values in series]
        batch["attention_mask"] = pad_sequence(real, batch_first=True)
    if "labels" in examples[0]:
        batch["labels"] = torch.from_numpy(np.stack([example["labels"] for example in examples]))
    return batch


def predict_logits(
    model: PreTrainedModel, processor: TimeSeriesProcessor, series: Collection
) -> NDArray[np.float32]:
    """Return a network's outputs ``(cases, labels)`` for raw series, in their order."""
    examples = [{"input_values": values} for values in processor(series)]
    return read_out(model, examples, lambda model, batch: model(**batch).logits)


def read_out(
    model: PreTrainedModel,
    examples: list[dict[str, Any]],
    read: Callable[[PreTrainedModel, dict[str, Tensor]], Tensor],
    collate: Callable[[list[dict[str, Any]]], dict[str, Tensor]] = collate,
) -> NDArray[np.float32]:
    """Return what a network says of each processed series, in their order: ``(cases, ...)``.

    ``read`` looks at no map: one may be written over another.

    Series of like length share a batch, and a batch is as large as its maps allow; see
    :func:`~evolving_attention.tasks.networks.read_by_length`.
    """
    lengths = [len(example["input_values"]) for example in examples]
    patch_size = model.config.patch_size
    with overwriting_maps():
        return read_by_length(model, examples, lengths, read, collate, patch_size=patch_size)
