"""One training of a network: from its start, or from where a process that was killed left it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from accelerate.state import AcceleratorState
from torch.utils.data import Dataset
from tqdm.auto import tqdm
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    PreTrainedModel,
    PrinterCallback,
    ProgressCallback,
    TrainerState,
)

from evolving_attention.errors import InputError
from evolving_attention.recipe import TrainingOptions
from evolving_attention.trainer.arguments import optimizer_class, training_arguments
from evolving_attention.trainer.budget import tokens_of_update
from evolving_attention.trainer.callbacks import (
    KeepBest,
    ShowProgress,
    StopAfter,
    StopAtNonFiniteLoss,
)
from evolving_attention.trainer.checkpoints import Checkpoints
from evolving_attention.trainer.contracts import TrainedNetwork, TrainingTask
from evolving_attention.trainer.network_trainer import NetworkTrainer
from evolving_attention.trainer.processes import first_alone, process_count
from evolving_attention.trainer.quiet import quiet
from evolving_attention.trainer.recomputation import recompute
from evolving_attention.trainer.resuming import Clock, WriteCheckpoints
from evolving_attention.trainer.tracking import tensorboard_callback

__all__ = ["Fitting"]


@dataclass
class Fitting:
    """What the trainings of a network have in common: the first, and that on all of the data.

    Attributes
    ----------
    task : TrainingTask
        Collates, and measures.
    options : TrainingOptions
        How to train.
    seed : int
        Of data order and dropout.
    progress : bool
        Whether to show a progress bar.
    checkpoints : Checkpoints or None
        Where their states are kept.
    tensorboard : Path or None
        Folder for TensorBoard's files.
    clock : Clock
        Tells the seconds of all of it.
    epochs : int
        Passes over the training part, known once there is one.
    """

    task: TrainingTask
    options: TrainingOptions
    seed: int
    progress: bool = False
    checkpoints: Checkpoints | None = None
    tensorboard: Path | None = None
    clock: Clock = field(default_factory=Clock)
    epochs: int = 1

    def fit(
        self,
        model: PreTrainedModel,
        train: Dataset[Any],
        validation: Dataset[Any] | None,
        part: str,
        stop_after: int | None = None,
    ) -> TrainedNetwork:
        """Train; Ctrl-C leaves the best weights so far.

        Parameters
        ----------
        model : PreTrainedModel
            At its start.
        train, validation : Dataset
            What to train on, and what to choose the epoch on, if anything.
        part : str
            Name of this training among the checkpoints.
        stop_after : int, optional
            Epochs after which to stop, whatever the schedule's length.
        """
        best = KeepBest()
        with TemporaryDirectory(prefix="evolving-attention-") as folder, quiet():
            trainer = self._trainer(model, train, validation, Path(folder))
            trainer.add_callback(best)
            if stop_after is not None:
                trainer.add_callback(StopAfter(stop_after))
            self._track(trainer, part)
            resumed = self._keep_checkpoints(trainer, best, part)
            with self._progress(trainer, stop_after or self.epochs):
                interrupted = _train(trainer, resumed)
        if trainer.averages is not None:
            trainer.averages.take()
        best.load_into(model)
        step = best.step or trainer.state.global_step
        epoch = round(step * self.epochs / trainer.state.max_steps)
        return TrainedNetwork(model.eval(), epoch, 0.0, interrupted, _history(trainer.state))

    def _trainer(
        self,
        model: PreTrainedModel,
        train: Dataset[Any],
        validation: Dataset[Any] | None,
        folder: Path,
    ) -> NetworkTrainer:
        task, options = self.task, self.options
        recompute(model, options.gradient_checkpointing)
        AcceleratorState._reset_state()  # else it refuses another precision than the last network's
        trainer = NetworkTrainer(
            model,
            training_arguments(
                options,
                self.epochs,
                self.seed,
                folder,
                holds_out=validation is not None,
                metric=task.metric,
                greater_is_better=task.greater_is_better,
            ),
            batch_size=options.batch_size,
            drops=options.schedule == "steps",
            average=options.average,
            evolution_learning_rate=options.evolution_learning_rate,
            batch_tokens=tokens_of_update(options),
            data_collator=task.collate,
            train_dataset=train,
            eval_dataset=validation,
            processing_class=task.processor,
            compute_metrics=_of_finite_outputs(task.compute_metrics, options.learning_rate),
            preprocess_logits_for_metrics=getattr(task, "reduce_outputs", None),
            optimizer_cls_and_kwargs=optimizer_class(options),
            callbacks=[StopAtNonFiniteLoss()],
        )
        for callback in (PrinterCallback, ProgressCallback):
            trainer.remove_callback(callback)
        if validation is not None and options.patience is not None:
            trainer.add_callback(EarlyStoppingCallback(options.patience))
        return trainer

    @contextmanager
    def _progress(self, trainer: NetworkTrainer, epochs: int) -> Iterator[None]:
        bar = tqdm(total=epochs, unit="epoch", leave=False, disable=not self.progress)
        trainer.add_callback(ShowProgress(bar))
        try:
            yield
        finally:
            bar.close()

    def _track(self, trainer: NetworkTrainer, part: str) -> None:
        if self.tensorboard is not None:
            trainer.add_callback(tensorboard_callback(self.tensorboard / part))

    def _keep_checkpoints(self, trainer: NetworkTrainer, best: KeepBest, part: str) -> Path | None:
        """Write checkpoints; return the newest there is already."""
        if self.checkpoints is None:
            return None
        checkpoints = self.checkpoints.part(part)
        resumed = first_alone(checkpoints.newest)
        trainer.add_callback(WriteCheckpoints(trainer, checkpoints, best, self.clock, resumed))
        return resumed


def _of_finite_outputs(
    measure: Callable[[EvalPrediction], dict[str, float]] | None, learning_rate: float
) -> Callable[[EvalPrediction], dict[str, float]] | None:
    """Return a measure that refuses outputs which are not finite: metrics fail at them, or lie."""
    if measure is None:
        return None

    def measure_finite(prediction: EvalPrediction) -> dict[str, float]:
        outputs = prediction.predictions
        if not np.isfinite(outputs[0] if isinstance(outputs, tuple) else outputs).all():
            raise InputError(
                "the network's outputs in validation are not finite: lower training.learning_rate "
                f"(now {learning_rate}) or look for extreme values in the data."
            )
        return measure(prediction)

    return measure_finite


def _train(trainer: NetworkTrainer, resumed: Path | None) -> bool:
    """Train; return whether Ctrl-C ended it. With several processes it ends them all."""
    try:
        trainer.train(resume_from_checkpoint=None if resumed is None else str(resumed))
    except KeyboardInterrupt:
        if trainer.state.global_step == 0 or process_count() > 1:
            raise  # there is nothing to keep, or the processes stand at different places
        return True
    return False


def _history(state: TrainerState) -> list[dict[str, float]]:
    epochs: dict[int, dict[str, float]] = {}
    for entry in state.log_history:
        kept = {name: value for name, value in entry.items() if name in ("loss", "learning_rate")}
        kept |= {
            name.replace("eval_", "validation_", 1): value
            for name, value in entry.items()
            if name.startswith("eval_") and not name.endswith(("runtime", "per_second"))
        }
        epochs.setdefault(round(entry["epoch"]), {"epoch": round(entry["epoch"])}).update(kept)
    return list(epochs.values())
