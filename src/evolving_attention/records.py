"""Small files that are there as a whole or not at all, and settings that have to stay the same."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evolving_attention.errors import InputError, reading
from evolving_attention.recipe import Recipe
from evolving_attention.tasks.time_series import model_options
from evolving_attention.tasks.time_series_data import training_file

__all__ = ["check_same", "read_json", "settings", "write_json", "write_text"]


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


def settings(recipe: Recipe) -> dict[str, Any]:
    """Return all that determines a recipe's result, by dotted name, with defaults written out.

    Data files are told by their name and size, wherever they lie.
    """
    values = asdict(recipe)
    del values["output"], values["data"]["archive"]
    del values["training"]["checkpoint_every"], values["training"]["tensorboard"]
    values["model"] = model_options() | values["model"]
    for part in ("train", "test"):
        if (source := values["data"][part]) and (file := training_file(source)):
            values["data"][part] = f"{file.name}, {file.stat().st_size} bytes"
    return _flat(values)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= (
            _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
        )
    return flat


def check_same(before: dict[str, Any], now: dict[str, Any], what: str) -> None:
    """Raise :class:`InputError`, naming the option, unless both settings are the same in JSON."""
    before, now = (json.loads(json.dumps(values)) for values in (before, now))
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            raise InputError(
                f"{what} was made with {name} {before.get(name)!r}, now {now.get(name)!r} is asked "
                "for: choose another output, or delete the folder."
            )
