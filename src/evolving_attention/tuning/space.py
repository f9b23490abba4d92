"""What tuning searches: options of a recipe and their ranges, as YAML writes them."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from evolving_attention.errors import InputError, needing, reason
from evolving_attention.recipe import Recipe, change_recipe
from evolving_attention.tasks.family import family_of

with needing("tune"):
    from optuna.distributions import (
        BaseDistribution,
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

__all__ = [
    "DEFAULT_SPACE",
    "default_space",
    "distributions",
    "own_values",
    "read_space",
    "rounded",
    "trial_recipe",
]

_SHARES = {"low": 0.0, "high": 0.9, "step": 0.1}

#: Dotted names of a recipe's options, each with ``choices``, or with ``low`` and ``high`` and, as
#: it may be, a ``step`` or ``log: true``. Whole numbers make a range of whole numbers.
DEFAULT_SPACE: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "model.alpha": _SHARES,
        "model.beta": _SHARES,
        "model.key_ratio": {"choices": [0.125, 0.25, 0.5]},
        "model.value_ratio": {"choices": [0.125, 0.25, 0.5]},
        "model.hidden_size": {"choices": [32, 64, 128]},
        "model.hidden_dropout": {"low": 0.0, "high": 0.5, "step": 0.1},
        "training.learning_rate": {"low": 3e-4, "high": 5e-3, "log": True},
        "training.weight_decay": {"low": 1e-4, "high": 1e-1, "log": True},
    }
)

#: The papers' grid of shares on GLUE, and the learning rates that BERT is fine-tuned with.
_TEXT_SPACE: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "model.alpha": {"choices": [0.1, 0.2, 0.4]},
        "model.beta": {"choices": [0.1, 0.2, 0.4]},
        "training.learning_rate": {"low": 1e-5, "high": 2e-4, "log": True},
    }
)

#: Shares around the papers', and what a network for translation learns best with.
_TRANSLATION_SPACE: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "model.alpha": {"choices": [0.05, 0.1, 0.2, 0.4]},
        "model.beta": {"choices": [0.05, 0.1, 0.2, 0.4]},
        "model.dropout": {"choices": [0.1, 0.2, 0.3]},
        "training.learning_rate": {"low": 5e-4, "high": 1e-2, "log": True},
    }
)

_SPACES = {"text": _TEXT_SPACE, "translation": _TRANSLATION_SPACE}


def default_space(recipe: Recipe) -> Mapping[str, dict[str, Any]]:
    """Return what is searched where nobody says so: it depends on the kind of data."""
    return _SPACES.get(recipe.family, DEFAULT_SPACE)


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


def distributions(space: Mapping[str, dict[str, Any]]) -> dict[str, BaseDistribution]:
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


def own_values(recipe: Recipe, space: Mapping[str, dict[str, Any]]) -> dict[str, Any] | None:
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
    """Return the recipe with a trial's values.

    Key and value ratios become the nearest that the heads can share: channels of attention are a
    multiple of the heads.
    """
    for name in values:
        if name.partition(".")[0] not in recipe.changeable:
            raise InputError(
                f"{name!r} cannot be searched; an option's name begins with "
                f"{', '.join(recipe.changeable)}."
            )
    changed = change_recipe(recipe, rounded(values))
    model = family_of(recipe).model_options(changed)
    for name in ("key_ratio", "value_ratio"):
        if f"model.{name}" in values and model[name] > 0:
            unit = model["num_attention_heads"] / model["hidden_size"]
            units = min(max(round(model[name] / unit), 1), int(1 / unit))
            changed.model[name] = units * unit
    return changed
