"""Classification and regression that start from pretraining."""

from dataclasses import replace
from typing import Any

from torch.utils.data import Dataset
from transformers import PreTrainedModel

from evolving_attention.errors import InputError
from evolving_attention.recipe import (
    AugmentationOptions,
    PretrainingOptions,
    ProcessingOptions,
    TrainingOptions,
)
from evolving_attention.tasks.masking import check_masking
from evolving_attention.tasks.pretrained import PretrainedEncoder
from evolving_attention.tasks.time_series import TimeSeriesTask
from evolving_attention.tasks.time_series_data import Collection, LabelledSeries
from evolving_attention.tasks.time_series_pretraining import (
    TimeSeriesPretrainingTask,
    refuse_differences,
)
from evolving_attention.training import train_network

__all__ = ["FineTuningTask"]


class FineTuningTask(TimeSeriesTask):
    """Classification or regression whose networks start from a pretrained encoder.

    Pretraining on the task's own data sees the part that trains and nothing else: what is held out
    to choose the epoch stays unseen, and a refit pretrains again, on everything.

    Parameters
    ----------
    kind, processing, class_weight, augmentation
        See :class:`~evolving_attention.tasks.time_series.TimeSeriesTask`.
    pretrained : PretrainedEncoder, optional
        What networks start from. Default: chance.
    pretraining : PretrainingOptions, optional
        With ``epochs`` above 0, the series that train pretrain the network first.
    training : TrainingOptions, optional
        How pretraining trains, but for its number of epochs and a part held out.
    freeze : bool
        Train only the head.
    progress : bool
        Whether pretraining shows a progress bar.
    """

    def __init__(
        self,
        kind: str,
        processing: ProcessingOptions | None = None,
        class_weight: str | dict[Any, float] | None = None,
        augmentation: AugmentationOptions | None = None,
        *,
        pretrained: PretrainedEncoder | None = None,
        pretraining: PretrainingOptions | None = None,
        training: TrainingOptions | None = None,
        freeze: bool = False,
        progress: bool = False,
    ) -> None:
        self.pretraining = pretraining or PretrainingOptions()
        super().__init__(kind, processing, class_weight, augmentation, pretrained=pretrained)
        if pretrained and processing and processing.differences != "auto":
            own = pretrained.processor.differences
            pretrained.check_same("differences", processing.differences, own)
        self.training = training or TrainingOptions()
        self.freeze = freeze
        self.progress = progress
        #: Loss of each epoch of the last pretraining.
        self.history: list[dict[str, float]] = []
        self._series: Collection = []
        self._seed = 0
        self._check()

    def _check(self) -> None:
        epochs = self.pretraining.epochs
        if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 0:
            raise InputError(
                f"pretraining.epochs must be a whole number, 0 or more, got {epochs!r}."
            )
        check_masking(self.pretraining)
        if epochs:
            refuse_differences(self.processor)
        if self.freeze and self.pretrained is None and not epochs:
            raise InputError(
                "freeze trains only the head, of an encoder that has learned something: set "
                "pretrained, or epochs of pretraining."
            )

    @property
    def _is_pretrained(self) -> bool:
        return super()._is_pretrained or self.pretraining.epochs != 0

    def split(
        self, data: LabelledSeries, validation: float, seed: int
    ) -> tuple[Dataset[Any], Dataset[Any] | None]:
        """Split as the task without pretraining does, and keep the series that train."""
        parts = super().split(data, validation, seed)
        if not self.pretraining.epochs:
            return parts
        train, _ = self._indices(data.targets, validation, seed)  # type: ignore[arg-type]
        self._series, self._seed = [data.series[index] for index in train], seed
        return parts

    def build_model(self, options: dict[str, Any]) -> PreTrainedModel:
        """Make a network that fits the data last split, pretrained, its encoder frozen if asked.

        Its head starts as it would without pretraining, from the same seed.
        """
        model = super().build_model(options)
        if self.pretraining.epochs:
            self._pretrained_here(options).give(model)
        if self.freeze:
            model.base_model.requires_grad_(False)
        return model

    def _pretrained_here(self, options: dict[str, Any]) -> PretrainedEncoder:
        task = TimeSeriesPretrainingTask(
            self.processing, self.pretraining, pretrained=self.pretrained, processor=self.processor
        )
        training = replace(
            self.training,
            epochs=self.pretraining.epochs,
            validation=0.0,
            patience=None,
            refit=False,
        )
        network = train_network(
            task,
            LabelledSeries(self._series),
            options,
            training,
            seed=self._seed,
            progress=self.progress,
        )
        if network.interrupted:
            raise KeyboardInterrupt  # half a start is none
        self.history, self._series = network.history, []
        return PretrainedEncoder(network.model, self.processor)

    def report(self) -> dict[str, Any]:
        """Return the losses of pretraining, where there was any."""
        return {"pretraining": self.history or None}
