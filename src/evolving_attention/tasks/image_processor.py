"""From images to what a network reads, and from its outputs back to labels.

Learned from the training part and saved beside the model, it does at prediction what it did in
training.

Shape letters: B images, C channels, Y rows, X columns.
"""

from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoFeatureExtractor, FeatureExtractionMixin

from evolving_attention.errors import InputError
from evolving_attention.models.ea_aa_resnet import EAAAResNetConfig
from evolving_attention.recipe import ImageProcessingOptions, check_literals
from evolving_attention.tasks.class_labels import ClassLabels
from evolving_attention.tasks.image_data import ImageData, picture

__all__ = ["ImageProcessor", "resized"]

#: Size of files, whose sizes differ, when none is asked for.
DEFAULT_SIZE = 224

#: How many training images, evenly spaced, the mean and deviation of channels are taken from.
STATISTICS_OF = 2000

_IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


class ImageProcessor(ClassLabels, FeatureExtractionMixin):
    """Convert, resize, crop and normalise images; encode classes.

    Parameters
    ----------
    image_size, channels, crop, normalization
        See :class:`~evolving_attention.recipe.ImageProcessingOptions`.
    **fitted
        What :meth:`fit` learned; given when loading.

    Attributes
    ----------
    size : list of int
        Height and width of what the network reads.
    num_channels : int
        1 or 3.
    mean, scale : list of float
        What is subtracted from each channel, of values from 0 to 1, and what it is divided by.
    classes : list
        Class labels in the order of the network's outputs.
    """

    model_input_names = ("pixel_values",)

    def __init__(
        self,
        image_size: int | list[int] | str = "auto",
        channels: str = "auto",
        crop: float = 1.0,
        normalization: str = "training",
        **fitted: Any,
    ) -> None:
        options = ImageProcessingOptions(image_size, channels, crop, normalization)  # type: ignore[arg-type]
        check_processing(options)
        self.image_size, self.channels = image_size, channels
        self.crop, self.normalization = crop, normalization
        super().__init__(**fitted)

    def fit(self, data: ImageData) -> Self:
        """Learn size, channels and statistics from the images of the training part."""
        size: Any = self.image_size
        if size == "auto":
            size = data.common_size() or DEFAULT_SIZE
        self.size: list[int] = [size, size] if isinstance(size, int) else list(size)
        grey = data.is_grey if self.channels == "auto" else self.channels == "grey"
        self.num_channels = 1 if grey else 3
        self.mean, self.scale = self._statistics(data)
        return self

    def _statistics(self, data: ImageData) -> tuple[list[float], list[float]]:
        if self.normalization == "none":
            return [0.0] * self.num_channels, [1.0] * self.num_channels
        if self.normalization == "imagenet":
            mean, scale = (np.array(values) for values in _IMAGENET)
            if self.num_channels == 1:
                return [float(mean.mean())], [float(scale.mean())]
            return mean.tolist(), scale.tolist()
        count = min(len(data), STATISTICS_OF)
        sums_2C, pixels = np.zeros((2, self.num_channels)), 0
        for index in np.linspace(0, len(data) - 1, count).round().astype(int):
            bytes_YXC = picture(data.images[index], self.num_channels)
            values_PC = bytes_YXC.reshape(-1, self.num_channels) / 255
            sums_2C += values_PC.sum(0), np.square(values_PC).sum(0)
            pixels += len(values_PC)
        mean_C, square_C = sums_2C / pixels
        scale_C = np.sqrt(np.maximum(square_C - mean_C**2, 0))
        return mean_C.tolist(), np.where(scale_C < 1e-6, 1.0, scale_C).tolist()

    def opened(self, source: Any) -> Tensor:
        """Return an image ``[C, Y, X]`` of its own size, with values from 0 to 1."""
        array = np.array(picture(source, self.num_channels))  # a copy: files are read-only
        return torch.from_numpy(array).permute(2, 0, 1).float() / 255

    def normalised(self, image_CYX: Tensor) -> Tensor:
        """Subtract the mean of each channel and divide by its deviation."""
        mean_C11, scale_C11 = (
            torch.tensor(values)[:, None, None] for values in (self.mean, self.scale)
        )
        return (image_CYX - mean_C11) / scale_C11

    def framed(self, image_CYX: Tensor) -> Tensor:
        """Resize an image until it covers the frame and cut out its middle."""
        height, width = (round(side / self.crop) for side in self.size)
        own = image_CYX.shape[-2:]
        factor = max(height / own[0], width / own[1])
        new = [
            max(side, round(length * factor)) for side, length in zip(self.size, own, strict=True)
        ]
        image_CYX = resized(image_CYX, new)
        top, left = ((a - b) // 2 for a, b in zip(new, self.size, strict=True))
        return image_CYX[:, top : top + self.size[0], left : left + self.size[1]]

    def prepared(self, source: Any) -> Tensor:
        """Return one image as the network reads it, ``[C, Y, X]``."""
        return self.normalised(self.framed(self.opened(source)))

    def __call__(self, images: Any) -> Tensor:
        """Return images as a batch ``[B, C, Y, X]``."""
        return torch.stack([self.prepared(images[index]) for index in range(len(images))])


def resized(image_CYX: Tensor, size: list[int]) -> Tensor:
    """Interpolate an image to a height and width, averaging where it shrinks."""
    if list(image_CYX.shape[-2:]) == size:
        return image_CYX
    return F.interpolate(
        image_CYX[None], size, mode="bilinear", align_corners=False, antialias=True
    )[0]


def check_processing(options: ImageProcessingOptions) -> None:
    """Raise :class:`InputError`, in one sentence, for an option that cannot work."""
    check_literals(options, "channels", "normalization", prefix="processing.")
    if not 0 < options.crop <= 1:
        raise InputError(f"processing.crop must lie in (0, 1], got {options.crop}.")
    sides = options.image_size
    if sides == "auto":
        return
    sides = [sides, sides] if isinstance(sides, int) else sides
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise InputError(
            "processing.image_size must be a side, a height and a width, or 'auto', got "
            f"{options.image_size!r}."
        )


AutoFeatureExtractor.register(EAAAResNetConfig, ImageProcessor)
