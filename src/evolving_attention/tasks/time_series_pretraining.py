"""Pretraining without labels: a network learns to fill in masked entries of series.

Shape letters: B batch, T steps, F features (channels of the series).
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset
from transformers import PreTrainedModel

from evolving_attention.errors import InputError
from evolving_attention.models.ea_dc_transformer_pretraining import EADCTransformerForPretraining
from evolving_attention.recipe import PretrainingOptions, ProcessingOptions
from evolving_attention.tasks.masking import check_masking, draw_mask
from evolving_attention.tasks.pretrained import PretrainedEncoder
from evolving_attention.tasks.time_series import TimeSeriesTask
from evolving_attention.tasks.time_series_batches import collate, read_out
from evolving_attention.tasks.time_series_data import Collection, LabelledSeries
from evolving_attention.tasks.time_series_processor import TimeSeriesProcessor, observed_length

__all__ = ["SeriesToFillIn", "TimeSeriesPretrainingTask", "refuse_differences"]


@dataclass
class SeriesToFillIn(Dataset[dict[str, Any]]):
    """Processed series, and which of their entries may be, or are, masked.

    Attributes
    ----------
    inputs : list of float32 array of shape (T, F)
    observed : list of bool array of shape (T, F)
        False where the processor filled in a missing value: there is no truth to predict.
    masks : list of bool array of shape (T, F), optional
        Masks drawn once. None: the collator draws others each time.
    """

    inputs: list[NDArray[np.float32]]
    observed: list[NDArray[np.bool_]]
    masks: list[NDArray[np.bool_]] | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        example = {"input_values": self.inputs[index], "observed": self.observed[index]}
        return example if self.masks is None else example | {"label_mask": self.masks[index]}


class TimeSeriesPretrainingTask(TimeSeriesTask):
    """Masked imputation of time series (Zerveas et al., KDD 2021); labels are ignored.

    Parameters
    ----------
    processing : ProcessingOptions, optional
        How series become inputs.
    pretraining : PretrainingOptions, optional
        How entries are masked.
    pretrained : PretrainedEncoder, optional
        An encoder to go on from.
    processor : TimeSeriesProcessor, optional
        A fitted processor to use. Default: one is fitted on the part that trains.
    """

    kinds: ClassVar[tuple[str, ...]] = ("pretraining",)

    def __init__(
        self,
        processing: ProcessingOptions | None = None,
        pretraining: PretrainingOptions | None = None,
        *,
        pretrained: PretrainedEncoder | None = None,
        processor: TimeSeriesProcessor | None = None,
    ) -> None:
        super().__init__("pretraining", processing, pretrained=pretrained)
        self.pretraining = pretraining or PretrainingOptions()
        check_masking(self.pretraining)
        refuse_differences(self.processor if pretrained is None else pretrained.processor)
        self.metric, self.greater_is_better = "loss", False
        self._fitted = processor

    #: The loss is the metric: predictions of every entry need not be gathered.
    compute_metrics = None  # type: ignore[assignment]

    def split(
        self, data: LabelledSeries, validation: float, seed: int
    ) -> tuple[SeriesToFillIn, SeriesToFillIn | None]:
        """Hold out a random part, fit the processor on the rest, and process both.

        The masks of the part held out are drawn once, so that epochs are compared on the same.
        """
        train, held_out = self._indices(np.arange(len(data.series)), validation, seed)
        series = [data.series[index] for index in train]
        longest = max(map(observed_length, data.series))
        self.processor = self._fitted or self._fitted_processor(series, longest)
        training = self._examples(series)
        if not len(held_out):
            return training, None
        return training, self._masked([data.series[index] for index in held_out], seed)

    def _examples(self, series: Collection) -> SeriesToFillIn:
        inputs = self.processor(series)
        observed = [
            _observed(values, processed, self.processor.longer_series)
            for values, processed in zip(series, inputs, strict=True)
        ]
        return SeriesToFillIn(inputs, observed)

    def _masked(self, series: Collection, seed: int) -> SeriesToFillIn:
        """Return examples whose masks are drawn once, from a seed."""
        examples = self._examples(series)
        chance = torch.Generator().manual_seed(seed)
        examples.masks = [
            draw_mask((1, *observed.shape), self.pretraining, chance)[0].numpy() & observed
            for observed in examples.observed
        ]
        return examples

    def collate(self, examples: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Make a padded batch and hide entries of it: ``label_mask [B, T, F]``, True at those.

        Masks that an example does not bring are drawn from PyTorch's global generator.
        """
        batch = collate(examples)
        if "label_mask" in examples[0]:
            return batch | {"label_mask": _padded(examples, "label_mask")}
        shape_BTF = batch["input_values"].shape
        drawn_BTF = draw_mask((shape_BTF[0], shape_BTF[1], shape_BTF[2]), self.pretraining)
        return batch | {"label_mask": drawn_BTF & _padded(examples, "observed")}

    @property
    def model_class(self) -> type[PreTrainedModel]:
        """The class of the network."""
        return EADCTransformerForPretraining

    def _output_options(self) -> dict[str, Any]:
        return {}

    def can_evaluate(self, data: LabelledSeries) -> bool:
        """Tell whether there is something to fill in: there is."""
        return True

    def predict(self, model: PreTrainedModel, data: LabelledSeries) -> pd.DataFrame:
        """Refuse: without labels there is nothing to predict."""
        raise InputError(
            "this network was pretrained without labels and has none to predict; embed gives its "
            "vectors, and train RECIPE --pretrained RUN makes a classifier or regressor of it."
        )

    def evaluate(self, model: PreTrainedModel, data: LabelledSeries) -> dict[str, float]:
        """Measure how well a network fills in entries; the same ones each time.

        Returns
        -------
        dict
            ``mse``, the mean squared error on masked entries, in normalised units, and
            ``interpolation_mse``, that of straight lines across the gaps.
        """
        examples = self._masked(data.series, seed=0)
        each = [examples[index] for index in range(len(examples))]
        squared, count = read_out(model, each, _squared_errors, self.collate).sum(0).tolist()
        lines = sum(_interpolation_error(one["input_values"], one["label_mask"]) for one in each)
        return {"mse": squared / max(count, 1), "interpolation_mse": lines / max(count, 1)}


