"""The Trainer of transformers, with our batches and an average loss that cutting never changes."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, SequentialSampler
from transformers import PreTrainedModel, Trainer, set_seed
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import EvalLoopOutput

from evolving_attention.attention import EvolvingAttention
from evolving_attention.trainer.averaging import Averages
from evolving_attention.trainer.batches import Batches, FilledCollator, SharedBatches
from evolving_attention.trainer.epoch_averages import EpochAverages
from evolving_attention.trainer.processes import process_count
from evolving_attention.trainer.schedules import schedule_by_steps
from evolving_attention.trainer.snapshots import load_json, load_optimizer
from evolving_attention.trainer.token_batches import TokenBatches

__all__ = ["NetworkTrainer"]


class NetworkTrainer(Trainer):
    """Trains a network on batches of series, or texts, of like length.

    An update is the same whether its batch is computed at once, in pieces one after the other
    (gradient accumulation) or in pieces by several processes: a piece's loss counts by its weight
    in the batch, which a model may tell with ``loss_weight(batch)``, and is its number of series
    where it does not.

    With several processes the order of the data has a generator of its own, the same in all of
    them, and dropout differs from one to the other.
    """

    # What the Trainer declares wider than it is here
    model: PreTrainedModel
    optimizer: torch.optim.Optimizer
    lr_scheduler: torch.optim.lr_scheduler.LambdaLR
    train_dataset: Dataset[Any]
    processing_class: Any

    def __init__(
        self,
        *positional: Any,
        batch_size: int,
        drops: bool = False,
        average: float = 0.0,
        evolution_learning_rate: float | None = None,
        batch_tokens: int | None = None,
        **named: Any,
    ) -> None:
        super().__init__(*positional, **named)
        self.drops, self.average = drops, average
        self.evolution_learning_rate = evolution_learning_rate
        self.averages: Averages | EpochAverages | None = None
        if average >= 1:
            self.averages = EpochAverages(self.model, int(average))
            self.add_callback(self.averages)
        self.series_of_update, self.tokens_of_update = batch_size, batch_tokens
        pieces = process_count() * self.args.gradient_accumulation_steps
        self.weighs_pieces = pieces > 1 and not self.model_accepts_loss_kwargs  # else it does
        self.order: torch.Generator | None = None
        if process_count() > 1:
            self.order = torch.Generator().manual_seed(self.args.seed)
            set_seed((self.args.seed + self.args.process_index) % 2**32)

    def get_decay_parameter_names(self, model: torch.nn.Module) -> list[str]:
        """Spare what the model's ``no_weight_decay`` names."""
        spared = getattr(model, "no_weight_decay", ())
        names = super().get_decay_parameter_names(model)
        return [name for name in names if name.rpartition(".")[2] not in spared]

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Make the optimiser, and what averages its weights."""
        is_new = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if is_new and self.evolution_learning_rate is not None:
            _set_learning_rate_of_evolution(optimizer, self.model, self.evolution_learning_rate)
        if is_new and 0 < self.average < 1:
            self.averages = Averages(optimizer, self.model, self.average)
        return optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> Any:
        """Make the schedule of the learning rate, with drops where they are asked for."""
        if self.drops and self.lr_scheduler is None:
            warmup = self.args.get_warmup_steps(num_training_steps)
            self.lr_scheduler = schedule_by_steps(
                optimizer or self.optimizer, warmup, num_training_steps
            )
        return super().create_scheduler(num_training_steps, optimizer)

    # Batches

    def get_train_dataloader(self) -> DataLoader:
        """Return the shares of this process.

        It is PyTorch's own, not accelerate's: that makes a batch ahead of its time, which would
        draw random numbers early and keep a checkpoint within an epoch from being exact.
        """
        dataset = self.train_dataset
        return DataLoader(
            dataset,
            batch_sampler=self._batches(),
            collate_fn=FilledCollator(self.data_collator, dataset),
            pin_memory=self.args.dataloader_pin_memory,
            generator=self.order,
        )

    def _batches(self) -> Batches:
        dataset: Any = self.train_dataset
        share = (
            self.args.gradient_accumulation_steps,
            self.args.world_size,
            self.args.process_index,
        )
        if self.tokens_of_update is not None:
            return TokenBatches(dataset.sizes, self.tokens_of_update, *share, self.order)
        order = LengthGroupedSampler(
            self.series_of_update,
            dataset=dataset,
            lengths=getattr(dataset, "lengths", None),  # else every example would be made for it
            model_input_name=self.processing_class.model_input_names[0],
            generator=self.order,
        )
        return SharedBatches(order, self.series_of_update, *share)

    def _get_eval_sampler(self, eval_dataset: Dataset[Any]) -> Any:
        """Leave examples of one length in their order: all would be made to learn their lengths."""
        if not hasattr(eval_dataset, "lengths"):
            return super()._get_eval_sampler(eval_dataset)
        return SequentialSampler(eval_dataset)  # type: ignore[arg-type]

    # Loss

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """Return an update's pieces, each with its share in the loss of the whole batch."""
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        if self.weighs_pieces and batches:
            weights = [self._weight(batch) for batch in batches]
            total = self.accelerator.reduce(torch.stack(weights).sum().to(device), "sum")
            for batch, weight in zip(batches, weights, strict=True):
                # Where nothing counts, as where no entry is masked, no piece does.
                batch["share"] = weight.to(device) / total.clamp(min=torch.finfo().tiny)
        return batches, items

    def _weight(self, batch: dict[str, Any]) -> Tensor:
        if not batch.pop("counts", True):
            return torch.tensor(0.0)
        weigh = getattr(self.model, "loss_weight", None)
        series = len(next(iter(batch.values())))
        return torch.as_tensor(series if weigh is None else weigh(batch)).float()

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the loss of a piece, scaled so that the pieces' sum is the batch's mean loss."""
        share = inputs.pop("share", None)
        result = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if share is None:
            return result
        # The gradients are averaged over processes, and the Trainer divides by the pieces.
        share = share * (self.args.world_size * self.current_gradient_accumulation_steps)
        return (result[0] * share, result[1]) if return_outputs else result * share

    # Validation

    def evaluate(self, *positional: Any, **named: Any) -> dict[str, float]:
        """Evaluate with the normalisation statistics of the first process, and with averages."""
        with nullcontext() if self.averages is None else self.averages.shown():
            if self.args.world_size > 1:
                for buffer in self.model.buffers():
                    torch.distributed.broadcast(buffer, 0)
            return super().evaluate(*positional, **named)

    def evaluation_loop(
        self, dataloader: DataLoader, description: str, *positional: Any, **named: Any
    ) -> EvalLoopOutput:
        """Evaluate; with several processes, the loss is that of all series together.

        The processes' last batches are filled with series that were there before. The Trainer
        drops their predictions, but not what they did to a mean.
        """
        output = super().evaluation_loop(dataloader, description, *positional, **named)
        loss = getattr(self.model, "loss", None)
        if self.args.world_size > 1 and loss is not None and output.predictions is not None:
            predictions, labels = map(torch.as_tensor, (output.predictions, output.label_ids))
            metrics: dict[str, float] = output.metrics or {}
            metrics["eval_loss"] = loss(predictions, labels).item()
        return output

    # Checkpoints

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Read what :class:`.resuming.WriteCheckpoints` wrote, instead of pickles."""
        if checkpoint is not None:
            load_optimizer(self.optimizer, Path(checkpoint))
            self.lr_scheduler.load_state_dict(load_json(Path(checkpoint) / "schedule.json"))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Do nothing: :class:`.resuming.WriteCheckpoints` sets random states, at their times."""


def _set_learning_rate_of_evolution(
    optimizer: torch.optim.Optimizer, model: torch.nn.Module, learning_rate: float
) -> None:
    """Take the parameters of evolution out of an optimiser's groups, into groups of their own."""
    evolutions = (module for module in model.modules() if isinstance(module, EvolvingAttention))
    own = {parameter for module in evolutions for parameter in module.parameters()}
    for group in list(optimizer.param_groups):
        taken = [parameter for parameter in group["params"] if parameter in own]
        group["params"] = [parameter for parameter in group["params"] if parameter not in own]
        if taken:
            optimizer.add_param_group({**group, "params": taken, "lr": learning_rate})
