"""The time-series task: data to batches, networks to predictions, predictions to metrics.

Shape letters: B batch, T steps, F features (channels of the series).
"""

from dataclasses import asdict, replace
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from huggingface_hub.errors import StrictDataclassError
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    log_loss,
    mean_absolute_error,
    r2_score,
    root_mean_squared_error,
)
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor
from torch.utils.data import Dataset
from transformers import EvalPrediction, PreTrainedConfig, PreTrainedModel

from evolving_attention.errors import InputError, reading, reason
from evolving_attention.models.ea_dc_transformer import (
    EADCTransformerConfig,
    EADCTransformerForClassification,
    EADCTransformerForRegression,
)
from evolving_attention.recipe import (
    AugmentationOptions,
    ProcessingOptions,
    TimeSeriesRecipe,
)
from evolving_attention.tasks.augmentation import augmentation_for, check_augmentation
from evolving_attention.tasks.embedding import embed_series
from evolving_attention.tasks.networks import load_model, probability_table, unknown_option
from evolving_attention.tasks.pretrained import PretrainedEncoder
from evolving_attention.tasks.splitting import split_at_random, split_by_class
from evolving_attention.tasks.time_series_batches import (
    TimeSeriesDataset,
    collate,
    predict_logits,
)
from evolving_attention.tasks.time_series_data import Collection, LabelledSeries
from evolving_attention.tasks.time_series_processor import (
    TimeSeriesProcessor,
    observed_length,
    processing_for,
)

__all__ = ["TimeSeriesTask", "check_model_options", "model_options"]

#: With ``patch_size="auto"``, patches are made so long that a series has no more positions.
MAX_POSITIONS = 80