def _squared_errors(model: PreTrainedModel, batch: dict[str, Tensor]) -> Tensor:
    """Return the sum of squared errors of each series, and how many they are: ``[B, 2]``."""
    mask_BTF = batch["label_mask"]
    error_BTF = (model(**batch).prediction - batch["input_values"]).masked_fill(~mask_BTF, 0.0)
    return torch.stack([error_BTF.square().sum((1, 2)), mask_BTF.sum((1, 2))], dim=1)


def _interpolation_error(values_TF: NDArray, mask_TF: NDArray[np.bool_]) -> float:
    """Return the sum of squared errors of lines across the gaps; 0 where a channel is hidden."""
    squared, step_T = 0.0, np.arange(len(values_TF))
    for values_T, mask_T in zip(values_TF.T, mask_TF.T, strict=True):
        seen_T = ~mask_T
        line = np.interp(step_T[mask_T], step_T[seen_T], values_T[seen_T]) if seen_T.any() else 0.0
        squared += float(np.square(values_T[mask_T] - line).sum())
    return squared


def refuse_differences(processor: TimeSeriesProcessor) -> None:
    """Raise :class:`InputError` where differences would tell what pretraining hides."""
    if processor.differences:
        raise InputError(
            f"series come with {processor.differences} orders of differences, which would give "
            "away what pretraining hides; set processing.differences to 0."
        )


def _observed(series_CT: NDArray, inputs_TF: NDArray, longer_series: str) -> NDArray[np.bool_]:
    """Return which of a processed series' entries were observed, not filled in."""
    observed_TF = np.isfinite(series_CT[:, : observed_length(series_CT)]).T
    if len(observed_TF) > len(inputs_TF) and longer_series == "resample":
        return np.ones(inputs_TF.shape, dtype=bool)  # entries of many steps each
    return np.ascontiguousarray(observed_TF[: len(inputs_TF)])


def _padded(examples: list[dict[str, Any]], name: str) -> Tensor:
    return pad_sequence([torch.from_numpy(one[name]) for one in examples], batch_first=True)
