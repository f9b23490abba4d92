"""The chain of maps of one input: what a trained network attends to, layer by layer.

Shape letters: L attention layers, H heads, N positions, C channels, T steps.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from evolving_attention.errors import InputError
from evolving_attention.runs import Run
from evolving_attention.tasks.time_series import collate
from evolving_attention.tasks.time_series_data import load_file

__all__ = ["Chain", "chain_of_maps"]


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
    """

    title: str
    series: NDArray[np.floating]
    maps: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    patch_size: int


@torch.inference_mode()
def chain_of_maps(run: Run, sample: int, path: str | None = None) -> Chain:
    """Run one series through a trained network and keep its maps.

    Parameters
    ----------
    run : Run
        The network.
    sample : int
        Number of the series, from 0.
    path : str, optional
        A file of series. Default: the test part of the run's data.
    """
    data = run.data()[1] if path is None else load_file(Path(path), run.recipe.data.layout, "test")
    if data is None:
        raise InputError(f"{run.recipe.data.train} has no test part; say --input FILE.")
    if not 0 <= sample < len(data.series):
        raise InputError(
            f"there is no series {sample}; they are numbered from 0 to {len(data.series) - 1}."
        )
    series = data.series[sample]
    inputs = collate([{"input_values": run.task.processor([series])[0]}])
    inputs = {name: tensor.to(run.model.device) for name, tensor in inputs.items()}
    output = run.model(**inputs, output_maps=True, output_attentions=True)
    if not output.maps:
        raise InputError(
            f"{run.folder} has no attention to look at: its key_ratio and value_ratio are 0."
        )
    predicted = run.task.processor.decode(output.logits.float().cpu().numpy())[0]
    target = "" if data.targets is None else f", target {data.targets[sample]}"
    return Chain(
        f"series {sample}{target}, predicted {predicted}",
        series,
        _stack(output.maps),
        _stack(output.attentions),
        run.model.config.patch_size,
    )


def _stack(layers: tuple[torch.Tensor, ...]) -> NDArray[np.float32]:
    return torch.cat(layers).float().cpu().numpy()
