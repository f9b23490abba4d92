"""The family of time-series tasks."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from aeon.datasets.tser_datasets import tser_soton

from evolving_attention.errors import InputError
from evolving_attention.models.ea_dc_transformer import EADCTransformerConfig
from evolving_attention.recipe import AugmentationOptions, TimeSeriesRecipe
from evolving_attention.tasks.augmentation import check_augmentation
from evolving_attention.tasks.family import SEARCH_SPACE, Family, Space, check_source
from evolving_attention.tasks.pretrained import FREE_OPTIONS, PretrainedEncoder
from evolving_attention.tasks.time_series import TimeSeriesTask, check_model_options, model_options
from evolving_attention.tasks.time_series_data import (
    LabelledSeries,
    check_targets,
    load_file,
    load_splits,
    load_training,
    training_file,
)
from evolving_attention.tasks.time_series_fine_tuning import FineTuningTask
from evolving_attention.tasks.time_series_pretraining import TimeSeriesPretrainingTask

__all__ = ["FAMILY", "TimeSeriesFamily"]


class TimeSeriesFamily(Family[TimeSeriesRecipe]):
    """Classification, regression and pretraining of time series."""

    inputs = "series"
    example_file = "series.ts"
    has_peers = True
    search_space = MappingProxyType(
        {
            **SEARCH_SPACE,
            "model.key_ratio": {"choices": [0.125, 0.25, 0.5]},
            "model.value_ratio": {"choices": [0.125, 0.25, 0.5]},
            "model.hidden_size": {"choices": [32, 64, 128]},
            "model.hidden_dropout": {"low": 0.0, "high": 0.5, "step": 0.1},
        }
    )

    def check(self, recipe: TimeSeriesRecipe) -> None:
        """Check augmentation and model; options that depend on the data are checked with them."""
        check_augmentation(recipe.augmentation)
        check_model_options(recipe.model)
        if recipe.pretrained is None:  # whose options would come first
            EADCTransformerConfig(**{**recipe.model, "patch_size": 1})

    def load(self, recipe: TimeSeriesRecipe) -> tuple[LabelledSeries, LabelledSeries | None]:
        """Load both parts of the recipe's data."""
        data = recipe.data
        return load_splits(
            check_source(recipe),
            data.test,
            kind=recipe.kind,
            layout=data.layout,
            archive=data.archive,
        )

    def load_training(self, recipe: TimeSeriesRecipe) -> LabelledSeries:
        """Load the training part alone."""
        data = recipe.data
        return load_training(
            check_source(recipe), kind=recipe.kind, layout=data.layout, archive=data.archive
        )

    def load_file(
        self, recipe: TimeSeriesRecipe, path: Path, *, labelled: bool = False
    ) -> LabelledSeries:
        """Load the series of a file, or the test part of an ``.npz``."""
        data = load_file(path, recipe.data.layout, "test")
        if labelled:
            check_targets(data, recipe.kind, str(path))
        return data

    def task_of(self, recipe: TimeSeriesRecipe) -> TimeSeriesTask:
        """Return the task that a trained recipe's network works for."""
        if recipe.kind == "pretraining":
            return TimeSeriesPretrainingTask(recipe.processing, recipe.pretraining)
        return TimeSeriesTask(recipe.kind, recipe.processing, recipe.class_weight)

    def task_to_train(self, recipe: TimeSeriesRecipe, *, progress: bool = False) -> TimeSeriesTask:
        """Return the task that trains a recipe, from the network that it starts from."""
        _check_pretraining(recipe)
        start = None if recipe.pretrained is None else PretrainedEncoder.load(recipe.pretrained)
        if recipe.kind == "pretraining":
            return TimeSeriesPretrainingTask(
                recipe.processing, recipe.pretraining, pretrained=start
            )
        return FineTuningTask(
            recipe.kind,
            recipe.processing,
            recipe.class_weight,
            recipe.augmentation,
            pretrained=start,
            pretraining=recipe.pretraining,
            training=recipe.training,
            freeze=recipe.freeze,
            progress=progress,
        )

    def model_options(self, recipe: TimeSeriesRecipe) -> dict[str, Any]:
        """Return the recipe's options of the EA-DC-Transformer over its defaults."""
        check_model_options(recipe.model)
        return model_options() | recipe.model

    def space_of(self, recipe: TimeSeriesRecipe) -> Space:
        """Return the space of the family; of a pretrained encoder without what its weights fix."""
        if recipe.pretrained is None:
            return self.search_space
        free = [f"model.{name}" for name in FREE_OPTIONS]
        return {
            name: written
            for name, written in self.search_space.items()
            if name in free or not name.startswith("model.")
        }

    def fitted(self, recipe: TimeSeriesRecipe, searched: Collection[str]) -> TimeSeriesRecipe:
        """Make key and value ratios the nearest that the heads can share.

        Channels of attention are a multiple of the heads.
        """
        model, fitted = self.model_options(recipe), dict(recipe.model)
        for name in ("key_ratio", "value_ratio"):
            if f"model.{name}" in searched and model[name] > 0:
                unit = model["num_attention_heads"] / model["hidden_size"]
                units = min(max(round(model[name] / unit), 1), int(1 / unit))
                fitted[name] = units * unit
        return replace(recipe, model=fitted)

    def place(self, recipe: TimeSeriesRecipe, source: str) -> tuple[str, TimeSeriesRecipe]:
        """Return a data set's name, and the recipe with it and the task that its targets need."""
        file = training_file(source)
        for path in (file, _path(recipe.data.test)):
            if path and not path.is_file():
                raise InputError(f"there is no file {path}.")
        name = file.stem.removesuffix("_TRAIN") if file else source
        data = replace(recipe.data, train=source)
        return name, replace(recipe, data=data, task=_task(source, file, recipe.task))

    def data_settings(self, recipe: TimeSeriesRecipe) -> dict[str, Any]:
        """Return names and sizes of the files, or the name in the archive, and the layout."""
        data = recipe.data
        settings: dict[str, Any] = {"layout": data.layout, "train": data.train, "test": data.test}
        files = {"train": data.train and training_file(data.train), "test": _path(data.test)}
        for part, file in files.items():
            if file and file.is_file():
                settings[part] = f"{file.name}, {file.stat().st_size} bytes"
        return settings

    def title(self, recipe: TimeSeriesRecipe) -> str:
        """Return model, task and data."""
        return f"EA-DC-Transformer, {recipe.kind} of {recipe.data.train}"


def _path(source: str | None) -> Path | None:
    return Path(source).expanduser() if source else None


def _check_pretraining(recipe: TimeSeriesRecipe) -> None:
    if recipe.kind != "pretraining":
        return
    if recipe.pretraining.epochs:
        raise InputError(
            "pretraining.epochs is for classifiers and regressors that are pretrained first; a "
            "recipe that only pretrains has training.epochs."
        )
    given = {"freeze": recipe.freeze, "class_weight": recipe.class_weight}
    given["augmentation"] = recipe.augmentation != AugmentationOptions()
    for name, is_given in given.items():
        if is_given:
            raise InputError(
                f"{name} is for classifiers and regressors; pretraining has no use for it."
            )


def _task(source: str, file: Path | None, default: str) -> Any:
    """Tell classification from regression by the header of a ``.ts``, or aeon's archives."""
    if file is None:
        return "time_series_regression" if source in tser_soton else default
    if file.suffix != ".ts":
        return default
    with file.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            words = line.lower().split()
            if words[:2] == ["@targetlabel", "true"]:
                return "time_series_regression"
            if words[:2] == ["@classlabel", "true"]:
                return "time_series_classification"
            if words[:1] == ["@data"]:
                break
    return default


FAMILY = TimeSeriesFamily()
