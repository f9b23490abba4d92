"""How good a recipe is on parts of TRAIN that did not train it. TEST is never opened."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import KFold, StratifiedKFold

from evolving_attention.errors import InputError
from evolving_attention.recipe import Recipe, TrainingOptions
from evolving_attention.tasks.contracts import Data, Task
from evolving_attention.tasks.family import family_of
from evolving_attention.training import TrainedNetwork, train_network

__all__ = ["HELD_OUT", "score"]

#: Share of TRAIN that scores a trial, where the recipe holds none out.
HELD_OUT = 0.2


def score(
    recipe: Recipe,
    data: Data,
    folds: int,
    after_fold: Callable[[int, float], None] = lambda fold, mean: None,
) -> float:
    """Return the mean over folds of the recipe's metric on the part that is held out.

    Parameters
    ----------
    recipe : Recipe
        What is trained, for each fold from the same seed. A part that it holds out to choose the
        epoch is taken from the fold's training part.
    data : Data
        TRAIN.
    folds : int
        1: a single held-out part, the recipe's ``training.validation`` or a fifth.
    after_fold : callable
        Is given the number of each fold that is done and the mean so far.
    """
    figures: list[float] = []
    for fold, figure in enumerate(_figures(recipe, data, folds)):
        figures.append(figure)
        after_fold(fold, float(np.mean(figures)))
    return float(np.mean(figures))


def _figures(recipe: Recipe, data: Data, folds: int) -> Iterator[float]:
    if data.targets is None:
        raise InputError(f"{recipe.data.train} has no targets to tune on.")
    if folds == 1:
        yield _held_out_figure(recipe, data)
        return
    for train, rest in _folds(recipe, data.targets, folds):
        task, network = _trained(recipe, data.take(train), recipe.training)
        yield task.evaluate(network.model, data.take(rest))[family_of(recipe).metric_of(recipe)[0]]


def _held_out_figure(recipe: Recipe, data: Data) -> float:
    """Return the figure of the epoch that the recipe would take: the chosen one, or the last."""
    share = recipe.training.validation
    options = replace(recipe.training, validation=share or HELD_OUT, refit=False)
    _, network = _trained(recipe, data, options)
    figures = {entry["epoch"]: entry for entry in network.history}
    chosen = figures[network.epoch if share else max(figures)]
    name = f"validation_{family_of(recipe).metric_of(recipe)[0]}"
    if name not in chosen:
        raise InputError(
            f"{recipe.data.train} has too few {family_of(recipe).inputs} to hold some out."
        )
    return chosen[name]


def _trained(recipe: Recipe, data: Data, options: TrainingOptions) -> tuple[Task, TrainedNetwork]:
    task = family_of(recipe).task_to_train(replace(recipe, training=options))
    network = train_network(task, data, recipe.model, options, seed=recipe.seed)
    if network.interrupted:
        raise KeyboardInterrupt
    return task, network


def _folds(recipe: Recipe, targets: NDArray, folds: int) -> Iterator[tuple[NDArray, NDArray]]:
    """Split into folds, classes spread evenly; classes with fewer series than folds only train."""
    everything, strata = np.arange(len(targets)), None
    spread = everything
    if recipe.kind == "classification":
        _, strata, counts = np.unique(targets, return_inverse=True, return_counts=True)
        spread = everything[counts[strata] >= folds]
        strata = strata[spread]
    if len(spread) < folds:
        raise InputError(
            f"{recipe.data.train} has too few {family_of(recipe).inputs} for {folds} folds."
        )
    splitter = (KFold if strata is None else StratifiedKFold)(
        folds, shuffle=True, random_state=recipe.seed
    )
    for _, rest in splitter.split(spread, strata):
        yield np.setdiff1d(everything, spread[rest]), spread[rest]
