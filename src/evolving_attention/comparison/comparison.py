"""The entry: run a comparison into a folder and report what came out."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from evolving_attention.comparison.execution import run_all, unfinished
from evolving_attention.comparison.plan import plan_runs
from evolving_attention.comparison.report import write_report
from evolving_attention.comparison.variants import parse_variants
from evolving_attention.errors import InputError
from evolving_attention.recipe import Recipe, check_supervised
from evolving_attention.records import (
    check_same,
    read_json,
    refuse_foreign,
    settings,
    write_json,
    write_text,
)
from evolving_attention.trainer.processes import check_alone

__all__ = ["compare", "report"]


def compare(
    recipe: Recipe,
    output: str | Path,
    *,
    against: Sequence[str] = ("twin",),
    data: Sequence[str] = (),
    seeds: int = 5,
    name: str = "evolving",
    keep_weights: bool = False,
    command: str | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> pd.DataFrame:
    """Compare a recipe's network with others, paired by data set and seed.

    What a killed comparison finished is not repeated. Several processes may run the same
    comparison into one folder at once; each run is done by one of them.

    Parameters
    ----------
    recipe : Recipe
        The network. Its seed is the first of the seeds; its output is not used.
    output : str or Path
        Folder of the comparison. Runs go to ``runs/DATA/VARIANT/seed-S``.
    against : sequence of str
        Variants and peers; see :func:`~evolving_attention.comparison.variants.parse_variant`.
    data : sequence of str
        Data sets, each as ``data.train`` takes it. None: the recipe's own.
    seeds : int
        How many seeds, counted from the recipe's.
    name : str
        What the recipe's own network is called.
    keep_weights : bool
        Whether to keep the networks' weights; recipe and metrics are always kept.
    command : str, optional
        What the report names as the command that made it.
    tell : callable
        Is given a line a run.

    Returns
    -------
    pandas.DataFrame
        A row for each run of the folder that came to its end, as in ``results.csv``.

    Raises
    ------
    InputError
        A setting does not work, or the folder's runs were made with other settings.
    """
    check_alone("a comparison")
    check_supervised(recipe, "a comparison")
    output = Path(output)
    variants = parse_variants(against, name)
    plan = plan_runs(recipe, variants, data, seeds, output)
    unfinished(plan)  # other settings are refused before anything is written
    refuse_foreign(output, ["comparison.json"])
    made_by = command or f"compare(recipe, against={list(against)}, seeds={seeds})"
    with FileLock(output / "locks" / "comparison.lock"):
        _note_settings(output, recipe, [variant.name for variant in variants], made_by)
    run_all(plan, output / "locks", keep_weights, tell)
    return report(output)


def report(output: str | Path) -> pd.DataFrame:
    """Write the report of a comparison's finished runs: tables, ``README.md`` and picture.

    Raises
    ------
    InputError
        The folder holds no comparison, or none of its runs is finished.
    """
    output = Path(output)
    noted = read_json(output / "comparison.json")
    if noted is None:
        raise InputError(f"{output} is no comparison's folder: comparison.json is missing.")
    with FileLock(output / "locks" / "comparison.lock"):
        return write_report(output, noted["variants"], noted["commands"])


def _note_settings(output: Path, recipe: Recipe, variants: list[str], command: str) -> None:
    """Write down recipe, variants and commands, beside those before; refuse another recipe."""
    shared = _shared(recipe) | {"name": variants[0]}
    before = read_json(output / "comparison.json")
    if before is None:
        before = {"variants": [], "commands": [], "settings": shared}
    check_same(before["settings"], shared, str(output))
    before["variants"] = list(dict.fromkeys([*before["variants"], *variants]))
    before["commands"] = list(dict.fromkeys([*before["commands"], command]))
    write_json(output / "comparison.json", before)
    write_text(output / "recipe.yaml", recipe.to_yaml())


def _shared(recipe: Recipe) -> dict[str, Any]:
    """Return the settings that all data sets and seeds of a comparison share."""
    own = settings(replace(recipe, data=type(recipe.data)()))
    return {name: own[name] for name in own if not name.startswith(("data.", "task", "seed"))}
