"""The one training entry: a network, its data and its options, on :class:`transformers.Trainer`."""

import math
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_model
from torch.utils.data import Dataset
from tqdm.auto import tqdm
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    PreTrainedModel,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.utils import logging

from evolving_attention.errors import InputError
from evolving_attention.recipe import TrainingOptions, check_literals

__all__ = ["TrainedNetwork", "TrainingTask", "check_options", "quiet", "seeded", "train_network"]


class TrainingTask(Protocol):
    """What training needs of a task: its parts are in :mod:`evolving_attention.tasks`."""

    processor: Any
    #: Name of the metric that may choose the epoch, and whether more of it is better.
    metric: str
    greater_is_better: bool

    def split(
        self, data: Any, validation: float, seed: int
    ) -> tuple[Dataset[Any], Dataset[Any] | None]:
        """Fit the processor on the training part; return the training and the validation part."""

    def build_model(self, options: dict[str, Any]) -> PreTrainedModel:
        """Make a network for the data last split."""

    def collate(self, examples: list[Any]) -> dict[str, torch.Tensor]:
        """Make a batch."""

    @property
    def compute_metrics(self) -> Callable[[EvalPrediction], dict[str, float]] | None:
        """Measures predictions of the validation part; None: its loss is all there is."""


@dataclass
class TrainedNetwork:
    """A trained network and how it came to be.

    Attributes
    ----------
    model : PreTrainedModel
        In evaluation mode, with the weights of the chosen epoch.
    epoch : int
        The chosen epoch, counted from 1; the last one where nothing was held out.
    seconds : float
        Wall-clock time of the training, the refit included.
    interrupted : bool
        Whether it was stopped by Ctrl-C.
    history : list of dict
        Loss and metrics of each epoch.
    """

    model: PreTrainedModel
    epoch: int
    seconds: float = 0.0
    interrupted: bool = False
    history: list[dict[str, float]] = field(default_factory=list)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed Python, NumPy and PyTorch inside the block, and leave their states as they were."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


