"""The chain of maps of one input: what a trained network attends to, layer by layer.

Shape letters: L attention layers, H heads, N positions, C channels, T steps.
"""

from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from transformers import PreTrainedModel

from evolving_attention.attention import EvolvingAttention
from evolving_attention.errors import InputError
from evolving_attention.inspection.chain import Chain
from evolving_attention.inspection.text_maps import chain_of_texts, token_inputs
from evolving_attention.runs import Run
from evolving_attention.tasks.contracts import Data
from evolving_attention.tasks.image_data import ImageData
from evolving_attention.tasks.image_processor import ImageProcessor
from evolving_attention.tasks.parallel_texts import ParallelTexts
from evolving_attention.tasks.text_data import LabelledTexts
from evolving_attention.tasks.time_series_batches import collate
from evolving_attention.tasks.time_series_data import as_collection
from evolving_attention.tasks.time_series_processor import TimeSeriesProcessor

__all__ = [
    "Chain",
    "chain_of",
    "chain_of_maps",
    "chain_of_series",
    "check_attention",
    "examples_of",
    "inputs_of",
    "sample_of",
    "spread_over",
]

D = TypeVar("D", bound=Data)


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
    return chain_of(run, *sample_of(run.inputs(path), sample))


def sample_of(data: Data, number: int) -> tuple[Any, str]:
    """Return one example of a collection, and what to call it: "series 3, target 1"."""
    called = _CALLED.get(type(data), "series")
    if not len(data):
        raise InputError(f"there is no {called} to show.")
    if not 0 <= number < len(data):
        raise InputError(
            f"there is no {called} {number}; they are numbered from 0 to {len(data) - 1}."
        )
    target = "" if data.targets is None else f", target {data.targets[number]}"
    return examples_of(data)[number], f"{called} {number}{target}"


#: What one of a collection is called, if not a series.
_CALLED: dict[type, str] = {
    LabelledTexts: "text",
    ParallelTexts: "sentence",
    ImageData: "image",
}


def chain_of(run: Run, example: Any, title: str) -> Chain:
    """Take one example, a series or texts, through a run's network and keep its maps."""
    if isinstance(example, tuple):
        return chain_of_texts(run.model, run.task, example, title)
    return chain_of_series(run.model, run.task.processor, example, title)


def examples_of(data: Data) -> Any:
    """Return the series, texts or images of a collection, by number."""
    if isinstance(data, ImageData):
        return data.images
    return data.texts if isinstance(data, LabelledTexts) else data.series  # type: ignore[attr-defined]


def spread_over(data: D, count: int) -> D:
    """Return so many examples, evenly spaced: files are often sorted by class."""
    if count < 1:
        raise InputError(f"samples must be at least 1, got {count}.")
    return data.take(np.unique(np.linspace(0, len(data) - 1, count).round().astype(int)))


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
        What to call it.
    """
    (values,) = as_collection([series])
    check_attention(model)
    output = model(**inputs_of(model, processor, values), output_maps=True, output_attentions=True)
    prediction = ""
    if "logits" in output:  # a network that is only pretrained predicts no label
        prediction = str(processor.decode(output.logits.float().cpu().numpy())[0])
    return Chain(
        title,
        values,
        _stack(output.maps),
        _stack(output.attentions),
        model.config.patch_size,
        prediction,
    )


def inputs_of(model: PreTrainedModel, processor: Any, example: Any) -> dict[str, torch.Tensor]:
    """Return one series, image or text as a batch for a network."""
    if isinstance(processor, ImageProcessor):
        return {"pixel_values": processor([example]).to(model.device)}
    if isinstance(example, tuple):
        return token_inputs(model, processor, example)
    batch = collate([{"input_values": processor([example])[0]}])
    return {name: tensor.to(model.device) for name, tensor in batch.items()}


def check_attention(model: PreTrainedModel) -> None:
    """Raise :class:`InputError` for a network without attention layers."""
    if not any(isinstance(module, EvolvingAttention) for module in model.modules()):
        raise InputError(
            "the network has no attention to look at: its key_ratio and value_ratio are 0."
        )


def _stack(layers: tuple[torch.Tensor, ...]) -> NDArray[np.float32]:
    return torch.cat(layers).float().cpu().numpy()
