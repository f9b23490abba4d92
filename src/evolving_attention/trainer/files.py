"""Files that are whole or not there: written beside their place, flushed to the disk, then renamed.

A process may be killed at any moment; what it leaves under a final name is complete.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from evolving_attention.errors import InputError

__all__ = ["file_sum", "is_whole", "remove_folder", "replacing_files", "telling", "whole_folder"]

_SUMS = "sha256.json"


@contextmanager
def telling(folder: Path, consequence: str) -> Iterator[None]:
    """Turn an error of writing, such as a full disk, into one sentence that says what to do."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        said = (isinstance(error, OSError) and error.strerror) or str(error)
        raise InputError(f"{folder} cannot be written ({said}): {consequence}.") from error


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Give a folder to write into, which becomes ``target`` at the end of the block, or nothing."""
    draft = _draft(target)
    try:
        yield draft
        sums = {path.name: file_sum(path) for path in sorted(draft.iterdir())}
        (draft / _SUMS).write_text(json.dumps(sums, indent=2) + "\n")
        _flush(*draft.iterdir(), draft)
        draft.rename(target)
        _flush(target.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


@contextmanager
def replacing_files(folder: Path) -> Iterator[Path]:
    """Give a folder to write into, whose files replace those of ``folder`` one after the other.

    Until all of them are written, ``folder`` stays as it was.
    """
    draft = _draft(folder / "new")
    try:
        yield draft
        _flush(*draft.iterdir())
        for path in sorted(draft.iterdir()):
            path.replace(folder / path.name)
        _flush(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def is_whole(folder: Path) -> bool:
    """Whether a folder holds every file that :func:`whole_folder` left in it, byte for byte."""
    try:
        sums = json.loads((folder / _SUMS).read_text())
        return all(file_sum(folder / name) == expected for name, expected in sums.items())
    except (OSError, ValueError, AttributeError):
        return False


def remove_folder(folder: Path) -> None:
    """Remove a folder at once: it loses its name first, then its files."""
    nameless = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(nameless, ignore_errors=True)  # of a process that was killed
    if folder.is_dir():
        folder.rename(nameless)
        shutil.rmtree(nameless)


def _draft(target: Path) -> Path:
    draft = target.with_name(f".{target.name}.new")
    shutil.rmtree(draft, ignore_errors=True)  # of a process that was killed
    draft.mkdir(parents=True)
    return draft


def file_sum(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(*paths: Path) -> None:
    """Wait until files, or the names in a folder, are on the disk."""
    for path in paths:
        if os.name == "nt" and path.is_dir():  # Windows has no handle of a folder
            continue
        descriptor = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