def train_network(
    task: TrainingTask,
    data: Any,
    model_options: dict[str, Any],
    options: TrainingOptions,
    *,
    seed: int = 0,
    progress: bool = False,
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
    """
    check_options(options)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("training runs in one process; start it without torchrun or accelerate.")
    if not 0 <= seed < 2**32:
        raise InputError(f"seed must lie in [0, 2^32), got {seed}.")
    started = time.perf_counter()
    with seeded(seed):
        train, validation = task.split(data, options.validation, seed)
        network = _fit(
            task, task.build_model(model_options), train, validation, options, seed, progress
        )
    if options.refit and validation is not None and not network.interrupted:
        network = _refit(task, data, network, model_options, options, seed, progress)
    network.seconds = time.perf_counter() - started
    return network


def _refit(
    task: TrainingTask,
    data: Any,
    chosen: TrainedNetwork,
    model_options: dict[str, Any],
    options: TrainingOptions,
    seed: int,
    progress: bool,
) -> TrainedNetwork:
    """Train on everything for the chosen number of epochs; Ctrl-C leaves the chosen network."""
    processor = task.processor
    try:
        with seeded(seed):
            everything, _ = task.split(data, 0.0, seed)
            model = task.build_model(model_options)
            network = _fit(
                task, model, everything, None, options, seed, progress, stop_after=chosen.epoch
            )
    except KeyboardInterrupt:
        network = chosen
        network.interrupted = True
    if network.interrupted:
        task.processor, chosen.interrupted = processor, True
        return chosen
    network.history = chosen.history + network.history
    return network


def check_options(options: TrainingOptions) -> None:
    """Raise :class:`InputError`, in one sentence, for an option that cannot work."""
    for name, (is_valid, wanted) in _RANGES.items():
        value = getattr(options, name)
        if isinstance(value, bool) or not is_valid(value):
            raise InputError(f"training.{name} must be {wanted}, got {value!r}.")
    check_literals(options, "optimizer", "schedule", "select_by", "precision", prefix="training.")
    if options.validation == 0:
        for name in ("patience", "refit"):
            if getattr(options, name):
                raise InputError(
                    f"training.{name} needs a part to choose the epoch on: set "
                    "training.validation, such as 0.2."
                )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and value >= 1


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value < math.inf


_RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "epochs": (_is_count, "a whole number, at least 1"),
    "batch_size": (_is_count, "a whole number, at least 1"),
    "learning_rate": (lambda value: _is_number(value) and value > 0, "a positive number"),
    "weight_decay": (_is_number, "0 or a positive number"),
    "warmup": (lambda value: _is_number(value) and value < 1, "a number in [0, 1)"),
    "gradient_clip": (_is_number, "0 or a positive number"),
    "validation": (lambda value: _is_number(value) and value < 1, "a number in [0, 1)"),
    "patience": (
        lambda value: value is None or _is_count(value),
        "a whole number, at least 1, or null",
    ),
}


def _fit(
    task: TrainingTask,
    model: PreTrainedModel,
    train: Dataset[Any],
    validation: Dataset[Any] | None,
    options: TrainingOptions,
    seed: int,
    progress: bool,
    stop_after: int | None = None,
) -> TrainedNetwork:
    with TemporaryDirectory(prefix="evolving-attention-") as folder, quiet():
        trainer = _trainer(task, model, train, validation, options, seed, Path(folder))
        if stop_after is not None:
            trainer.add_callback(_StopAfter(stop_after))
        bar = tqdm(
            total=stop_after or options.epochs, unit="epoch", leave=False, disable=not progress
        )
        trainer.add_callback(_Progress(bar))
        interrupted = False
        try:
            trainer.train()
        except KeyboardInterrupt:
            if trainer.state.global_step == 0:
                raise  # there is nothing to keep
            interrupted = True
            if trainer.state.best_model_checkpoint:
                load_model(model, Path(trainer.state.best_model_checkpoint) / "model.safetensors")
        finally:
            bar.close()
        state = trainer.state
        step = (state.best_global_step if validation is not None else 0) or state.global_step
        epoch = round(step * options.epochs / state.max_steps)
    return TrainedNetwork(model.eval(), epoch, 0.0, interrupted, _history(state))


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what transformers prints at every checkpoint; our own progress says enough."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _trainer(
    task: TrainingTask,
    model: PreTrainedModel,
    train: Dataset[Any],
    validation: Dataset[Any] | None,
    options: TrainingOptions,
    seed: int,
    folder: Path,
) -> Trainer:
    if options.gradient_checkpointing:
        # transformers renamed it; the old name goes in version 6
        enable = getattr(model, "activation_checkpointing_enable", None)
        (enable or model.gradient_checkpointing_enable)()
    AcceleratorState._reset_state()  # else it refuses another precision than the last network's
    holds_out = validation is not None
    trainer = _SparingTrainer(
        model,
        _arguments(task, options, seed, folder, holds_out),
        data_collator=task.collate,
        train_dataset=train,
        eval_dataset=validation,
        processing_class=task.processor,
        compute_metrics=task.compute_metrics,
        optimizer_cls_and_kwargs=_optimizer(options),
        callbacks=[_StopAtNonFiniteLoss()],
    )
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    if holds_out and options.patience is not None:
        trainer.add_callback(EarlyStoppingCallback(options.patience))
    return trainer


def _arguments(
    task: TrainingTask, options: TrainingOptions, seed: int, folder: Path, holds_out: bool
) -> TrainingArguments:
    on_metric = options.select_by == "metric"
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=options.epochs,
        per_device_train_batch_size=options.batch_size,
        per_device_eval_batch_size=2 * options.batch_size,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        lr_scheduler_type="constant_with_warmup"
        if options.schedule == "constant"
        else options.schedule,
        warmup_steps=options.warmup,  # a share
        max_grad_norm=options.gradient_clip,
        bf16=options.precision == "bfloat16",
        use_cpu=not torch.accelerator.is_available(),
        train_sampling_strategy="group_by_length",
        seed=seed,
        eval_strategy="epoch" if holds_out else "no",
        save_strategy="best" if holds_out else "no",
        save_total_limit=1,
        save_only_model=True,
        load_best_model_at_end=holds_out,
        metric_for_best_model=task.metric if on_metric else "loss",
        greater_is_better=task.greater_is_better if on_metric else False,
        logging_strategy="epoch",
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # data parallelism would change the batch size and with it the run
    return arguments


def _optimizer(options: TrainingOptions) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """Return the optimiser with its fastest implementation: RAdam has no fused one."""
    if options.optimizer == "radam":
        return torch.optim.RAdam, {"lr": options.learning_rate, "foreach": True}
    return torch.optim.AdamW, {"lr": options.learning_rate, "fused": True}


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


class _SparingTrainer(Trainer):
    """Spares what the model's ``no_weight_decay`` names."""

    def get_decay_parameter_names(self, model: torch.nn.Module) -> list[str]:
        spared = getattr(model, "no_weight_decay", ())
        names = super().get_decay_parameter_names(model)
        return [name for name in names if name.rpartition(".")[2] not in spared]


class _StopAtNonFiniteLoss(TrainerCallback):
    """Never let a NaN pass silently."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise InputError(
                f"the loss became {loss} in epoch {state.epoch:.0f}: lower training.learning_rate "
                f"(now {args.learning_rate}) or look for extreme values in the data."
            )


class _StopAfter(TrainerCallback):
    """Stop after a number of epochs, whatever the schedule's length."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        control.should_training_stop = (state.epoch or 0) >= self.epochs - 1e-6


class _Progress(TrainerCallback):
    """Moves a bar over the epochs, with the last losses and metrics."""

    def __init__(self, bar: tqdm) -> None:
        self.bar = bar
        self.shown: dict[str, str] = {}

    def on_log(self, *_: Any, logs: dict[str, float] | None = None, **__: Any) -> None:
        for name, value in (logs or {}).items():
            if name in ("loss", "eval_loss", "eval_accuracy", "eval_rmse"):
                self.shown[name.replace("eval_", "validation ")] = f"{value:.3f}"
        self.bar.set_postfix(self.shown)

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        self.bar.update()