class TimeSeriesTask:
    """Classification or regression of time series.

    Parameters
    ----------
    kind : {"classification", "regression"}
        What is predicted.
    processing : ProcessingOptions
        How series become inputs.
    class_weight : {"balanced"} or dict of label to weight, optional
        Weight of the classes in the loss.
    augmentation : AugmentationOptions, optional
        How training series vary.
    pretrained : PretrainedEncoder, optional
        What networks start from. Default: chance.
    """

    #: What may be predicted.
    kinds: ClassVar[tuple[str, ...]] = ("classification", "regression")

    def __init__(
        self,
        kind: str,
        processing: ProcessingOptions | None = None,
        class_weight: str | dict[Any, float] | None = None,
        augmentation: AugmentationOptions | None = None,
        *,
        pretrained: PretrainedEncoder | None = None,
    ) -> None:
        if kind not in self.kinds:
            raise InputError(f"kind must be {' or '.join(map(repr, self.kinds))}, got {kind!r}.")
        self.kind = kind
        self.pretrained = pretrained
        self.processing = processing_for(
            kind, processing or ProcessingOptions(), is_pretrained=self._is_pretrained
        )
        self.class_weight = class_weight
        augmentation = augmentation or AugmentationOptions()
        check_augmentation(augmentation)
        self.augmentation = augmentation_for(kind, augmentation)
        self.processor = TimeSeriesProcessor(**asdict(self.processing))
        self.metric = "accuracy" if kind == "classification" else "rmse"
        self.greater_is_better = kind == "classification"
        self._class_weights: list[float] | None = None

    def split(
        self, data: LabelledSeries, validation: float, seed: int
    ) -> tuple[Dataset[Any], Dataset[Any] | None]:
        """Hold out a part to validate on, fit the processor on the rest, and process both.

        Class labels are known from all of ``data``; statistics come from the part that trains.
        """
        if data.targets is None:
            raise InputError("the training data have no targets; each series needs one.")
        train, held_out = self._indices(data.targets, validation, seed)
        series, targets = [data.series[index] for index in train], data.targets[train]
        longest = max(map(observed_length, data.series))
        self.processor = self._fitted_processor(series, longest)
        if self.kind == "classification":
            self.processor.fit_classes(data.targets)
            self._class_weights = self._weigh_classes(targets)
        else:
            self.processor.fit_targets(targets)
        training = TimeSeriesDataset(
            self.processor(series), self.processor.encode(targets), self.augmentation
        )
        if not len(held_out):
            return training, None
        series, targets = [data.series[index] for index in held_out], data.targets[held_out]
        return training, TimeSeriesDataset(self.processor(series), self.processor.encode(targets))

    @property
    def _is_pretrained(self) -> bool:
        """Whether pretraining, which hides values, sees what this network will read."""
        return self.pretrained is not None

    def _fitted_processor(self, series: Collection, longest: int) -> TimeSeriesProcessor:
        if self.pretrained is not None:
            return self.pretrained.processor_for(series, longest, self.processing.longer_series)
        return TimeSeriesProcessor(**asdict(self.processing)).fit(series, max_length=longest)

    def _indices(self, targets: NDArray, validation: float, seed: int) -> tuple[NDArray, NDArray]:
        """Return indices that train and that validate; classes as in :func:`split_by_class`."""
        if self.kind == "classification":
            return split_by_class(targets, validation, seed)
        return split_at_random(len(targets), validation, seed)

    def _weigh_classes(self, targets: NDArray) -> list[float] | None:
        if self.class_weight is None:
            return None
        classes = self.processor.class_labels
        if self.class_weight == "balanced":
            return compute_class_weight("balanced", classes=classes, y=targets).tolist()
        if not isinstance(self.class_weight, dict):
            raise InputError(
                f"class_weight must be 'balanced', a dict or None, got {self.class_weight!r}."
            )
        if unknown := set(self.class_weight) - set(classes.tolist()):
            raise InputError(
                f"class_weight names {sorted(map(str, unknown))}, which are not classes."
            )
        weights = [self.class_weight.get(label, 1.0) for label in classes.tolist()]
        if not all(isinstance(weight, Real) and 0 < weight < np.inf for weight in weights):
            raise InputError(f"class_weight must hold positive numbers, got {self.class_weight}.")
        return [float(weight) for weight in weights]

    def build_model(self, options: dict[str, Any]) -> PreTrainedModel:
        """Make a network that fits the data last split.

        Parameters
        ----------
        options : dict
            Options of :class:`EADCTransformerConfig`; ``patch_size`` may be ``"auto"`` (the
            default).
        """
        model = self.model_class(self.model_config(options))
        if self.pretrained is not None:
            self.pretrained.give(model)
        return model

    @property
    def model_class(self) -> type[PreTrainedModel]:
        """The class of the network."""
        if self.kind == "classification":
            return EADCTransformerForClassification
        return EADCTransformerForRegression

    def model_config(self, options: dict[str, Any]) -> EADCTransformerConfig:
        """Return the configuration for the data last split."""
        check_model_options(options)
        options = dict(options) if self.pretrained is None else self.pretrained.complete(options)
        if options.setdefault("patch_size", "auto") == "auto":
            options["patch_size"] = -(-self.processor.max_length // MAX_POSITIONS)
        options |= self._output_options()
        try:
            config = EADCTransformerConfig(
                input_size=self.processor.input_size,
                max_length=self.processor.max_length,
                **options,
            )
        except (ValueError, TypeError, StrictDataclassError) as error:
            raise InputError(f"the model's options do not work: {reason(error)}.") from error
        if config.pooling == "flatten" and self.processor.longer_series == "keep":
            self.processor.longer_series = "error"
        return config

    def _output_options(self) -> dict[str, Any]:
        """Return the options of the configuration that say what the head predicts."""
        if self.kind == "classification":
            names = [str(label) for label in self.processor.classes]
            return {
                "id2label": dict(enumerate(names)),
                "label2id": {name: index for index, name in enumerate(names)},
                "class_weights": self._class_weights,
            }
        return {"num_labels": len(self.processor.target_mean), "problem_type": "regression"}

    def load_network(self, folder: Path) -> PreTrainedModel:
        """Load a saved network, in evaluation mode, and its processor.

        Raises
        ------
        InputError
            A file is missing or damaged; the message names it.
        """
        with reading(folder / "preprocessor_config.json"):
            self.processor = TimeSeriesProcessor.from_pretrained(folder)
        return load_model(folder, self.model_class)

    def collate(self, examples: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Make a padded batch; see :func:`collate`."""
        return collate(examples)

    def compute_metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        """Measure a network's outputs against encoded targets."""
        encoded = np.asarray(prediction.label_ids)
        if self.kind == "classification":
            return self.measure(
                np.asarray(prediction.predictions), self.processor.class_labels[encoded]
            )
        return self.measure(np.asarray(prediction.predictions), self.processor.decode(encoded))

    def evaluate(self, model: PreTrainedModel, data: LabelledSeries) -> dict[str, float]:
        """Measure a network on labelled series; raise :class:`InputError` where they are not."""
        if data.targets is None:
            raise InputError("the series have no labels to evaluate on; each needs one.")
        return self.measure(predict_logits(model, self.processor, data.series), data.targets)

    def can_evaluate(self, data: LabelledSeries) -> bool:
        """Tell whether there are labels to measure a network by."""
        return data.targets is not None

    def predict(self, model: PreTrainedModel, data: LabelledSeries) -> pd.DataFrame:
        """Predict every series: a row each, with the probabilities of the classes."""
        logits = predict_logits(model, self.processor, data.series)
        predicted = self.processor.decode(logits)
        if self.kind == "regression":
            if predicted.ndim == 1:
                return pd.DataFrame({"prediction": predicted})
            return pd.DataFrame(predicted).add_prefix("prediction_")
        return probability_table(predicted, logits, self.processor.classes)

    def embed(self, model: PreTrainedModel, data: LabelledSeries) -> NDArray[np.float32]:
        """Return a vector for every series ``(cases, D)``; see :func:`embed_series`."""
        return embed_series(model, self.processor, data.series)

    def resolve(self, recipe: TimeSeriesRecipe, model: PreTrainedModel) -> TimeSeriesRecipe:
        """Return the recipe with every option of the model, and how series were processed."""
        names = ("normalization", "clip", "differences")
        used = {name: getattr(self.processor, name) for name in names}
        return replace(
            recipe,
            model=model_options(model.config),
            processing=replace(recipe.processing, **used),
        )

    def report(self) -> dict[str, Any]:
        """Return the losses of pretraining, where there was any."""
        return {"pretraining": None}

    def measure(self, logits: NDArray, targets: NDArray) -> dict[str, float]:
        """Measure a network's outputs against targets in their own terms."""
        predicted = self.processor.decode(logits)
        if self.kind == "regression":
            targets = self.processor.numbers(targets).reshape(predicted.shape)
            figures = {
                "rmse": float(root_mean_squared_error(targets, predicted)),
                "mae": float(mean_absolute_error(targets, predicted)),
            }
            if len(targets) > 1:  # one target has no variance to explain
                figures["r2"] = float(r2_score(targets, predicted))
            return figures
        encoded = self.processor.encode(targets)
        return {
            "accuracy": float(accuracy_score(encoded, logits.argmax(1))),
            "f1_macro": float(
                f1_score(encoded, logits.argmax(1), average="macro", zero_division=0)
            ),
            "log_loss": float(
                log_loss(encoded, softmax(logits, axis=1), labels=range(logits.shape[1]))
            ),
        }


#: Options of the model that a recipe may set; the others follow from the data.
_MODEL_OPTIONS = tuple(
    name
    for name in EADCTransformerConfig.__annotations__
    if name not in ("input_size", "max_length", "class_weights")
)


def check_model_options(options: dict[str, Any]) -> None:
    """Raise :class:`InputError` for the name of an option that the model does not have."""
    for name in options:
        if name not in _MODEL_OPTIONS:
            raise unknown_option(name, _MODEL_OPTIONS)


def model_options(config: PreTrainedConfig | None = None) -> dict[str, Any]:
    """Return every option of a model that a recipe may set; without a model, the defaults."""
    options = {name: getattr(config or EADCTransformerConfig(), name) for name in _MODEL_OPTIONS}
    return options if config is not None else options | {"patch_size": "auto"}
