"""From raw series to what a network reads, and from its outputs back to labels.

Learned from the training part and saved beside the model, it does at prediction what it did in
training.
"""

from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from transformers import AutoFeatureExtractor, FeatureExtractionMixin

from evolving_attention.errors import InputError
from evolving_attention.models.ea_dc_transformer import EADCTransformerConfig
from evolving_attention.recipe import ProcessingOptions, check_literals
from evolving_attention.tasks.class_labels import ClassLabels
from evolving_attention.tasks.time_series_data import (
    Collection,
    as_collection,
    as_numbers,
    check_labels,
)

__all__ = ["TimeSeriesProcessor", "observed_length", "processing_for"]

_IQR_OF_A_NORMAL = 1.3489795  # interquartile range of a normal distribution, in standard deviations


class TimeSeriesProcessor(ClassLabels, FeatureExtractionMixin):
    """Fill, normalise and clip series; encode targets.

    Missing values are interpolated linearly within a series, then taken from the channel's
    training mean. Steps at the end in which no channel was observed are padding and are cut off.

    Parameters
    ----------
    normalization, clip, longer_series
        See :class:`~evolving_attention.recipe.ProcessingOptions`.
    differences : int
        Orders of differences between steps that follow the values as channels of their own.
    **fitted
        What :meth:`fit` learned; given when loading.

    Attributes
    ----------
    max_length : int
        Steps of the longest training series.
    mean, center, scale : list of float
        Of each channel, differences included: the training mean, and what is subtracted and
        divided by.
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
        differences: int = 0,
        **fitted: Any,
    ) -> None:
        if clip is not None and not (isinstance(clip, int | float) and 0 < clip < np.inf):
            raise InputError(f"clip must be positive, or null for no clipping, got {clip!r}.")
        options = ProcessingOptions(normalization, clip, longer_series)  # type: ignore[arg-type]
        check_literals(options, "normalization", "longer_series")
        self.normalization = normalization
        self.clip = clip
        self.longer_series = longer_series
        self.differences = _checked(differences)
        super().__init__(**fitted)

    @property
    def num_channels(self) -> int:
        """Channels of the series."""
        return self.input_size // (1 + self.differences)

    @property
    def input_size(self) -> int:
        """Channels of what a network reads: those of the series, and of their differences."""
        self._check_learned("mean", "fit")
        return len(self.mean)

    def _check_learned(self, name: str, method: str) -> None:
        if not hasattr(self, name):
            raise InputError(
                f"the processor has learned nothing yet; call {method} on the training part first."
            )

    def fit(self, series: Collection, max_length: int | None = None) -> Self:
        """Learn the statistics of the training part; ``max_length`` is its longest by default."""
        series = [_without_padding(values) for values in as_collection(series)]
        self.max_length = max_length or max(map(observed_length, series))
        stacked = np.concatenate([self._differenced(values) for values in series], axis=1)
        observed = [channel[np.isfinite(channel)] for channel in stacked]
        statistics = [_statistics(channel, self.normalization) for channel in observed]
        self.mean, self.center, self.scale = (
            list(column) for column in zip(*statistics, strict=True)
        )
        return self

    def fit_classes(self, labels: NDArray) -> Self:
        """Learn the class labels, of any type."""
        check_labels(np.asarray(labels))
        return super().fit_classes(labels)

    def fit_targets(self, targets: NDArray) -> Self:
        """Learn mean and scale of each regression target."""
        targets_NO = as_numbers(targets).reshape(len(targets), -1)
        with np.errstate(over="ignore", invalid="ignore"):
            mean_O, spread_O = targets_NO.mean(0), targets_NO.std(0)
        if not np.isfinite([mean_O, spread_O]).all():
            raise InputError("targets are so large that their statistics overflow; rescale them.")
        constant_O = _is_constant(spread_O, np.abs(targets_NO).max(0))
        self.target_mean = mean_O.tolist()
        self.target_scale = np.where(constant_O, 1.0, spread_O).tolist()
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
        filled_CT = _filled(_without_padding(series_CT), np.asarray(self.mean[: len(series_CT)]))
        filled_CT = self._fitting(index, filled_CT)
        with np.errstate(over="ignore", invalid="ignore"):
            output_TC = self._normalised(self._differenced(filled_CT)).T.astype(np.float32)
        if not np.isfinite(output_TC).all():
            raise InputError(f"series {index} has values too large to be normalised; rescale it.")
        return np.ascontiguousarray(output_TC)

    def _differenced(self, series_CT: NDArray) -> NDArray:
        """Append the differences, of every order; the first step has none: 0."""
        orders = [series_CT]
        for _ in range(self.differences):
            orders.append(np.diff(orders[-1], axis=1, prepend=orders[-1][:, :1]))
        return np.concatenate(orders)

    def _normalised(self, series_CT: NDArray) -> NDArray:
        if self.normalization == "series":
            largest_C1 = np.abs(series_CT).max(1, keepdims=True)
            series_CT = series_CT / np.where(largest_C1 > 0, largest_C1, 1.0)  # lest it overflows
            spread_C1 = series_CT.std(1, keepdims=True)
            constant_C1 = _is_constant(spread_C1, np.ones(1))
            scale_C1 = np.where(constant_C1, 1.0, spread_C1)
            center_C1 = np.where(constant_C1, series_CT[:, :1], series_CT.mean(1, keepdims=True))
        else:
            center_C1, scale_C1 = np.array(self.center)[:, None], np.array(self.scale)[:, None]
        normal_CT = (series_CT - center_C1) / scale_C1
        if self.clip is None:
            return normal_CT
        beyond_CT = np.maximum(np.abs(normal_CT) - self.clip, 0.0)
        return np.clip(normal_CT, -self.clip, self.clip) + np.sign(normal_CT) * np.log1p(beyond_CT)

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
        if hasattr(self, "classes"):
            return super().encode(targets)
        targets_NO = self.numbers(targets)
        return ((targets_NO - self.target_mean) / self.target_scale).astype(np.float32)

    def numbers(self, targets: NDArray) -> NDArray[np.float64]:
        """Return regression targets (cases, targets), as many a series as in training."""
        self._check_learned("target_mean", "fit_classes or fit_targets")
        targets_NO = as_numbers(targets).reshape(len(targets), -1)
        if targets_NO.shape[1] != len(self.target_mean):
            raise InputError(
                f"each series has {targets_NO.shape[1]} targets, those of training had "
                f"{len(self.target_mean)}."
            )
        return targets_NO

    def decode(self, logits: NDArray) -> NDArray:
        """Turn a network's outputs into class labels, or into targets in their own units."""
        if hasattr(self, "classes"):
            return super().decode(logits)
        self._check_learned("target_mean", "fit_classes or fit_targets")
        targets_NO = logits.astype(np.float64) * self.target_scale + self.target_mean
        return targets_NO[:, 0] if targets_NO.shape[1] == 1 else targets_NO


