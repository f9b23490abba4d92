"""The family of image tasks."""

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from evolving_attention.errors import InputError
from evolving_attention.recipe import ImageRecipe, check_literals
from evolving_attention.tasks.family import SEARCH_SPACE, Family, check_source, folder_name
from evolving_attention.tasks.image_augmentation import check_image_augmentation
from evolving_attention.tasks.image_data import ImageData
from evolving_attention.tasks.image_model import check_model_options, model_options
from evolving_attention.tasks.image_processor import check_processing
from evolving_attention.tasks.image_sources import (
    existing_folder,
    load_image_file,
    load_image_parts,
    load_image_training,
)
from evolving_attention.tasks.image_task import ImageTask
from evolving_attention.tasks.splitting import split_at_random, split_by_class

__all__ = ["FAMILY", "ImageFamily"]


class ImageFamily(Family[ImageRecipe]):
    """Classification of images."""

    inputs = "images"
    example_file = "photo.jpg"
    search_space = MappingProxyType(
        {
            **SEARCH_SPACE,
            "model.beta": {"low": 0.0, "high": 1.0, "step": 0.1},  # 1 in the papers' networks
            "model.normalize_maps": {"choices": [False, True]},
            "model.branch_dropout": {"low": 0.0, "high": 0.5, "step": 0.1},
        }
    )

    def check(self, recipe: ImageRecipe) -> None:
        """Check data options, processing, augmentation and the names of the model's options."""
        check_literals(recipe.data, "broken", prefix="data.")
        for name in ("workers", "train_images", "test_images"):
            value = getattr(recipe.data, name)
            if value is not None and value < 1:
                raise InputError(f"data.{name} must be at least 1, got {value}.")
        check_processing(recipe.processing)
        check_image_augmentation(recipe.augmentation)
        check_model_options(recipe.model)

    def load(self, recipe: ImageRecipe) -> tuple[ImageData, ImageData | None]:
        """Load both parts of the recipe's data."""
        data = recipe.data
        training, test = load_image_parts(
            check_source(recipe), data.test, broken=data.broken, workers=data.workers
        )
        training = _drawn_to_train(training, data.train_images)
        return training, None if test is None else _drawn(test, data.test_images)

    def load_training(self, recipe: ImageRecipe) -> ImageData:
        """Load the training part alone."""
        data = recipe.data
        training = load_image_training(
            check_source(recipe), broken=data.broken, workers=data.workers
        )
        return _drawn_to_train(training, data.train_images)

    def load_file(self, recipe: ImageRecipe, path: Path, *, labelled: bool = False) -> ImageData:
        """Load an image, a folder of images, or the test part of an ``.npz``."""
        data = recipe.data
        return load_image_file(path, labelled=labelled, broken=data.broken, workers=data.workers)

    def task_of(self, recipe: ImageRecipe) -> ImageTask:
        """Return the task that a trained recipe's network works for."""
        return ImageTask(recipe.processing, recipe.class_weight, workers=recipe.data.workers)

    def task_to_train(self, recipe: ImageRecipe, *, progress: bool = False) -> ImageTask:
        """Return the task that trains a recipe, from the weights that it starts from."""
        self.check(recipe)
        if recipe.pretrained is not None and not Path(recipe.pretrained).exists():
            raise InputError(f"there are no weights {recipe.pretrained} to start from.")
        return ImageTask(
            recipe.processing,
            recipe.class_weight,
            recipe.augmentation,
            pretrained=recipe.pretrained,
            workers=recipe.data.workers,
        )

    def model_options(self, recipe: ImageRecipe) -> dict[str, Any]:
        """Return the recipe's options of the EA-AA-ResNet over those of its variant."""
        return model_options(recipe.model)

    def place(self, recipe: ImageRecipe, source: str) -> tuple[str, ImageRecipe]:
        """Return a data set's name and the recipe with it as its data."""
        is_named = source == "digits" or source.startswith("hub:")
        if not is_named and not Path(source).exists():
            raise InputError(f"there are no images at {source!r}.")
        if recipe.data.test is not None:
            existing_folder(recipe.data.test)
        name = source.removeprefix("hub:").rpartition("/")[2] if is_named else Path(source).stem
        return name, replace(recipe, data=replace(recipe.data, train=source))

    def data_settings(self, recipe: ImageRecipe) -> dict[str, Any]:
        """Return the names of the sources; files by name and size."""
        names = ("broken", "train_images", "test_images")
        settings: dict[str, Any] = {name: getattr(recipe.data, name) for name in names}
        for part in ("train", "test"):
            source = getattr(recipe.data, part)
            path = Path(source) if source else None
            if path is not None and path.is_file():
                source = f"{path.name}, {path.stat().st_size} bytes"
            elif path is not None and path.is_dir():
                source = folder_name(path)
            settings[part] = source
        return settings

    def title(self, recipe: ImageRecipe) -> str:
        """Return model, task and data."""
        return f"EA-AA-ResNet, {recipe.kind} of {recipe.data.train}"


def _drawn_to_train(data: ImageData, images: int | None) -> ImageData:
    """Return so many of the training images; see :func:`_drawn`."""
    if images is not None and data.targets is not None:
        classes = len(np.unique(data.targets))
        if images < classes:
            raise InputError(
                f"data.train_images={images} is too few for the {classes} classes of the training "
                "part: each needs one."
            )
    return _drawn(data, images)


def _drawn(data: ImageData, images: int | None) -> ImageData:
    """Return so many of the images, drawn from every class alike, in their order.

    Where there are fewer than classes, they are drawn from all.
    """
    if images is None or images >= len(data):
        return data
    targets = np.zeros(len(data)) if data.targets is None else data.targets
    left = 1 - images / len(data)
    if images < len(np.unique(targets)):
        chosen, _ = split_at_random(len(data), left, seed=0)
    else:
        chosen, _ = split_by_class(targets, left, seed=0)
    return data.take(np.sort(chosen))


FAMILY = ImageFamily()
