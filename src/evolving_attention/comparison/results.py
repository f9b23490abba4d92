"""What a comparison's runs leave behind: one small JSON each, and a table of them all."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from evolving_attention.errors import InputError
from evolving_attention.records import read_json

__all__ = ["COLUMNS", "METRICS", "read_results"]

#: Figures of a run, and whether more of it is better; the first of a kind is what ranks.
METRICS = {
    "classification": {"accuracy": True, "f1_macro": True, "log_loss": False},
    "regression": {"rmse": False, "mae": False, "r2": True},
    "glue": {
        "score": True,
        "accuracy": True,
        "accuracy_mismatched": True,
        "f1": True,
        "matthews": True,
        "pearson": True,
        "spearman": True,
    },
    "translation": {"bleu": True, "chrf": True, "loss": False},
}

COLUMNS = (
    "data",
    "kind",
    "variant",
    "seed",
    *dict.fromkeys(metric for kind in METRICS.values() for metric in kind),
    "train_seconds",
    "parameters",
    "epoch",
    "status",
    "message",
)


def read_results(output: Path, variants: Sequence[str]) -> pd.DataFrame:
    """Return a table of all runs of a comparison that came to an end, one row each.

    The columns are :data:`COLUMNS`, and after these what else the runs tell, such as figures of
    each of several test parts.

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
    found = pd.DataFrame(rows)
    table = found.reindex(columns=[*COLUMNS, *(name for name in found if name not in COLUMNS)])
    order = {name: index for index, name in enumerate(variants)}
    place = table["variant"].map(lambda name: order.get(name, len(order)))
    table = table.assign(place=place).sort_values(["kind", "data", "seed", "place"])
    return table.drop(columns="place").reset_index(drop=True)
