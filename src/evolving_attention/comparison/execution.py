"""Run what is planned, each run once, whoever else is at it."""

import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from evolving_attention.comparison.peers import run_peer
from evolving_attention.comparison.plan import PlannedRun
from evolving_attention.comparison.results import METRICS
from evolving_attention.errors import InputError, reason
from evolving_attention.records import check_same, read_json, write_json
from evolving_attention.runs import train
from evolving_attention.workspace import Workspace

__all__ = ["run_all", "unfinished"]


def run_all(
    plan: Sequence[PlannedRun], locks: Path, keep_weights: bool, tell: Callable[[str], None]
) -> None:
    """Run every planned run that has no result; one that fails does not stop the others.

    Parameters
    ----------
    plan : sequence of PlannedRun
        What to run, in order.
    locks : Path
        Folder of lock files. Several processes may work on one plan: each run is locked by the
        process at it, and the system frees the lock when the process ends, however it ends.
    keep_weights : bool
        Whether to keep the networks' weights.
    tell : callable
        Is given a line a run.
    """
    open_runs = unfinished(plan)
    if len(open_runs) < len(plan):
        tell(f"{len(plan) - len(open_runs)} of {len(plan)} runs were finished before")
    locks.mkdir(parents=True, exist_ok=True)
    for number, run in enumerate(plan, start=1):
        if run not in open_runs:
            continue
        lock = FileLock(locks / f"{run.data}--{run.variant.name}--{run.recipe.seed}.lock")
        try:
            with lock.acquire(blocking=False):
                if not _is_finished(run):  # perhaps another process was faster
                    outcome = _run(run, keep_weights)
                    tell(f"[{number}/{len(plan)}] {run.title}: {outcome}")
        except Timeout:
            tell(f"[{number}/{len(plan)}] {run.title}: another process is at it")


def unfinished(plan: Sequence[PlannedRun]) -> list[PlannedRun]:
    """Return the runs without a result.

    Raises
    ------
    InputError
        A finished run was made with other settings.
    """
    return [run for run in plan if not _is_finished(run)]


def _is_finished(run: PlannedRun) -> bool:
    """Tell whether a run has a result; one that failed is tried again."""
    result = read_json(run.folder / "result.json")
    if result is None or result["row"]["status"] != "finished":
        return False
    check_same(result["asked"], run.asked(), f"{run.folder}")
    return True


def _run(run: PlannedRun, keep_weights: bool) -> str:
    """Run it, write its result last, and return what came out."""
    row: dict[str, Any] = {
        "data": run.data,
        "kind": run.recipe.kind,
        "variant": run.variant.name,
        "seed": run.recipe.seed,
    }
    if not _goes_on(run) and run.folder.is_dir():
        shutil.rmtree(run.folder)  # what a process left that was killed early, or failed
    try:
        figures, message = (_run_peer if run.variant.is_peer else _run_network)(run, keep_weights)
    except Exception as error:  # whatever a peer or the data make it raise
        run.folder.mkdir(parents=True, exist_ok=True)
        (run.folder / "traceback.txt").write_text(traceback.format_exc())
        row |= {"status": "failed"}
        message = outcome = f"failed: {reason(error)}"
    else:
        row |= figures | {"status": "finished"}
        metric = next(iter(METRICS[run.recipe.kind]))
        outcome = f"{metric} {row[metric]:.4f}, {row['train_seconds']:.0f} s"
    write_json(run.folder / "result.json", {"row": row, "message": message, "asked": run.asked()})
    return outcome


def _goes_on(run: PlannedRun) -> bool:
    """Tell whether there is a checkpoint of a run that was killed; one that failed starts anew."""
    return not (run.folder / "result.json").exists() and Workspace(run.folder).is_unfinished


def _run_peer(run: PlannedRun, _: bool) -> tuple[dict[str, Any], str]:
    return run_peer(run.variant.name, run.recipe)  # type: ignore[arg-type]  # refused if another


def _run_network(run: PlannedRun, keep_weights: bool) -> tuple[dict[str, Any], str]:
    resume = _goes_on(run)
    trained = train(run.recipe, progress=sys.stderr.isatty(), resume=resume, overwrite=not resume)
    if trained.metrics["interrupted"]:
        raise KeyboardInterrupt
    if trained.metrics["test"] is None:
        raise InputError(f"{run.recipe.data.train} has no labelled test part to compare on.")
    if not keep_weights:
        (trained.folder / "model.safetensors").unlink()
    kept = ("train_seconds", "parameters", "epoch")
    return trained.metrics["test"] | {name: trained.metrics[name] for name in kept}, ""
