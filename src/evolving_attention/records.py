"""Small files that are there as a whole or not at all, and settings that have to stay the same."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evolving_attention.errors import InputError, reading
from evolving_attention.recipe import Recipe
from evolving_attention.tasks.family import family_of

__all__ = [
    "check_same",
    "flat",
    "read_json",
    "refuse_foreign",
    "settings",
    "write_json",
    "write_text",
]


def write_text(path: Path, text: str) -> None:
    """Write a file as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}")
    half.write_text(text)
    half.replace(path)


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write values as a whole or not at all."""
    write_text(path, json.dumps(values, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """Read values; None where there is no such file."""
    if not path.is_file():
        return None
    with reading(path):
        return json.loads(path.read_text())


def refuse_foreign(
    folder: Path, marks: Sequence[str], names: Sequence[str] = ("README.md",)
) -> None:
    """Raise :class:`InputError` where something that is not ours would be replaced.

    Parameters
    ----------
    folder : Path
        Where it will be written.
    marks : sequence of str
        The files that stand beside our own.
    names : sequence of str
        What will be written.
    """
    if all((folder / mark).exists() for mark in marks):
        return
    if foreign := next((name for name in names if (folder / name).exists()), None):
        raise InputError(
            f"{folder} holds the {foreign} of something else, which would be replaced: choose "
            "another output."
        )


def settings(recipe: Recipe) -> dict[str, Any]:
    """Return all that determines a recipe's result, by dotted name, with defaults written out.

    Data files are told by their name and size, wherever they lie.
    """
    family, values = family_of(recipe), asdict(recipe)
    del values["output"]
    del values["training"]["checkpoint_every"], values["training"]["tensorboard"]
    values["model"] = family.model_options(recipe)
    values["data"] = family.data_settings(recipe)
    return flat(values)


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by their dotted names."""
    by_name: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            by_name |= flat(value, f"{prefix}{name}.")
        else:
            by_name[prefix + name] = value
    return by_name


def check_same(before: dict[str, Any], now: dict[str, Any], what: str) -> None:
    """Raise :class:`InputError`, naming the option, unless both settings are the same in JSON."""
    before, now = (json.loads(json.dumps(values)) for values in (before, now))
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            raise InputError(
                f"{what} was made with {name} {before.get(name)!r}, now {now.get(name)!r} is asked "
                "for: choose another output, or delete the folder."
            )
