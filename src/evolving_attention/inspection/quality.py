"""The quality of maps: how well a small network that sees nothing else predicts the target.

Shape letters: B series, H heads, N positions, P side of a pooled map, L layers.

After Wang et al., who judge the maps of each layer by the accuracy of a small convolutional network
that is given only them.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, r2_score
from torch import Tensor, nn
from transformers import PreTrainedModel

from evolving_attention.errors import InputError
from evolving_attention.inspection.maps import check_attention, examples_of, inputs_of
from evolving_attention.tasks.contracts import Data
from evolving_attention.training import seeded

__all__ = ["map_quality", "pooled_maps", "reader_score"]

#: Side of the image that a map is pooled to, whatever the series' length.
SIDE = 24


def map_quality(
    model: PreTrainedModel,
    processor: Any,
    train: Data,
    test: Data,
    *,
    show: str = "probabilities",
    seeds: Sequence[int] = (0, 1, 2),
) -> pd.DataFrame:
    """Score the maps of every layer by what a small convolutional network makes of them.

    Parameters
    ----------
    model, processor
        The network whose maps are judged.
    train, test : LabelledSeries or ImageData
        What the small network learns from, and what it is scored on.
    show : {"probabilities", "map"}
        What it sees: after the softmax, or before it.
    seeds : sequence of int
        One small network each.

    Returns
    -------
    DataFrame
        A row for each layer and seed: ``layer``, ``seed``, ``score``, the accuracy, or R² where
        targets are numbers; and ``chance``, the score of the commonest training class, or of the
        training mean.
    """
    targets = [_encoded(processor, part) for part in (train, test)]
    train_LBHPP, test_LBHPP = (
        pooled_maps(model, processor, examples_of(part), show) for part in (train, test)
    )
    chance = _chance(*targets)
    rows = [
        {"layer": layer, "seed": seed, "score": score, "chance": chance}
        for layer, (seen, unseen) in enumerate(zip(train_LBHPP, test_LBHPP, strict=True), start=1)
        for seed in seeds
        for score in [reader_score(seen, targets[0], unseen, targets[1], seed)]
    ]
    return pd.DataFrame(rows)


def _encoded(processor: Any, part: Data) -> NDArray:
    if not hasattr(processor, "classes") and not hasattr(processor, "target_mean"):
        raise InputError(
            "the quality of maps is measured on targets; this run has learned without labels."
        )
    if part.targets is None:
        raise InputError("the quality of maps is measured on targets, and these series have none.")
    return processor.encode(part.targets)


def _chance(train: NDArray, test: NDArray) -> float:
    if train.ndim == 1:
        return float(np.mean(test == np.bincount(train).argmax()))
    return float(r2_score(test, np.broadcast_to(train.mean(0), test.shape)))


@torch.inference_mode()
def pooled_maps(
    model: PreTrainedModel,
    processor: Any,
    examples: Iterable[Any],
    show: str = "probabilities",
) -> Tensor:
    """Return every layer's maps of every example as images of one size, ``[L, B, H, P, P]``.

    Maps are averaged, or repeated, to P x P; probabilities are first multiplied by the number of
    positions, so that even attention is 1 for long series too.
    """
    check_attention(model)
    if show not in ("probabilities", "map"):
        raise InputError(f"show must be 'probabilities' or 'map', got {show!r}.")
    images = []
    for example in examples:
        inputs = inputs_of(model, processor, example)
        output = model(**inputs, output_maps=True, output_attentions=True)
        layers = output.maps if show == "map" else output.attentions
        images.append(torch.cat([_pooled(layer_1HNN, show) for layer_1HNN in layers]).cpu())
    return torch.stack(images, dim=1)


def _pooled(layer_1HNN: Tensor, show: str) -> Tensor:
    layer_1HNN = layer_1HNN.float()
    if show != "map":
        layer_1HNN = layer_1HNN * layer_1HNN.shape[-1]
    return F.adaptive_avg_pool2d(layer_1HNN, SIDE)


def reader_score(
    train_BHPP: Tensor, train_targets: NDArray, test_BHPP: Tensor, test_targets: NDArray, seed: int
) -> float:
    """Train a small convolutional network on one layer's maps and score it on others.

    Parameters
    ----------
    train_BHPP, test_BHPP : Tensor
        Maps, heads as channels.
    train_targets, test_targets : array of int, shape (B,), or of float, shape (B, targets)
        Classes, scored by accuracy, or numbers, scored by R².
    seed : int
        Of initialisation and order.
    """
    is_class = train_targets.ndim == 1
    outputs = int(train_targets.max()) + 1 if is_class else train_targets.shape[1]
    with seeded(seed):
        reader = _train(
            _reader(train_BHPP.shape[1], outputs),
            train_BHPP.clone(),  # made in inference mode: autograd may not save it
            torch.from_numpy(train_targets),
            nn.CrossEntropyLoss() if is_class else nn.MSELoss(),
        )
    with torch.inference_mode():
        predicted = torch.cat([reader(part) for part in test_BHPP.split(256)]).numpy()
    if is_class:
        return float(accuracy_score(test_targets, predicted.argmax(1)))
    return float(r2_score(test_targets, predicted))


def _reader(heads: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.BatchNorm2d(heads, affine=False),  # maps before the softmax have any scale
        nn.Conv2d(heads, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(32 * 16, outputs),
    )


def _train(
    reader: nn.Module, images_BHPP: Tensor, targets: Tensor, criterion: nn.Module, epochs: int = 20
) -> nn.Module:
    """Fit the reader by a fixed recipe.

    A loop and no Trainer: all data are two tensors in memory, nothing is saved, resumed or logged,
    and a Trainer would take longer to set up than this takes to run.
    """
    steps = epochs * -(-len(images_BHPP) // 32)
    optimizer = torch.optim.AdamW(reader.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(images_BHPP)).split(32):
            loss = criterion(reader(images_BHPP[batch]), targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return reader.eval()
