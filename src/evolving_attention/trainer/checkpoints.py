"""Checkpoints: where a training stands, kept in a folder, so that it can go on after a kill."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from evolving_attention.errors import InputError
from evolving_attention.trainer.files import is_whole, remove_folder, telling, whole_folder

__all__ = ["Checkpoints"]

#: How many are kept: one to fall back on.
_KEPT = 2


class Checkpoints:
    """The checkpoints of a training, each written whole or not at all.

    Parameters
    ----------
    folder : Path
        Made with the first checkpoint.
    every : float or None
        Seconds between two; 0: after every update; None: none is written.

    Notes
    -----
    A checkpoint is a folder named by the number of updates. The newest two stay; an older one is
    removed when a newer is complete.
    """

    def __init__(self, folder: Path, every: float | None = 60.0) -> None:
        self.folder = Path(folder)
        self.every = every
        self._last = time.monotonic()

    def part(self, name: str) -> "Checkpoints":
        """Return those of a part of the training, in a folder below."""
        return Checkpoints(self.folder / name, self.every)

    @property
    def is_due(self) -> bool:
        """Whether it is time for the next."""
        return self.every is not None and time.monotonic() - self._last >= self.every

    def write(self, updates: int, fill: Callable[[Path], None]) -> None:
        """Write the checkpoint after so many updates; ``fill`` puts its files into a folder.

        Raises
        ------
        InputError
            The disk is full, or something like it; earlier checkpoints are untouched.
        """
        kept = (
            "make room and go on with --resume, the last checkpoint is whole"
            if self._all()
            else "make room and train again, there was no checkpoint yet"
        )
        with telling(self.folder, kept), whole_folder(self.folder / f"{updates:012d}") as draft:
            fill(draft)
        for older in self._all()[:-_KEPT]:
            remove_folder(older)
        self._last = time.monotonic()

    def newest(self) -> Path | None:
        """Return the newest whole checkpoint; remove what is newer and damaged or unfinished.

        Raises
        ------
        InputError
            There are checkpoints, and all of them are damaged.
        """
        self._last = time.monotonic()
        for unfinished in self.folder.glob(".*"):
            shutil.rmtree(unfinished)
        checkpoints = self._all()
        for path in reversed(checkpoints):
            if is_whole(path):
                for damaged in checkpoints[checkpoints.index(path) + 1 :]:
                    shutil.rmtree(damaged)
                return path
        if checkpoints:
            raise InputError(
                f"every checkpoint in {self.folder} is damaged: the run must start again, with "
                "--overwrite."
            )
        return None

    def clear(self) -> None:
        """Remove all of them."""
        remove_folder(self.folder)

    def _all(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("[0-9]*") if path.is_dir())
