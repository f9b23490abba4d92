"""The image task: images to batches, networks to predictions, predictions to metrics.

Shape letters: B batch, C channels, Y rows, X columns, K classes, D channels of the last stage.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.metrics import accuracy_score, f1_score, log_loss
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor
from torch.utils.data import Dataset
from transformers import EvalPrediction, PreTrainedModel

from evolving_attention.attention import overwriting_maps
from evolving_attention.errors import InputError, reading
from evolving_attention.models.ea_aa_resnet import EAAAResNetForImageClassification
from evolving_attention.models.plain_resnet_weights import PlainWeightsReport
from evolving_attention.recipe import (
    ImageAugmentationOptions,
    ImageProcessingOptions,
    ImageRecipe,
)
from evolving_attention.tasks.image_augmentation import check_image_augmentation, mixed, varied
from evolving_attention.tasks.image_data import ImageData
from evolving_attention.tasks.image_model import (
    image_config,
    model_options,
    start_from,
    variant_for,
)
from evolving_attention.tasks.image_processor import ImageProcessor
from evolving_attention.tasks.networks import finite, load_model, probability_table
from evolving_attention.tasks.splitting import split_by_class

__all__ = ["ImageDataset", "ImageTask"]

#: Images that a network is given at once outside of training.
BATCH = 64


@dataclass
class ImageDataset(Dataset[dict[str, Any]]):
    """Images and encoded classes; with ``varies``, a seed for a variation each time.

    Images are opened where batches are made: what is drawn here decides all of it, so that threads
    may do the work.
    """

    data: ImageData
    targets: NDArray
    varies: bool = False

    def __len__(self) -> int:
        return len(self.data)

    @property
    def lengths(self) -> list[int]:
        """All images are of one size: grouping by length leaves the order to chance."""
        return [1] * len(self)

    def __getitem__(self, index: int) -> dict[str, Any]:
        example = {"image": self.data.images[index], "labels": int(self.targets[index])}
        if self.varies:
            example["seed"] = int(torch.randint(2**62, ()))
        return example


class ImageTask:
    """Classification of images.

    Parameters
    ----------
    processing : ImageProcessingOptions, optional
        How images become inputs.
    class_weight : {"balanced"}, optional
        Weight of the classes in the loss.
    augmentation : ImageAugmentationOptions, optional
        How training images vary.
    pretrained : str, optional
        Weights to start from; see :class:`~evolving_attention.recipe.ImageRecipe`.
    workers : int
        Threads that read and vary files.
    """

    kind = "classification"
    metric = "accuracy"
    greater_is_better = True

    def __init__(
        self,
        processing: ImageProcessingOptions | None = None,
        class_weight: str | None = None,
        augmentation: ImageAugmentationOptions | None = None,
        *,
        pretrained: str | None = None,
        workers: int = 4,
    ) -> None:
        self.processing = processing or ImageProcessingOptions()
        self.augmentation = augmentation or ImageAugmentationOptions()
        check_image_augmentation(self.augmentation)
        self.class_weight, self.pretrained, self.workers = class_weight, pretrained, workers
        self.processor = ImageProcessor(**asdict(self.processing))
        self.started: PlainWeightsReport | None = None
        self._class_weights: list[float] | None = None

    def split(
        self, data: ImageData, validation: float, seed: int
    ) -> tuple[Dataset[Any], Dataset[Any] | None]:
        """Hold out a part to validate on, and fit the processor on the rest.

        Class labels are known from all of ``data``; statistics come from the part that trains.
        """
        if data.targets is None:
            raise InputError("the training data have no classes; each image needs one.")
        train, held_out = split_by_class(data.targets, validation, seed)
        training = data.take(train)
        self.processor = ImageProcessor(**asdict(self.processing)).fit(training)
        self.processor.fit_classes(data.targets)
        self._class_weights = None
        if self.class_weight == "balanced":
            self._class_weights = compute_class_weight(
                "balanced", classes=self.processor.class_labels, y=training.targets
            ).tolist()
        dataset = ImageDataset(training, self._encoded(training), varies=True)
        if not len(held_out):
            return dataset, None
        validating = data.take(held_out)
        return dataset, ImageDataset(validating, self._encoded(validating))

    def _encoded(self, data: ImageData) -> NDArray:
        assert data.targets is not None
        return self.processor.encode(data.targets)

    def build_model(self, options: dict[str, Any]) -> PreTrainedModel:
        """Make a network that fits the data last split; see :func:`image_config`."""
        names = [str(label) for label in self.processor.classes]
        config = image_config(
            options,
            self.processor.size,
            num_channels=self.processor.num_channels,
            id2label=dict(enumerate(names)),
            label2id={name: index for index, name in enumerate(names)},
            class_weights=self._class_weights,
        )
        model = EAAAResNetForImageClassification(config)
        if self.pretrained is not None:
            self.started = start_from(model, self.pretrained)
        return model

    def collate(self, examples: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Open, vary and stack images: ``pixel_values [B, C, Y, X]`` and ``labels``.

        Labels are class numbers ``[B]``, or shares ``[B, K]`` of mixed images.
        """
        images_BCYX = torch.stack(self._over(examples, self._prepared))
        if "labels" not in examples[0]:
            return {"pixel_values": images_BCYX}
        labels = torch.tensor([example["labels"] for example in examples])
        if self.augmentation.mixup and "seed" in examples[0]:
            classes = len(self.processor.classes)
            images_BCYX, labels = mixed(images_BCYX, labels, classes, self.augmentation.mixup)
        return {"pixel_values": images_BCYX, "labels": labels}

    def _prepared(self, example: dict[str, Any]) -> Tensor:
        if "seed" not in example:
            return self.processor.prepared(example["image"])
        image_CYX = self.processor.opened(example["image"])
        return varied(image_CYX, example["seed"], self.augmentation, self.processor)

    def _over(self, examples: list[dict[str, Any]], work: Callable[..., Tensor]) -> list[Tensor]:
        """Do the work for each example: in threads where images must be decoded."""
        if self.workers < 2 or isinstance(examples[0]["image"], np.ndarray):
            return [work(example) for example in examples]
        with ThreadPoolExecutor(self.workers) as pool:
            return list(pool.map(work, examples))

    def load_network(self, folder: Path) -> PreTrainedModel:
        """Load a saved network, in evaluation mode, and its processor.

        Raises
        ------
        InputError
            A file is missing or damaged; the message names it.
        """
        with reading(folder / "preprocessor_config.json"):
            self.processor = ImageProcessor.from_pretrained(folder)
        return load_model(folder, EAAAResNetForImageClassification)

    @torch.inference_mode()
    def outputs(
        self,
        model: PreTrainedModel,
        data: ImageData,
        read: Callable[[PreTrainedModel, Tensor], Tensor],
    ) -> NDArray[np.float32]:
        """Return what a network says of each image, in their order: ``(images, ...)``.

        ``read`` takes the network and a batch, and looks at no map.

        Raises
        ------
        InputError
            An output is not finite.
        """
        model.eval()
        rows = []
        for start in range(0, len(data), BATCH):
            indices = range(start, min(start + BATCH, len(data)))
            batch = self.collate([{"image": data.images[index]} for index in indices])
            pixel_values = batch["pixel_values"].to(model.device, model.dtype)
            with overwriting_maps():
                rows.append(read(model, pixel_values).float().cpu().numpy())
        return finite(np.concatenate(rows))

    def logits(self, model: PreTrainedModel, data: ImageData) -> NDArray[np.float32]:
        """Return a network's outputs ``(images, K)``."""
        return self.outputs(model, data, lambda model, batch: model(batch).logits)

    def compute_metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        """Measure a network's outputs against class numbers."""
        return _measured(np.asarray(prediction.predictions), np.asarray(prediction.label_ids))

    def can_evaluate(self, data: ImageData) -> bool:
        """Tell whether the images have classes."""
        return data.targets is not None

    def evaluate(self, model: PreTrainedModel, data: ImageData) -> dict[str, float]:
        """Measure a network on labelled images: top-1 and, from six classes on, top-5 accuracy."""
        if data.targets is None:
            raise InputError("the images have no classes to evaluate on; each needs one.")
        encoded = self.processor.encode(data.targets)  # first: a foreign class is told at once
        return _measured(self.logits(model, data), encoded)

    def predict(self, model: PreTrainedModel, data: ImageData) -> pd.DataFrame:
        """Predict every image: a row each, with the file and the probabilities of the classes."""
        logits = self.logits(model, data)
        predicted = self.processor.decode(logits)
        table = probability_table(predicted, logits, self.processor.classes)
        if data.names is not None:
            table.insert(0, "file", data.names)
        return table

    def embed(self, model: PreTrainedModel, data: ImageData) -> NDArray[np.float32]:
        """Return the mean features of the last stage for every image, ``(images, D)``."""
        return self.outputs(model, data, lambda model, batch: model.base_model(batch).pooler_output)

    def resolve(self, recipe: ImageRecipe, model: PreTrainedModel) -> ImageRecipe:
        """Return the recipe with every option of the model, and size and channels as used."""
        variant = variant_for(recipe.model, self.processor.size)
        options = model_options({**recipe.model, "variant": variant})
        processing = replace(
            recipe.processing,
            image_size=self.processor.size,
            channels="grey" if model.config.num_channels == 1 else "colour",
        )
        return replace(recipe, model=options, processing=processing)

    def report(self) -> dict[str, Any]:
        """Return what became of the weights that the network started from, if any."""
        return {"pretrained": None if self.started is None else str(self.started)}


def _measured(logits: NDArray, encoded: NDArray) -> dict[str, float]:
    predicted = logits.argmax(1)
    figures = {"accuracy": float(accuracy_score(encoded, predicted))}
    if logits.shape[1] > 5:
        best = np.argpartition(-logits, 5, axis=1)[:, :5]
        figures["top_5_accuracy"] = float((best == encoded[:, None]).any(1).mean())
    figures["f1_macro"] = float(f1_score(encoded, predicted, average="macro", zero_division=0))
    probabilities = softmax(logits.astype(np.float64), axis=1)
    figures["log_loss"] = float(log_loss(encoded, probabilities, labels=range(logits.shape[1])))
    return figures
