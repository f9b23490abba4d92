"""The chain of maps of one input: what a trained network attends to, layer by layer.

Shape letters: L attention layers, H heads, N positions, C channels, T steps.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from transformers import PreTrainedModel

from evolving_attention.attention import EvolvingAttention
from evolving_attention.errors import InputError
from evolving_attention.runs import Run
from evolving_attention.tasks.time_series_batches import collate
from evolving_attention.tasks.time_series_data import LabelledSeries, as_collection
from evolving_attention.tasks.time_series_processor import TimeSeriesProcessor

__all__ = [
    "Chain",
    "chain_of_maps",
    "chain_of_series",
    "check_attention",
    "inputs_of",
    "series_of",
    "spread_over",
]


@dataclass
class Chain:
    """The maps of one series.

    Attributes
    ----------
    title : str
        Which series it is, its target and the prediction.
    series : array of shape (C, T)
        As it was given.
    maps, probabilities : array of shape (L, H, N, N)
        Logits before the softmax, and what comes after it.
    patch_size : int
        Steps a position.
    network : str
        What the network is called, where there are several.
    """

    title: str
    series: NDArray[np.floating]
    maps: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    patch_size: int
    network: str = ""


def chain_of_maps(run: Run, sample: int, path: str | None = None) -> Chain:
    """Take one series of a run's data through its network and keep the maps.

    Parameters
    ----------
    run : Run
        The network.
    sample : int
        Number of the series, from 0.
    path : str, optional
        A file of series. Default: the test part of the run's data.
    """
    data = series_of(run, path)
    if not 0 <= sample < len(data.series):
        raise InputError(
            f"there is no series {sample}; they are numbered from 0 to {len(data.series) - 1}."
        )
    target = "" if data.targets is None else f", target {data.targets[sample]}"
    series = data.series[sample]
    return chain_of_series(run.model, run.task.processor, series, f"series {sample}{target}")


def series_of(run: Run, path: str | None = None) -> LabelledSeries:
    """Return the series of a file, or the test part of a run's data."""
    data = run.inputs(path)
    assert isinstance(data, LabelledSeries)
    return data


def spread_over(data: LabelledSeries, count: int) -> LabelledSeries:
    """Return so many series, evenly spaced: files are often sorted by class."""
    if count < 1:
        raise InputError(f"samples must be at least 1, got {count}.")
    chosen = np.unique(np.linspace(0, len(data.series) - 1, count).round().astype(int))
    targets = None if data.targets is None else data.targets[chosen]
    return LabelledSeries([data.series[index] for index in chosen], targets)


@torch.inference_mode()
def chain_of_series(
    model: PreTrainedModel, processor: TimeSeriesProcessor, series: ArrayLike, title: str = "series"
) -> Chain:
    """Take one series through a network and keep its maps.

    Parameters
    ----------
    model : PreTrainedModel
        A network, such as ``classifier.members_[0][1].model`` of an estimator.
    processor : TimeSeriesProcessor
        Its processor, such as ``classifier.members_[0][0].processor``.
    series : array of shape (C, T)
        The series, as it is.
    title : str
        What to call it; the prediction, where there is one, is added.
    """
    (values,) = as_collection([series])
    check_attention(model)
    output = model(**inputs_of(model, processor, values), output_maps=True, output_attentions=True)
    if "logits" in output:  # a network that is only pretrained predicts no label
        title += f", predicted {processor.decode(output.logits.float().cpu().numpy())[0]}"
    return Chain(
        title,
        values,
        _stack(output.maps),
        _stack(output.attentions),
        model.config.patch_size,
    )


def inputs_of(
    model: PreTrainedModel, processor: TimeSeriesProcessor, series: NDArray
) -> dict[str, torch.Tensor]:
    """Return one series as a batch for a network."""
    batch = collate([{"input_values": processor([series])[0]}])
    return {name: tensor.to(model.device) for name, tensor in batch.items()}


def check_attention(model: PreTrainedModel) -> None:
    """Raise :class:`InputError` for a network without attention layers."""
    if not any(isinstance(module, EvolvingAttention) for module in model.modules()):
        raise InputError(
            "the network has no attention to look at: its key_ratio and value_ratio are 0."
        )


def _stack(layers: tuple[torch.Tensor, ...]) -> NDArray[np.float32]:
    return torch.cat(layers).float().cpu().numpy()
