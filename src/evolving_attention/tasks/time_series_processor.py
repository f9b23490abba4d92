"""From raw series to what a network reads, and from its outputs back to labels.

Learned from the training part and saved beside the model, it does at prediction what it did in
training.
"""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from transformers import AutoFeatureExtractor, FeatureExtractionMixin

from evolving_attention.errors import InputError
from evolving_attention.models.ea_dc_transformer import EADCTransformerConfig
from evolving_attention.tasks.time_series_data import Collection, as_collection

__all__ = ["TimeSeriesProcessor"]

_IQR_OF_A_NORMAL = 1.3489795  # interquartile range of a normal distribution, in standard deviations


class TimeSeriesProcessor(FeatureExtractionMixin):
    """Fill, normalise and clip series; encode targets.

    Missing values are interpolated linearly within a series, then taken from the channel's
    training mean. Steps at the end in which no channel was observed are padding and are cut off.

    Parameters
    ----------
    normalization, clip, longer_series
        See :class:`~evolving_attention.recipe.ProcessingOptions`.
    **fitted
        What :meth:`fit` learned; given when loading.

    Attributes
    ----------
    max_length : int
        Steps of the longest training series.
    mean, center, scale : list of float
        Of each channel: the training mean, and what is subtracted and divided by.
    classes : list, optional
        Class labels in the order of the network's outputs.
    target_mean, target_scale : list of float, optional
        Of each regression target.
    """

    model_input_names = ("input_values", "attention_mask")

    def __init__(
        self,
        normalization: str = "robust",
        clip: float | None = 5.0,
        longer_series: str = "keep",
        **fitted: Any,
    ) -> None:
        if clip is not None and clip <= 0:
            raise InputError(f"clip must be positive, or null for no clipping, got {clip}.")
        self.normalization = normalization
        self.clip = clip
        self.longer_series = longer_series
        super().__init__(**fitted)

    @property
    def num_channels(self) -> int:
        """Channels of the series."""
        if not hasattr(self, "mean"):
            raise InputError(
                "the processor has learned no statistics yet; call fit on the training part."
            )
        return len(self.mean)

    def fit(self, series: Collection, max_length: int | None = None) -> Self:
        """Learn the statistics of the training part; ``max_length`` is its longest by default."""
        series = [_without_padding(values) for values in as_collection(series)]
        self.max_length = max_length or max(values.shape[1] for values in series)
        stacked = np.concatenate(series, axis=1)
        observed = [channel[np.isfinite(channel)] for channel in stacked]
        statistics = [_statistics(channel, self.normalization) for channel in observed]
        self.mean, self.center, self.scale = (
            list(column) for column in zip(*statistics, strict=True)
        )
        return self

    def fit_classes(self, labels: NDArray) -> Self:
        """Learn the class labels, of any type."""
        classes = np.unique(labels)
        if len(classes) < 2:
            raise InputError(
                f"classification needs at least 2 classes, got only {classes.tolist()}."
            )
        self.classes, self.class_type = classes.tolist(), classes.dtype.str
        return self

    def fit_targets(self, targets: NDArray) -> Self:
        """Learn mean and scale of each regression target."""
        targets_NO = np.asarray(targets, dtype=np.float64).reshape(len(targets), -1)
        spread = targets_NO.std(0)
        self.target_mean = targets_NO.mean(0).tolist()
        self.target_scale = np.where(spread > 0, spread, 1.0).tolist()
        return self

    def __call__(self, series: ArrayLike | Collection) -> list[NDArray[np.float32]]:
        """Return each series as an array (steps, channels), filled, normalised and clipped.

        Raises
        ------
        InputError
            A series has other channels than the training series, or is too long where that is an
            error.
        """
        collection = as_collection(series)
        if collection[0].shape[0] != self.num_channels:
            raise InputError(
                f"the series have {collection[0].shape[0]} channels, those of training had "
                f"{self.num_channels}."
            )
        return [self._process(index, values) for index, values in enumerate(collection)]

    def _process(self, index: int, series_CT: NDArray) -> NDArray[np.float32]:
        filled_CT = _filled(_without_padding(series_CT), np.asarray(self.mean))
        filled_CT = self._fitting(index, filled_CT)
        if self.normalization == "series":
            spread_C1 = filled_CT.std(1, keepdims=True)
            normal_CT = (filled_CT - filled_CT.mean(1, keepdims=True)) / np.where(
                spread_C1 > 1e-8, spread_C1, 1.0
            )
        else:
            normal_CT = (filled_CT - np.asarray(self.center)[:, None]) / np.asarray(self.scale)[
                :, None
            ]
        if self.clip is not None:
            beyond_CT = np.maximum(np.abs(normal_CT) - self.clip, 0.0)
            normal_CT = np.clip(normal_CT, -self.clip, self.clip) + np.sign(normal_CT) * np.log1p(
                beyond_CT
            )
        return np.ascontiguousarray(normal_CT.T, dtype=np.float32)

    def _fitting(self, index: int, series_CT: NDArray) -> NDArray:
        length = series_CT.shape[1]
        if length <= self.max_length or self.longer_series == "keep":
            return series_CT
        if self.longer_series == "truncate":
            return series_CT[:, : self.max_length]
        if self.longer_series == "resample":
            positions = np.linspace(0, length - 1, self.max_length)
            return np.stack(
                [np.interp(positions, np.arange(length), channel) for channel in series_CT]
            )
        raise InputError(
            f"series {index} has {length} steps, the longest in training had {self.max_length}: "
            "set longer_series to "
            "'resample' or 'truncate', or use a model with pooling='mean', 'max' or 'attention' "
            "and 'keep'."
        )

    def encode(self, targets: NDArray) -> NDArray:
        """Turn labels into class numbers, or targets into standard units (cases, targets)."""
        if not hasattr(self, "classes"):
            targets_NO = np.asarray(targets, dtype=np.float64).reshape(len(targets), -1)
            return ((targets_NO - self.target_mean) / self.target_scale).astype(np.float32)
        number = {label: index for index, label in enumerate(self.classes)}
        try:
            return np.array(
                [number[label] for label in np.asarray(targets).tolist()], dtype=np.int64
            )
        except KeyError as error:
            raise InputError(
                f"class {error.args[0]!r} was not among the training classes {self.classes}."
            ) from None

    def decode(self, logits: NDArray) -> NDArray:
        """Turn a network's outputs into class labels, or into targets in their own units."""
        if hasattr(self, "classes"):
            return self.class_labels[logits.argmax(1)]
        targets_NO = logits.astype(np.float64) * self.target_scale + self.target_mean
        return targets_NO[:, 0] if targets_NO.shape[1] == 1 else targets_NO

    @property
    def class_labels(self) -> NDArray:
        """Class labels in their own type, in the order of the network's outputs."""
        return np.array(self.classes, dtype=np.dtype(self.class_type))


