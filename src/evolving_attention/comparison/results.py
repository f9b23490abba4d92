"""What a comparison's runs leave behind: one small JSON each, and a table of them all."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from evolving_attention.errors import InputError, reading

__all__ = [
    "COLUMNS",
    "METRICS",
    "check_same",
    "read_json",
    "read_results",
    "write_json",
    "write_text",
]

#: Figures of a run, and whether more of it is better; the first of a kind is what ranks.
METRICS = {
    "classification": {"accuracy": True, "f1_macro": True, "log_loss": False},
    "regression": {"rmse": False, "mae": False, "r2": True},
}

COLUMNS = (
    "data",
    "kind",
    "variant",
    "seed",
    *METRICS["classification"],
    *METRICS["regression"],
    "train_seconds",
    "parameters",
    "epoch",
    "status",
    "message",
)


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


def check_same(before: dict[str, Any], now: dict[str, Any], what: str) -> None:
    """Raise :class:`InputError`, naming the option, unless both settings are the same."""
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            raise InputError(
                f"{what} was made with {name} {before.get(name)!r}, now {now.get(name)!r} is asked "
                "for: choose another output, or delete the folder."
            )


def read_results(output: Path, variants: Sequence[str]) -> pd.DataFrame:
    """Return a table of all runs of a comparison that came to an end, one row each.

    Parameters
    ----------
    output : Path
        The comparison's folder.
    variants : sequence of str
        The order of the variants.

    Raises
    ------
    InputError
        There is none.
    """
    paths = sorted(output.glob("runs/*/*/seed-*/result.json"))
    results = [result for path in paths if (result := read_json(path))]
    if not results:
        raise InputError(f"{output} holds no finished run of a comparison.")
    rows = [result["row"] | {"message": result["message"]} for result in results]
    table = pd.DataFrame(rows).reindex(columns=list(COLUMNS))
    order = {name: index for index, name in enumerate(variants)}
    place = table["variant"].map(lambda name: order.get(name, len(order)))
    table = table.assign(place=place).sort_values(["kind", "data", "seed", "place"])
    return table.drop(columns="place").reset_index(drop=True)