def processing_for(
    kind: str, options: ProcessingOptions, *, is_pretrained: bool
) -> ProcessingOptions:
    """Return the options with a number for ``differences="auto"``."""
    if options.differences != "auto":
        return options
    return replace(options, differences=1 if kind == "regression" and not is_pretrained else 0)


def _checked(differences: object) -> int:
    is_number = isinstance(differences, int) and not isinstance(differences, bool)
    if not is_number or differences < 0:  # type: ignore[operator]
        raise InputError(f"differences must be a whole number, 0 or more, got {differences!r}.")
    return differences  # type: ignore[return-value]


def observed_length(series_CT: NDArray) -> int:
    """Return the steps of a series up to the last at which any channel was observed."""
    observed = np.flatnonzero(np.isfinite(series_CT).any(0))
    return int(observed[-1]) + 1 if len(observed) else series_CT.shape[1]


def _without_padding(series_CT: NDArray) -> NDArray:
    return series_CT[:, : observed_length(series_CT)]


def _is_constant(spread: NDArray, largest: NDArray) -> NDArray:
    """Tell a spread from the rounding error of a mean, whatever the unit."""
    return spread <= 1e-12 * largest


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
    if len(observed) == 0:
        return 0.0, 0.0, 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        mean, spread = float(observed.mean()), float(observed.std())
    if not np.isfinite((mean, spread)).all():
        raise InputError("values are so large that their statistics overflow; rescale the series.")
    if normalization in ("series", "none"):
        return mean, 0.0, 1.0
    if _is_constant(np.array(spread), np.abs(observed).max()):
        return mean, float(observed[0]), 1.0
    if normalization == "standard":
        return mean, mean, spread
    low, center, high = np.quantile(observed, (0.25, 0.5, 0.75)).tolist()
    width = (high - low) / _IQR_OF_A_NORMAL
    is_flat = _is_constant(np.array(width), np.abs(observed).max())
    return mean, center, spread if is_flat else width


AutoFeatureExtractor.register(EADCTransformerConfig, TimeSeriesProcessor)