def _without_padding(series_CT: NDArray) -> NDArray:
    observed = np.flatnonzero(np.isfinite(series_CT).any(0))
    return series_CT[:, : observed[-1] + 1] if len(observed) else series_CT


def _filled(series_CT: NDArray, mean_C: NDArray) -> NDArray:
    missing_CT = np.isnan(series_CT)
    if not missing_CT.any():
        return series_CT
    filled_CT, step_T = series_CT.copy(), np.arange(series_CT.shape[1])
    for channel, missing_T, mean in zip(filled_CT, missing_CT, mean_C, strict=True):
        known_T = ~missing_T
        channel[missing_T] = (
            np.interp(step_T[missing_T], step_T[known_T], channel[known_T])
            if known_T.any()
            else mean
        )
    return filled_CT


def _statistics(observed: NDArray, normalization: str) -> tuple[float, float, float]:
    """Return mean, center and scale of the observed values of a channel."""
    if normalization not in ("robust", "standard", "series", "none"):
        raise InputError(
            "normalization must be 'robust', 'standard', 'series' or 'none', got "
            f"{normalization!r}."
        )
    if len(observed) == 0:
        return 0.0, 0.0, 1.0
    mean, spread = float(observed.mean()), float(observed.std())
    center, scale = (mean, spread) if normalization == "standard" else (0.0, 1.0)
    if normalization == "robust":
        low, center, high = (
            float(quantile) for quantile in np.quantile(observed, (0.25, 0.5, 0.75))
        )
        scale = (high - low) / _IQR_OF_A_NORMAL or spread
    if not np.isfinite((mean, center, scale)).all():
        raise InputError("values are so large that their statistics overflow; rescale the series.")
    return mean, center, scale if scale > 1e-12 * max(1.0, abs(center)) else 1.0


AutoFeatureExtractor.register(EADCTransformerConfig, TimeSeriesProcessor)
