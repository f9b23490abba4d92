"""A training that writes checkpoints, and goes on from one to the bit."""

import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from evolving_attention.trainer.callbacks import KeepBest
from evolving_attention.trainer.checkpoints import Checkpoints
from evolving_attention.trainer.network_trainer import NetworkTrainer
from evolving_attention.trainer.processes import first_alone, from_all
from evolving_attention.trainer.randomness import random_states, set_random_states
from evolving_attention.trainer.snapshots import (
    callback_states,
    load_json,
    restore_callbacks,
    save_json,
    save_optimizer,
    save_state,
)

__all__ = ["Clock", "WriteCheckpoints"]


class Clock:
    """Seconds of a training, those before a kill included."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """How long it took until now."""
        return time.perf_counter() - self._start

    def go_on_from(self, seconds: float) -> None:
        """Set the seconds until now."""
        self._start = time.perf_counter() - seconds


class WriteCheckpoints(TrainerCallback):
    """Writes checkpoints when they are due, and restores what the Trainer does not.

    A checkpoint stands between two updates. At the end of an epoch it is written when the next
    begins, so that loss, validation and best weights are in it. Within an epoch it holds two sets
    of random states: that of the epoch's beginning, which gives the order of the data again, and
    that of the moment, set when the batches already seen are skipped and before the next is made.

    Parameters
    ----------
    trainer : NetworkTrainer
        Whose state is written.
    checkpoints : Checkpoints
        Where.
    best : KeepBest
        The best weights so far.
    clock : Clock
        The seconds so far.
    resumed : Path or None
        The checkpoint that the training goes on from.
    """

    def __init__(
        self,
        trainer: NetworkTrainer,
        checkpoints: Checkpoints,
        best: KeepBest,
        clock: Clock,
        resumed: Path | None = None,
    ) -> None:
        self.trainer = trainer
        self.checkpoints = checkpoints
        self.best = best
        self.clock = clock
        self.resumed = resumed
        self.epoch_start: dict[str, Any] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Restore the loss summed up since the epoch began, the best weights, and callbacks."""
        if self.resumed is None:
            return
        written = load_json(self.resumed / "progress.json")
        self.clock.go_on_from(written["seconds"])
        restore_callbacks(written["callbacks"], self.trainer.callback_handler.callbacks)
        self.best.step = written["best_step"]
        if self.best.step:
            self.best.weights = load_file(self.resumed / "best.safetensors")
        if self.trainer.averages is not None:
            self.trainer.averages.load(self.resumed)
        process = args.process_index
        self.trainer._tr_loss += torch.tensor(written["losses"][process], device=args.device)
        self.trainer._globalstep_last_logged = written["last_logged"]

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **named: Any
    ) -> None:
        """Write a checkpoint where it is due; after a kill, set the random states back."""
        if self.resumed is None:
            self.epoch_start = random_states(self.trainer.order)
            if state.global_step and self._is_due():
                self._write(state)
            return
        written = load_json(self.resumed / "random.json")[args.process_index]
        self.resumed = None
        self.epoch_start = written["epoch_start"]
        set_random_states(self.epoch_start, self.trainer.order)
        if seen := state.global_step % self._updates_of_epoch(state):
            batches = named["train_dataloader"].batch_sampler
            batches.call_before(
                seen * args.gradient_accumulation_steps,
                lambda: set_random_states(written["now"]),
            )

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Write a checkpoint within an epoch where it is due."""
        if state.global_step % self._updates_of_epoch(state) and self._is_due():
            self._write(state)

    def _updates_of_epoch(self, state: TrainerState) -> int:
        return state.max_steps // state.num_train_epochs

    def _is_due(self) -> bool:
        return self.checkpoints.every is not None and first_alone(lambda: self.checkpoints.is_due)

    def _write(self, state: TrainerState) -> None:
        """Collect what the processes hold, and write it in the first."""
        states = from_all({"epoch_start": self.epoch_start, "now": random_states()})
        losses = from_all(self.trainer._tr_loss.item())
        first_alone(
            lambda: self.checkpoints.write(
                state.global_step, lambda folder: self._fill(folder, state, states, losses)
            )
        )

    def _fill(
        self,
        folder: Path,
        state: TrainerState,
        states: list[dict[str, Any]],
        losses: list[float],
    ) -> None:
        trainer = self.trainer
        save_state(trainer.model, state, folder)
        save_optimizer(trainer.optimizer, folder)
        if trainer.averages is not None:
            trainer.averages.save(folder)
        save_json(trainer.lr_scheduler.state_dict(), folder / "schedule.json")
        save_json(states, folder / "random.json")
        progress = {
            "seconds": self.clock.seconds,
            "callbacks": callback_states(trainer.callback_handler.callbacks),
            "best_step": self.best.step,
            "losses": losses,
            "last_logged": trainer._globalstep_last_logged,
        }
        save_json(progress, folder / "progress.json")
        if self.best.step:
            save_file(self.best.weights, folder / "best.safetensors")
