"""Where images are read from: folders, files of many images, the Hub, scikit-learn."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evolving_attention.errors import InputError, needing, reason
from evolving_attention.tasks.image_data import ImageData, as_array, without_broken
from evolving_attention.tasks.image_formats import (
    Parts,
    archive_parts,
    idx_parts,
    read_archive,
    read_idx,
    sheet_parts,
)

__all__ = [
    "IMAGE_SUFFIXES",
    "existing_folder",
    "load_image_file",
    "load_image_parts",
    "load_image_training",
]

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
    parts = _find(source, folders)
    if test is not None:
        parts.test = partial(folders.by_class, existing_folder(test))
    return parts.training(), None if parts.test is None else parts.test()


def load_image_training(source: str, *, broken: str = "refuse", workers: int = 4) -> ImageData:
    """Load the training part alone; the files of a test part are not opened."""
    return _find(source, _Folders(broken, workers)).training()


def _find(source: str, folders: "_Folders") -> Parts:
    if source == "digits":
        return Parts(partial(_digits, test=False), partial(_digits, test=True))
    if source.startswith("hub:"):
        return _hub(source.removeprefix("hub:"))
    path = Path(source)
    if path.suffix == ".npz":
        return archive_parts(path)
    if not path.is_dir():
        raise InputError(
            f"there are no images at {source!r}: name a folder, an .npz file, 'digits' or "
            "'hub:NAME'."
        )
    return idx_parts(path) or sheet_parts(path) or folders.parts(path)


# scikit-learn's digits


def _digits(test: bool) -> ImageData:
    """Return 1,437 or 360 digits of 8 x 8 pixels of a stratified split that never changes."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8, 1) * (255 / 16)).round().astype(np.uint8)
    parts = train_test_split(np.arange(len(labels)), test_size=0.2, random_state=0, stratify=labels)
    chosen = parts[test]
    return ImageData(images[chosen], labels[chosen])


# Folders of images


class _Folders:
    """Reads folders of image files."""

    def __init__(self, broken: str, workers: int) -> None:
        self.broken, self.workers = broken, workers

    def parts(self, folder: Path) -> Parts:
        """Return what ``train`` holds and a test part beside it, or the folder's own classes."""
        if not (folder / "train").is_dir():
            return Parts(partial(self.by_class, folder))
        beside = (folder / name for name in _TEST_FOLDERS)
        test = next((each for each in beside if each.is_dir()), None)
        training = partial(self.by_class, folder / "train")
        return Parts(training, None if test is None else partial(self.by_class, test))

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


def existing_folder(name: str) -> Path:
    """Return a folder of test images; raise :class:`InputError` unless there is one."""
    if not Path(name).is_dir():
        raise InputError(f"there is no folder {name!r} of test images.")
    return Path(name)


# The Hub


class _HubImages:
    """The images of a column, read when they are needed."""

    def __init__(self, rows: Any, column: str) -> None:
        self.rows, self.column = rows, column

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.rows[int(index)][self.column]


def _hub(name: str) -> Parts:
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
    return Parts(
        partial(_hub_part, splits["train"], name),
        None if test is None else partial(_hub_part, splits[test], name),
    )


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
        if parts := idx_parts(path) or sheet_parts(path):
            return (parts.test or parts.training)()
        return folders.by_class(path) if labelled else folders.flat(path)
    if not path.is_file():
        raise InputError(f"there is no file or folder {path}.")
    if path.suffix == ".npz":
        return read_archive(path)
    if "ubyte" in path.name:
        return ImageData(as_array(read_idx(path), str(path)))
    return ImageData([path])
