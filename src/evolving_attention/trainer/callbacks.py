"""What happens at the turns of a training beside the training itself."""

import math
import operator
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import (
    PreTrainedModel,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from evolving_attention.errors import InputError

__all__ = ["KeepBest", "ShowProgress", "StopAfter", "StopAtNonFiniteLoss"]


class StopAtNonFiniteLoss(TrainerCallback):
    """Never let a NaN pass silently."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Raise :class:`InputError` where the loss of an epoch is not finite."""
        for name, title in (("loss", "loss"), ("eval_loss", "validation loss")):
            loss = (logs or {}).get(name, 0.0)
            if not math.isfinite(loss):
                raise InputError(
                    f"the {title} became {loss} in epoch {state.epoch:.0f}: lower "
                    f"training.learning_rate (now {args.learning_rate}) or look for extreme values "
                    "in the data."
                )


class StopAfter(TrainerCallback):
    """Stop after a number of epochs, whatever the schedule's length."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Stop where enough epochs are over."""
        control.should_training_stop = (state.epoch or 0) >= self.epochs - 1e-6


class KeepBest(TrainerCallback):
    """Keeps the weights of the best epoch so far, in the memory of the CPU.

    Attributes
    ----------
    weights : dict of str to Tensor
        Empty before the first epoch with a measure.
    step : int
        The update after which they were taken; 0 before.
    """

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}
        self.step = 0

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **named: Any,
    ) -> None:
        """Take the weights where the measure is better than ``state.best_metric``.

        The trainer updates that after this call.
        """
        better = operator.gt if args.greater_is_better else operator.lt
        worst = -math.inf if args.greater_is_better else math.inf
        best = worst if state.best_metric is None else state.best_metric
        if better(named["metrics"][f"eval_{args.metric_for_best_model}"], best):
            self.step = state.global_step
            self.weights = {
                name: tensor.detach().to("cpu", copy=True)
                for name, tensor in named["model"].state_dict().items()
            }

    @torch.no_grad()
    def load_into(self, model: PreTrainedModel) -> None:
        """Give a network the best weights, if there are any."""
        if self.weights:
            model.load_state_dict(self.weights)


class ShowProgress(TrainerCallback):
    """Moves a bar over the epochs, with the last losses and metrics."""

    def __init__(self, bar: tqdm) -> None:
        self.bar = bar
        self.shown: dict[str, str] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Count the epochs of a training that goes on."""
        self.bar.update(int(state.epoch or 0))

    def on_log(self, *_: Any, logs: dict[str, float] | None = None, **__: Any) -> None:
        """Show what was measured."""
        for name, value in (logs or {}).items():
            if name in ("loss", "eval_loss", "eval_accuracy", "eval_rmse"):
                self.shown[name.replace("eval_", "validation ")] = f"{value:.3f}"
        self.bar.set_postfix(self.shown)

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        """Move on."""
        self.bar.update()
