"""Images as they are given: arrays or files, grey or in colour, and their labels.

Shape letters: Y rows, X columns, C channels.
"""

import hashlib
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from evolving_attention.errors import InputError

__all__ = ["ImageData", "as_array", "picture", "without_broken"]


class Pictures(Protocol):
    """Images by number: arrays ``[Y, X, C]`` of uint8, paths, or what PIL opens."""

    def __len__(self) -> int:
        """Return how many there are."""

    def __getitem__(self, index: int) -> Any:
        """Return one."""


@dataclass
class ImageData:
    """Images and, where known, their classes.

    Attributes
    ----------
    images : sequence of arrays, paths or PIL images
        Arrays are ``[Y, X, C]``, uint8, with 1 or 3 channels. Files are read when they are needed.
    targets : array of shape (images,), optional
        Class labels.
    """

    images: Pictures
    targets: NDArray | None = None

    def __post_init__(self) -> None:
        if self.targets is not None and self.targets.shape[1:] == (1,):
            self.targets = self.targets[:, 0]  # a column, as Keras has them
        if self.targets is not None and self.targets.ndim != 1:
            raise InputError(
                f"labels must have the shape [images], one each, got {list(self.targets.shape)}."
            )
        if self.targets is not None and len(self.targets) != len(self.images):
            raise InputError(
                f"there are {len(self.images)} images but {len(self.targets)} labels; each image "
                "needs one."
            )
        if not len(self.images):
            raise InputError("there is no image in the data.")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def names(self) -> list[str] | None:
        """File names, where the images are files."""
        if not isinstance(self.images[0], Path):
            return None
        return [str(self.images[index]) for index in range(len(self))]

    def take(self, indices: NDArray) -> "ImageData":
        """Return some of the images, by their numbers from 0."""
        chosen = np.asarray(indices)
        if isinstance(self.images, np.ndarray):
            images: Pictures = self.images[chosen]
        else:
            images = _Chosen(self.images, chosen)
        return ImageData(images, None if self.targets is None else self.targets[chosen])

    def common_size(self) -> tuple[int, int] | None:
        """Return height and width where all images are arrays of one size."""
        if isinstance(self.images, np.ndarray):
            return int(self.images.shape[1]), int(self.images.shape[2])
        return None

    @property
    def is_grey(self) -> bool:
        """Whether all images are arrays with a single channel."""
        return isinstance(self.images, np.ndarray) and self.images.shape[3] == 1

    def fingerprint(self) -> str:
        """Return a hash of images and labels; files count by name and size."""
        digest = hashlib.sha256(repr(len(self)).encode())
        if isinstance(self.images, np.ndarray):
            digest.update(np.ascontiguousarray(self.images).tobytes())
        elif self.names is not None:
            for name in self.names:
                path = Path(name)
                digest.update(f"{path.name} {path.stat().st_size}".encode())
        if self.targets is not None:
            digest.update(repr(self.targets.tolist()).encode())
        return digest.hexdigest()


class _Chosen:
    """Some of a sequence's images."""

    def __init__(self, images: Pictures, indices: NDArray) -> None:
        self.images, self.indices = images, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.images[int(self.indices[index])]


def as_array(images: NDArray, what: str = "the images") -> NDArray[np.uint8]:
    """Return images as one array ``[N, Y, X, C]`` of uint8, with 1 or 3 channels.

    Parameters
    ----------
    images : array of shape [N, Y, X], [N, Y, X, C] or [N, C, Y, X]
        C is 1, 3, or 4 with transparency. Integers from 0 to 255, or floating point from 0 to 1.
    what : str
        What to call them in messages.
    """
    images = np.asarray(images)
    if images.ndim not in (3, 4) or not images.size:
        raise InputError(
            f"{what} must have the shape [images, height, width] or [images, height, width, "
            f"channels], got {list(images.shape)}."
        )
    if images.ndim == 3:
        images = images[..., None]
    if images.shape[3] not in (1, 3, 4) and images.shape[1] in (1, 3, 4):
        images = images.transpose(0, 2, 3, 1)
    if images.shape[3] not in (1, 3, 4):
        raise InputError(f"{what} must have 1, 3 or 4 channels, got {list(images.shape)}.")
    images = _as_bytes(images, what)
    if images.shape[3] == 4:
        images = np.stack([picture(each) for each in images])
    return images


def _as_bytes(images: NDArray, what: str) -> NDArray[np.uint8]:
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind not in "biuf":
        raise InputError(f"{what} must be numbers, got {images.dtype}.")
    most = 1.0 if images.dtype.kind in "bf" else 255.0
    low, high = float(images.min()), float(images.max())
    if not np.isfinite((low, high)).all():
        raise InputError(f"{what} must be finite numbers.")
    if low < 0 or high > most:
        raise InputError(
            f"{what} must lie between 0 and {most:g} as {images.dtype}, got {low:g} to {high:g}."
        )
    return (images * np.float64(255 / most)).round().astype(np.uint8)


def picture(source: Any, channels: int | None = None) -> NDArray[np.uint8]:
    """Return an image as ``[Y, X, C]``, uint8, with so many channels.

    Colour becomes grey by its luminance, grey becomes colour, what is transparent shows white, and
    a photo is turned as its camera noted.

    Parameters
    ----------
    source : array of shape [Y, X, C], path or PIL image
        The image.
    channels : {1, 3}, optional
        Default: 1 for a grey array, else 3.

    Raises
    ------
    InputError
        The file is no image, or is damaged; the message names it.
    """
    if isinstance(source, np.ndarray):
        own = source.shape[2]
        if own in (1, 3) and own == (channels or own):
            return source
        source = Image.fromarray(source[..., 0] if source.shape[2] == 1 else source)
    if isinstance(source, (str, Path)):
        return _read(Path(source), channels)
    return _converted(source, channels)


def _read(path: Path, channels: int | None) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            ImageOps.exif_transpose(image, in_place=True)  # as the Hub's images are
            return _converted(image, channels)
    except UnidentifiedImageError:
        raise InputError(f"{path} is no image, or of a format that is not known.") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as an image: {error}.") from error


def _converted(image: Image.Image, channels: int | None) -> NDArray[np.uint8]:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    if image.mode.startswith("I"):  # 16 bits, which PIL would cut off at 255
        wide = np.asarray(image, dtype=np.float64).clip(0, 65535)
        image = Image.fromarray((wide / 257).round().astype(np.uint8))
    array = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return array[..., None] if array.ndim == 2 else array


def without_broken(
    paths: Sequence[Path], targets: NDArray | None, workers: int
) -> tuple[list[Path], NDArray | None]:
    """Decode every file, warn of those that cannot be read, and return the others."""

    def fault(path: Path) -> str | None:
        try:
            picture(path)
        except InputError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(max(1, workers)) as pool:
        faults = list(pool.map(fault, paths))
    for told in filter(None, faults):
        warnings.warn(f"left out: {told}", stacklevel=2)
    whole = np.array([told is None for told in faults], dtype=bool)
    kept = [path for path, is_whole in zip(paths, whole, strict=True) if is_whole]
    return kept, None if targets is None else targets[whole]
