"""A recipe's training options: checked, and as the Trainer's arguments."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from evolving_attention.errors import InputError
from evolving_attention.recipe import (
    TrainingOptions,
    TranslationTrainingOptions,
    check_literals,
)
from evolving_attention.trainer.processes import process_count
from evolving_attention.trainer.recomputation import check_recomputation

__all__ = ["check_options", "check_seed", "optimizer_class", "training_arguments"]


def check_options(options: TrainingOptions) -> None:
    """Raise :class:`InputError`, in one sentence, for an option that cannot work."""
    own = _TRANSLATION if isinstance(options, TranslationTrainingOptions) else {}
    for name, (is_valid, wanted) in {**_RANGES, **own}.items():
        value = getattr(options, name)
        if isinstance(value, bool) or not is_valid(value):
            raise InputError(f"training.{name} must be {wanted}, got {value!r}.")
    check_recomputation(options.gradient_checkpointing)
    check_literals(options, "optimizer", "schedule", "select_by", "precision", prefix="training.")
    if options.validation == 0:
        for name in ("patience", "refit"):
            if getattr(options, name):
                raise InputError(
                    f"training.{name} needs a part to choose the epoch on: set "
                    "training.validation, such as 0.2."
                )
    pieces = options.gradient_accumulation * process_count()
    if options.batch_size % pieces:
        raise InputError(
            f"training.batch_size must be a multiple of {pieces}, training.gradient_accumulation "
            f"times the number of processes, got {options.batch_size}."
        )


def check_seed(seed: int) -> None:
    """Raise :class:`InputError` for a number that seeds nothing."""
    if not 0 <= seed < 2**32:
        raise InputError(f"seed must lie in [0, 2^32), got {seed}.")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and value >= 1


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value < math.inf


_RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "epochs": (
        lambda value: value == "auto" or _is_count(value),
        "a whole number, at least 1, or 'auto'",
    ),
    "batch_size": (_is_count, "a whole number, at least 1"),
    "gradient_accumulation": (_is_count, "a whole number, at least 1"),
    "learning_rate": (lambda value: _is_number(value) and value > 0, "a positive number"),
    "evolution_learning_rate": (
        lambda value: value is None or (_is_number(value) and value > 0),
        "a positive number, or null",
    ),
    "weight_decay": (_is_number, "0 or a positive number"),
    "warmup": (
        lambda value: _is_number(value) and (value < 1 or value == int(value)),
        "a share in [0, 1) or a whole number of updates",
    ),
    "gradient_clip": (_is_number, "0 or a positive number"),
    "average": (
        lambda value: _is_number(value) and (value < 1 or value == int(value)),
        "a number in [0, 1) or a whole number of epochs",
    ),
    "validation": (lambda value: _is_number(value) and value < 1, "a number in [0, 1)"),
    "patience": (
        lambda value: value is None or _is_count(value),
        "a whole number, at least 1, or null",
    ),
    "checkpoint_every": (
        lambda value: value is None or _is_number(value),
        "a number of seconds, 0 or positive, or null",
    ),
}

#: Of translation alone.
_TRANSLATION: dict[str, tuple[Callable[[Any], bool], str]] = {
    "batch_tokens": (
        lambda value: value is None or _is_count(value),
        "a whole number, at least 1, or null",
    ),
    "label_smoothing": (lambda value: _is_number(value) and value < 1, "a number in [0, 1)"),
    "beta2": (lambda value: _is_number(value) and value < 1, "a number in [0, 1)"),
}


def training_arguments(
    options: TrainingOptions,
    epochs: int,
    seed: int,
    folder: Path,
    *,
    holds_out: bool,
    metric: str,
    greater_is_better: bool,
) -> TrainingArguments:
    """Return the Trainer's arguments; it writes nothing into ``folder`` by itself."""
    series = options.batch_size // (options.gradient_accumulation * process_count())
    on_metric = options.select_by == "metric"
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=epochs,
        per_device_train_batch_size=series,
        per_device_eval_batch_size=2 * series,
        gradient_accumulation_steps=options.gradient_accumulation,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        lr_scheduler_type="constant_with_warmup"
        if options.schedule in ("constant", "steps")  # whose drops the trainer adds
        else options.schedule,
        warmup_steps=options.warmup,  # below 1 a share
        max_grad_norm=options.gradient_clip,
        bf16=options.precision == "bfloat16",
        use_cpu=not torch.accelerator.is_available(),
        train_sampling_strategy="group_by_length",
        seed=seed,
        eval_strategy="epoch" if holds_out else "no",
        save_strategy="no",  # it would pickle; the best weights and checkpoints are callbacks
        metric_for_best_model=metric if on_metric else "loss",
        greater_is_better=greater_is_better if on_metric else False,
        logging_strategy="epoch",
        logging_nan_inf_filter=False,
        report_to=[],
        log_level_replica="error",
        disable_tqdm=True,
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # data parallelism would change the batch size and with it the run
    return arguments


def optimizer_class(
    options: TrainingOptions,
) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """Return the optimiser with its fastest implementation: RAdam has no fused one."""
    if options.optimizer == "sgd":
        return torch.optim.SGD, {"lr": options.learning_rate, "momentum": 0.9, "fused": True}
    beta2 = options.beta2 if isinstance(options, TranslationTrainingOptions) else 0.999
    chosen = {"lr": options.learning_rate, "betas": (0.9, beta2)}
    if options.optimizer == "radam":
        return torch.optim.RAdam, chosen | {"foreach": True}
    return torch.optim.AdamW, chosen | {"fused": True}
