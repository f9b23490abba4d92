"""The one training entry: a network, its data and its options, on :class:`transformers.Trainer`.

Its parts are in :mod:`evolving_attention.trainer`.
"""

from pathlib import Path
from typing import Any

import numpy as np

from evolving_attention.recipe import TrainingOptions
from evolving_attention.trainer.arguments import check_options, check_seed
from evolving_attention.trainer.budget import number_of_epochs
from evolving_attention.trainer.checkpoints import Checkpoints
from evolving_attention.trainer.chosen import chosen_network, keep_chosen
from evolving_attention.trainer.contracts import TrainedNetwork, TrainingTask
from evolving_attention.trainer.fitting import Fitting
from evolving_attention.trainer.processes import (
    connect,
    first_alone,
    is_first,
    process_count,
    tell,
    together,
)
from evolving_attention.trainer.quiet import quiet
from evolving_attention.trainer.randomness import seeded

__all__ = [
    "TrainedNetwork",
    "TrainingTask",
    "check_options",
    "check_seed",
    "quiet",
    "seeded",
    "train_network",
]


def train_network(
    task: TrainingTask,
    data: Any,
    model_options: dict[str, Any],
    options: TrainingOptions,
    *,
    seed: int = 0,
    progress: bool = False,
    checkpoints: Checkpoints | None = None,
    tensorboard: Path | None = None,
) -> TrainedNetwork:
    """Train a network on a task's data.

    A part of the data may be held out to choose the epoch, as ``options`` say; with
    ``options.refit`` a second network is then trained on all of it for that many epochs. Ctrl-C
    keeps the best weights so far.

    Parameters
    ----------
    task : TrainingTask
        Splits, processes and collates the data and builds the model.
    data
        What the task splits.
    model_options : dict
        Options of the model's configuration.
    options : TrainingOptions
        How to train.
    seed : int
        Of initialisation, data order, split and dropout. The global random states are left as they
        were.
    progress : bool
        Whether to show a progress bar.
    checkpoints : Checkpoints, optional
        Where the training writes where it stands. If it stood somewhere already it goes on from
        there, to the bit; all else must be as it was.
    tensorboard : Path, optional
        Folder for TensorBoard's files.

    Notes
    -----
    Under torchrun or ``accelerate launch`` every process calls this, and all return the same
    network. Ctrl-C then ends them; checkpoints stay.
    """
    check_options(options)
    check_seed(seed)
    connect()
    fitting = Fitting(task, options, seed, progress and is_first(), checkpoints, tensorboard)
    with seeded(seed):
        train, validation = together(lambda: task.split(data, options.validation, seed))
        if options.validation and validation is None:
            tell(
                f"a share of {options.validation:g} of these data cannot be held out to choose the "
                "epoch: everything trains, and the last epoch is taken (training.validation)"
            )
        tokens = int(np.sum(train.sizes)) if hasattr(train, "sizes") else None
        cases = len(train)  # type: ignore[arg-type]
        fitting.epochs = number_of_epochs(options, cases, tokens)
        model = together(lambda: task.build_model(model_options))
        refits = options.refit and validation is not None
        kept = chosen_network(checkpoints, model, fitting.clock) if checkpoints else None
        network = kept or fitting.fit(model, train, validation, "first")
    if refits and not network.interrupted:
        if checkpoints and not kept:
            first_alone(lambda: keep_chosen(checkpoints, network, fitting.clock))
        network = _refit(fitting, data, model_options, network)
    network.seconds = fitting.clock.seconds
    return network


def _refit(
    fitting: Fitting, data: Any, model_options: dict[str, Any], chosen: TrainedNetwork
) -> TrainedNetwork:
    """Train on everything for the chosen number of epochs; Ctrl-C leaves the chosen network."""
    task, seed = fitting.task, fitting.seed
    processor = task.processor
    try:
        with seeded(seed):
            everything, _ = task.split(data, 0.0, seed)
            model = task.build_model(model_options)
            network = fitting.fit(model, everything, None, "refit", stop_after=chosen.epoch)
    except KeyboardInterrupt:
        if process_count() > 1:
            raise
        network = chosen
        network.interrupted = True
    if network.interrupted:
        task.processor, chosen.interrupted = processor, True
        return chosen
    network.history = chosen.history + network.history
    return network
