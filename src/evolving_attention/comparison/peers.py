"""Estimators of aeon as black boxes: the same splits, the same figures as for our networks."""

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from aeon.classification.convolution_based import MultiRocketHydraClassifier, RocketClassifier
from aeon.classification.interval_based import QUANTClassifier
from aeon.regression.convolution_based import MultiRocketHydraRegressor, RocketRegressor
from aeon.regression.interval_based import QUANTRegressor
from aeon.transformations.collection import SimpleImputer
from aeon.transformations.collection.unequal_length import Padder, Truncator
from numpy.typing import NDArray

from evolving_attention.errors import InputError
from evolving_attention.recipe import TimeSeriesRecipe
from evolving_attention.tasks.time_series import TimeSeriesTask
from evolving_attention.tasks.time_series_data import Collection
from evolving_attention.tasks.time_series_family import FAMILY
from evolving_attention.tasks.time_series_processor import observed_length

__all__ = ["ESTIMATORS", "equal_series", "run_peer"]

#: By name: classifier and regressor.
ESTIMATORS: dict[str, dict[str, Callable[..., Any]]] = {
    "rocket": {"classification": RocketClassifier, "regression": RocketRegressor},
    "multirocket_hydra": {
        "classification": MultiRocketHydraClassifier,
        "regression": MultiRocketHydraRegressor,
    },
    "quant": {"classification": QUANTClassifier, "regression": QUANTRegressor},
}

_SHORTEST = 10  # steps that all of them can take


def run_peer(name: str, recipe: TimeSeriesRecipe) -> tuple[dict[str, Any], str]:
    """Fit a peer on the recipe's training part and measure it on its test part.

    Parameters
    ----------
    name : str
        One of :data:`ESTIMATORS`.
    recipe : TimeSeriesRecipe
        Gives data, task and seed.

    Returns
    -------
    tuple of dict and str
        The figures, with ``train_seconds``; what was done to the series, or an empty string.
    """
    training, test = FAMILY.load(recipe)
    if training.targets is None or test is None or test.targets is None:
        raise InputError(f"{recipe.data.train} has no labelled training and test part.")
    started = time.perf_counter()
    train_X, test_X, note = equal_series(training.series, test.series)
    estimator = _make(name, recipe)
    estimator.fit(train_X, training.targets)
    seconds = round(time.perf_counter() - started, 1)
    task = TimeSeriesTask(recipe.kind)
    if recipe.kind == "regression":
        task.processor.fit_targets(training.targets)
        outputs = task.processor.encode(estimator.predict(test_X))
    else:
        task.processor.fit_classes(training.targets)
        shares = np.asarray(estimator.predict_proba(test_X), dtype=np.float64)
        outputs = np.log(np.maximum(shares, np.finfo(np.float64).tiny))
    figures: dict[str, Any] = dict(task.measure(outputs, test.targets))
    if recipe.kind == "classification" and np.isin(shares, (0, 1)).all():
        del figures["log_loss"]  # it names a class and gives no probabilities
    return figures | {"train_seconds": seconds}, note


def _make(name: str, recipe: TimeSeriesRecipe) -> Any:
    make = ESTIMATORS[name][recipe.kind]
    jobs = {} if name == "quant" else {"n_jobs": torch.get_num_threads()}
    return make(random_state=recipe.seed, **jobs)


def equal_series(train: Collection, test: Collection) -> tuple[NDArray, NDArray, str]:
    """Make arrays (cases, channels, steps) of series of unequal lengths with missing values.

    Missing values become the mean of their series and channel, or 0 without any; shorter series
    are padded with zeros to the longest of the training part, and longer ones truncated.
    """
    parts = [[series[:, : observed_length(series)] for series in part] for part in (train, test)]
    lengths = [series.shape[1] for part in parts for series in part]
    steps = max(max(series.shape[1] for series in parts[0]), _SHORTEST)
    done = []
    if any(np.isnan(series).any() for part in parts for series in part):
        done.append("missing values filled with means")
        parts = [_filled(part) for part in parts]
    if {steps} != set(lengths):
        done.append(f"series padded with zeros or truncated to {steps} steps")
    padder = Padder(padded_length=steps, error_on_long=False)
    truncator = Truncator(truncated_length=steps)
    arrays = [np.asarray(truncator.transform(padder.transform(part))) for part in parts]
    return arrays[0], arrays[1], ", ".join(done)


def _filled(part: Collection) -> Collection:
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # an empty channel
        filled = SimpleImputer("mean").transform(part)
        return list(SimpleImputer("constant", fill_value=0.0).transform(filled))
