"""An unfinished run: its checkpoints inside the run folder, and what guards them.

``RUN/checkpoint`` holds what the run was started with and its checkpoints, and goes with the end of
the run; ``RUN/.lock`` is held while a process trains.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from evolving_attention.errors import InputError
from evolving_attention.recipe import Recipe
from evolving_attention.records import flat, refuse_foreign
from evolving_attention.tasks.contracts import Data
from evolving_attention.trainer.checkpoints import Checkpoints
from evolving_attention.trainer.files import (
    file_sum,
    is_whole,
    remove_folder,
    telling,
    whole_folder,
)
from evolving_attention.trainer.processes import process_count
from evolving_attention.trainer.snapshots import load_json, save_json

__all__ = ["Workspace"]

#: Options that change no weight.
_FREE = ("output", "training.checkpoint_every", "training.tensorboard")
_AGAIN = "or start again with --overwrite"
#: What a run replaces, and the files by which a finished one is known.
_FILES = ("README.md", "config.json", "metrics.json", "model.safetensors")
_FOLDERS = ("checkpoint", "tensorboard")
_MARKS = ("recipe.yaml", "metrics.json")


class Workspace:
    """The unfinished run in a run folder.

    Parameters
    ----------
    run : Path
        The run folder.
    every : float or None
        Seconds between checkpoints.
    """

    def __init__(self, run: Path, every: float | None = 60.0) -> None:
        self.run = run
        self.folder = run / "checkpoint"
        self.checkpoints = Checkpoints(self.folder, every)

    @property
    def is_unfinished(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        checkpoints = self.folder.glob(f"*/{'[0-9]' * 12}")
        return any(checkpoints) or (self.folder / "chosen").is_dir()

    @contextmanager
    def opened(self, *, resume: bool, overwrite: bool) -> Iterator[None]:
        """Hold the folder against other processes; leave nothing where no checkpoint was written.

        Parameters
        ----------
        resume, overwrite : bool
            What may happen to a run that stands there.

        Raises
        ------
        InputError
            Another process trains here, or what stands here is in the way.
        """
        nearest = next(path for path in (self.run, *self.run.absolute().parents) if path.exists())
        with telling(self.run, "choose another output"):
            self.run.mkdir(parents=True, exist_ok=True)
        try:
            with self._locked():
                self._check(resume, overwrite)
                if not resume:
                    self.clear()
                    self._remove_curves()
                try:
                    yield
                finally:
                    if not self.is_unfinished:
                        self.clear()
                    if not self._holds_run:
                        self._remove_curves()
        finally:
            _remove_empty(self.run.absolute(), nearest.absolute())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = FileLock(self.run / ".lock", timeout=0)
        with telling(self.run, "choose another output"):
            try:
                lock.acquire()
            except Timeout as error:
                raise InputError(
                    f"another process is training into {self.run}: wait for it, or choose another "
                    "output."
                ) from error
        try:
            yield
        finally:
            # In this order: after the release the file may be another process's lock.
            (self.run / ".lock").unlink(missing_ok=True)
            lock.release()

    def _check(self, resume: bool, overwrite: bool) -> None:
        if resume and overwrite:
            raise InputError("say --resume to go on with a run or --overwrite to replace it.")
        if self.is_unfinished and not resume and not overwrite:
            raise InputError(f"{self.run} holds an unfinished run: go on with --resume, {_AGAIN}.")
        if self.is_unfinished:
            return
        if not self._holds_run:
            died_early = any(self.folder.glob("*started*"))  # with the names of a kill's remains
            refuse_foreign(self.run, _MARKS, _FILES if died_early else (*_FILES, *_FOLDERS))
            return
        if overwrite:
            return
        if resume:
            raise InputError(f"{self.run} is finished: there is nothing to resume.")
        raise InputError(
            f"{self.run} already holds a run: choose another output, or say --overwrite."
        )

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Tell an error of writing the run in one sentence that says what is left."""
        again = (
            "make room and go on with --resume, the last checkpoint is whole"
            if self.is_unfinished
            else "make room and train again, there was no checkpoint yet"
        )
        with telling(self.run, again):
            yield

    @property
    def _holds_run(self) -> bool:
        return self.is_unfinished or all((self.run / mark).exists() for mark in _MARKS)

    def _remove_curves(self) -> None:
        shutil.rmtree(self.run / "tensorboard", ignore_errors=True)

    def clear(self) -> None:
        """Remove all checkpoints: the run is complete, or starts again."""
        remove_folder(self.folder)

    def claim(self, recipe: Recipe, data: Data) -> None:
        """Write what the run starts with; where it goes on, check that it is the same.

        Raises
        ------
        InputError
            An option, the training data, the pretrained network or the number of processes is
            another.
        """
        started = self.folder / "started"
        now = {
            "recipe": asdict(recipe),
            "data": data.fingerprint(),
            "pretrained": _fingerprint_of_weights(recipe.pretrained),
            "processes": process_count(),
        }
        if self.is_unfinished:
            if not is_whole(started):
                raise InputError(
                    f"{started} is missing or damaged: the run must start again, with --overwrite."
                )
            self._compare(load_json(started / "started.json"), json.loads(json.dumps(now)))
            return
        remove_folder(started)
        with telling(self.run, "make room and start again"), whole_folder(started) as draft:
            save_json(now, draft / "started.json")

    def _compare(self, then: dict[str, Any], now: dict[str, Any]) -> None:
        options_then, options_now = flat(then["recipe"]), flat(now["recipe"])
        changed = [
            f"{name} was {options_then.get(name)!r} and is {options_now.get(name)!r}"
            for name in sorted({*options_then, *options_now} - {*_FREE})
            if options_then.get(name) != options_now.get(name)
        ]
        if changed:
            raise InputError(
                f"the recipe has changed since {self.run} was started, {', '.join(changed)}: give "
                f"it as it was, {_AGAIN}."
            )
        if then["data"] != now["data"]:
            raise InputError(
                f"the training data have changed since {self.run} was started: give them as they "
                f"were, {_AGAIN}."
            )
        if then["pretrained"] != now["pretrained"]:
            raise InputError(
                f"the network in {now['recipe']['pretrained']} has changed since {self.run} was "
                f"started from it: put it back, {_AGAIN}."
            )
        if then["processes"] != now["processes"]:
            raise InputError(
                f"the number of processes has changed since {self.run} was started, it was "
                f"{then['processes']} and is {now['processes']}: start as many, {_AGAIN}."
            )


def _remove_empty(folder: Path, last: Path) -> None:
    """Remove a folder and those above it, up to the last one, which stays, where empty."""
    while folder != last and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def _fingerprint_of_weights(run: str | None) -> str | None:
    """Return a hash of the weights in a run folder, if there are any."""
    path = None if run is None else Path(run) / "model.safetensors"
    return file_sum(path) if path is not None and path.is_file() else None
