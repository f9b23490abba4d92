"""Profiles: the measures of every layer and head of a network, over many series."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from evolving_attention.attention import probabilities
from evolving_attention.errors import InputError
from evolving_attention.inspection import measures
from evolving_attention.inspection.maps import check_attention, inputs_of
from evolving_attention.inspection.steps import Steps, recorded_steps

__all__ = ["MEASURES", "profile", "profile_of_steps", "summary"]

#: The columns of a profile: what a measure is called, and what its numbers say.
MEASURES: dict[str, tuple[str, str]] = {
    "entropy": ("entropy of attention", "0: one key, 1: all alike"),
    "scale": ("contrast of the map", "deviation within rows"),
    "distance": ("distance attended over", "mean |query − key|, 1: if even"),
    "agreement": ("agreement of heads", "mean cosine, 1: all alike"),
    "divergence": ("change of probabilities", "Jensen–Shannon, bits"),
    "change": ("change from the map before", "|map − before| / |before|"),
    "likeness": ("likeness to the map before", "cosine, 1: the same pattern"),
    "kept": ("the map before in the mix", "its share, by norm"),
    "added": ("what the convolution changes", "|map − mixed| / |mixed|"),
    "silenced": ("what the activation changes", "share of entries"),
}


@torch.inference_mode()
def profile(model: PreTrainedModel, processor: Any, examples: Iterable[Any]) -> pd.DataFrame:
    """Measure every layer and head of a network on each of many series.

    Parameters
    ----------
    model : PreTrainedModel
        A network in evaluation mode.
    processor
        Its processor.
    examples : iterable
        Series, texts or images, as they are given; see :func:`~.maps.inputs_of`.

    Returns
    -------
    DataFrame
        A row for each series, layer and head, all from 1 but the series; columns ``series``,
        ``layer``, ``head`` and those of :data:`MEASURES`. NaN where there is nothing to measure,
        such as the residual of a first layer.

    Raises
    ------
    InputError
        The network has no attention, or there is no example.
    """
    check_attention(model)
    rows = []
    for number, example in enumerate(examples):
        with recorded_steps(model) as layers:
            model(**inputs_of(model, processor, example))
        for layer, steps in enumerate(layers, start=1):
            table = pd.DataFrame(profile_of_steps(steps))
            table.insert(0, "head", range(1, len(table) + 1))
            table.insert(0, "layer", layer)
            table.insert(0, "series", number)
            rows.append(table)
    if not rows:
        raise InputError("there is no example to measure; give one or more.")
    return pd.concat(rows, ignore_index=True)


def profile_of_steps(steps: Steps, case: int = 0) -> dict[str, NDArray[np.floating]]:
    """Return every measure of a layer, ``[H]`` each, for one series of the batch."""
    map_HNM, mask = _array(steps.map_BHNM, case), steps.mask
    mask_NM = None if mask is None else mask.expand_as(steps.map_BHNM)[case, 0].cpu().numpy()
    probabilities_HNM = _array(probabilities(steps.map_BHNM, mask), case)
    found = {
        "entropy": measures.entropy(probabilities_HNM, mask_NM),
        "scale": measures.scale(map_HNM, mask_NM),
        "distance": measures.attended_distance(probabilities_HNM, mask_NM),
        "agreement": measures.agreement(probabilities_HNM),
    }
    if steps.previous_BHNM is not None:
        before_HNM = _array(steps.previous_BHNM, case)
        found |= {
            "divergence": measures.divergence(
                probabilities_HNM, _array(probabilities(steps.previous_BHNM, mask), case)
            ),
            "change": measures.change(map_HNM, before_HNM, mask_NM),
            "likeness": measures.likeness(map_HNM, before_HNM, mask_NM),
        }
    found |= _evolution(steps, case, map_HNM, mask_NM)
    nothing_H = np.full(len(map_HNM), np.nan)
    return {name: found.get(name, nothing_H) for name in MEASURES}


def _evolution(
    steps: Steps, case: int, map_HNM: NDArray, mask_NM: NDArray | None
) -> dict[str, NDArray[np.floating]]:
    found: dict[str, NDArray[np.floating]] = {}
    if steps.mixed_BHNM is None:
        return found
    mixed_HNM = _array(steps.mixed_BHNM, case)
    if steps.residual_BHNM is not None:
        residual_HNM = _array(steps.residual_BHNM, case)
        found["kept"] = measures.share(residual_HNM, mixed_HNM - residual_HNM, mask_NM)
    if steps.convolved_BHNM is not None and steps.activated_BHNM is not None:
        found["added"] = measures.change(map_HNM, mixed_HNM, mask_NM)
        found["silenced"] = measures.changed_share(
            _array(steps.convolved_BHNM, case), _array(steps.activated_BHNM, case), mask_NM
        )
    return found


def _array(tensor: Tensor, case: int) -> NDArray[np.floating]:
    return tensor[case].float().cpu().numpy()


def summary(table: pd.DataFrame, by: str = "network") -> pd.DataFrame:
    """Average a profile over heads, then over series.

    Parameters
    ----------
    table : DataFrame
        Profiles, one below the other.
    by : str
        The column that tells them apart.

    Returns
    -------
    DataFrame
        A row for each network and layer; columns (measure, "mean" or "std"), the deviation being
        that over series.
    """
    series = table.groupby([by, "series", "layer"], sort=False)[[*MEASURES]].mean()
    grouped = series.groupby(level=[by, "layer"], sort=False)
    return grouped.agg(["mean", "std"])
