"""What a comparison runs: each variant on each data set with each seed, paired."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError

from evolving_attention.comparison.variants import Variant, is_name
from evolving_attention.errors import InputError, reason
from evolving_attention.recipe import Recipe, check_literals
from evolving_attention.records import settings
from evolving_attention.tasks.family import family_of
from evolving_attention.training import check_options, check_seed

__all__ = ["PlannedRun", "plan_runs"]


@dataclass(frozen=True)
class PlannedRun:
    """One variant on one data set with one seed.

    Attributes
    ----------
    data : str
        Name of the data set.
    variant : Variant
        What is trained.
    recipe : Recipe
        How: the variant's, with data, seed and run folder filled in.
    """

    data: str
    variant: Variant
    recipe: Recipe

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.recipe.output)

    @property
    def title(self) -> str:
        """How the run is called in messages."""
        return f"{self.data} {self.variant.name} seed {self.recipe.seed}"

    def asked(self) -> dict[str, Any]:
        """Return all that determines the result, by dotted name."""
        asked = settings(self.recipe)
        if self.variant.is_peer:  # of a recipe, a peer takes nothing but data, task and seed
            return {
                name: asked[name] for name in asked if name.startswith(("data.", "task", "seed"))
            }
        return asked


def plan_runs(
    recipe: Recipe, variants: Sequence[Variant], sources: Sequence[str], seeds: int, output: Path
) -> list[PlannedRun]:
    """List the runs, those of one data set and seed side by side, so that pairs complete early.

    Raises
    ------
    InputError
        A variant's options cannot work, or two data sets have one name.
    """
    if seeds < 1:
        raise InputError(f"seeds must be at least 1, got {seeds}.")
    for seed in (recipe.seed, recipe.seed + seeds - 1):
        check_seed(seed)
    recipes = {variant.name: variant.apply(recipe) for variant in variants}
    for name, changed in recipes.items():
        _check(name, changed)
    if not family_of(recipe).has_peers:
        _refuse_peers(variants)
    return [
        PlannedRun(
            name,
            variant,
            replace(
                recipes[variant.name],
                task=placed.task,
                data=placed.data,
                seed=seed,
                output=str(output / "runs" / name / variant.name / f"seed-{seed}"),
            ),
        )
        for name, placed in _data_sets(recipe, sources).items()
        for seed in range(recipe.seed, recipe.seed + seeds)
        for variant in variants
    ]


def _refuse_peers(variants: Sequence[Variant]) -> None:
    for variant in variants:
        if variant.is_peer:
            raise InputError(
                f"{variant.name!r} is an estimator of time series, and takes no other."
            )


def _check(name: str, recipe: Recipe) -> None:
    """Raise :class:`InputError`, with the variant's name, for options that cannot work."""
    try:
        check_literals(recipe, "task")
        check_options(recipe.training)
        family_of(recipe).check(recipe)
    except (ValueError, TypeError, StrictDataclassError) as error:
        raise InputError(f"variant {name!r} does not work: {reason(error)}.") from error


def _data_sets(recipe: Recipe, sources: Sequence[str]) -> dict[str, Recipe]:
    """Return the recipe with each data set as its data, by the data set's name."""
    sources = [source for source in (sources or [recipe.data.train or ""]) if source]
    if not sources:
        raise InputError("say what to compare on: --data NAME_OR_FILE,NAME_OR_FILE.")
    if len(sources) > 1 and getattr(recipe.data, "test", None):
        raise InputError(f"data.test is {recipe.data.test!r}, but there are several data sets.")
    by_name: dict[str, Recipe] = {}
    for source in sources:
        name, placed = family_of(recipe).place(recipe, source)
        if not is_name(name) and not Path(source).expanduser().exists():
            raise InputError(f"{source!r} is neither a file or folder nor the name of a data set.")
        if name in by_name:
            raise InputError(f"two data sets are called {name!r}; rename a file.")
        by_name[name] = placed
    return by_name
