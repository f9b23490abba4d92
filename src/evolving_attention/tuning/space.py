"""What tuning searches: options of a recipe and their ranges, as YAML writes them."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from evolving_attention.errors import InputError, needing, reason
from evolving_attention.recipe import Recipe, change_recipe
from evolving_attention.tasks.family import Space, family_of

with needing("tune"):
    from optuna.distributions import (
        BaseDistribution,
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

__all__ = [
    "distributions",
    "own_values",
    "read_space",
    "rounded",
    "trial_recipe",
]


def read_space(path: str | Path) -> dict[str, dict[str, Any]]:
    """Read a space from YAML.

    Raises
    ------
    InputError
        The file is missing, not YAML, or no mapping of options to ranges.
    """
    try:
        space = yaml.safe_load(Path(path).read_text())
        if not isinstance(space, dict) or not space:
            raise InputError("it must map options such as model.alpha to their ranges")
        distributions(space)
    except Exception as error:
        raise InputError(f"{path} is no space: {reason(error)}.") from error
    return space


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Return Optuna's distribution of each option; raise :class:`InputError` for none."""
    return {name: _distribution(str(name), written) for name, written in space.items()}


def _distribution(name: str, written: dict[str, Any]) -> BaseDistribution:
    try:
        if set(written) == {"choices"}:
            return CategoricalDistribution(written["choices"])
        whole = isinstance(written["low"], int) and isinstance(written["high"], int)
        if whole and isinstance(written.get("step", 1), int):
            return IntDistribution(**written)
        return FloatDistribution(**written)
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(
            f"{name} needs 'choices', or 'low' and 'high' with 'step' or 'log', got {written!r}: "
            f"{reason(error)}."
        ) from error


def own_values(recipe: Recipe, space: Space) -> dict[str, Any] | None:
    """Return the recipe's own values of the options; None where one is not in the space."""
    values = asdict(recipe)
    values["model"] = family_of(recipe).model_options(recipe)
    own: dict[str, Any] = {}
    for name, distribution in distributions(space).items():
        section, _, option = name.partition(".")
        own[name] = values[section].get(option) if option else values[section]
        if not _is_inside(own[name], distribution):
            return None
    return own


def _is_inside(value: Any, distribution: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    if not isinstance(value, int | float) or not distribution.low <= value <= distribution.high:
        return False
    steps = (value - distribution.low) / (distribution.step or 1)
    return distribution.step is None or abs(steps - round(steps)) < 1e-6


def rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values without the dust of floating-point steps: 0.3 for 0.30000000000000004."""
    return {
        name: float(f"{value:.12g}") if isinstance(value, float) else value
        for name, value in values.items()
    }


def trial_recipe(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """Return the recipe with a trial's values, as its model can take them."""
    for name in values:
        if name.partition(".")[0] not in recipe.changeable:
            raise InputError(
                f"{name!r} cannot be searched; an option's name begins with "
                f"{', '.join(recipe.changeable)}."
            )
    changed = change_recipe(recipe, rounded(values))
    return family_of(recipe).fitted(changed, values)
