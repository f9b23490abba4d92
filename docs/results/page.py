"""What the pages of results share: reading comparisons, telling gains and costs, writing."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import ttest_1samp

from evolving_attention.comparison.results import COLUMNS
from evolving_attention.comparison.statistics import GAIN_UNITS, paired_gains
from evolving_attention.comparison.tables import gains_table, markdown, scores_table

__all__ = [
    "FOLDER",
    "SAID",
    "finished_runs",
    "forms_of",
    "interval",
    "keep",
    "made_by",
    "on_train",
    "seconds",
    "verdict",
    "verdicts",
    "without_paths",
    "write_page",
    "write_runs",
]

FOLDER = Path(__file__).parent

#: What :func:`verdicts` tells; ``unit`` is that of the gains.
SAID = """How much better a network is than another, data set by data set: the mean over seeds of
the difference in {metric}, in {unit}, with the 95 % interval of a paired t-test. *Ahead* and
*behind* are said where the interval leaves out 0."""


def write_runs(folders: Sequence[Path], name: str) -> None:
    """Write the runs of comparisons into one CSV beside the page."""
    tables = [
        pd.read_csv(folder / "results.csv").assign(comparison=folder.name) for folder in folders
    ]
    results = pd.concat(tables)
    known = [column for column in COLUMNS if column in results]
    columns = [*known, *(name for name in results if name not in ("comparison", *COLUMNS))]
    kept = ["comparison", *(column for column in columns if results[column].notna().any())]
    results[kept].to_csv(FOLDER / name, index=False)


def finished_runs(folder: Path) -> pd.DataFrame:
    """Return the runs of a comparison that came to their end."""
    results = pd.read_csv(folder / "results.csv")
    return results[results["status"] == "finished"]


def forms_of(results: pd.DataFrame) -> list[str]:
    """Return the networks that are held against the twin."""
    return [name for name in results["variant"].unique() if name != "twin"]


def made_by(folder: Path) -> str:
    """Return the commands that made a comparison, and how many runs there are."""
    page = (folder / "README.md").read_text()
    commands = re.search(r"```console\n.*?```", page, flags=re.S)
    sizes = re.search(r"^Data sets: .*$", page, flags=re.M)
    told = without_paths(commands[0]) if commands else ""
    return f"Made by\n\n{told}\n\n{sizes[0] if sizes else ''}"


def without_paths(text: str) -> str:
    """Return a text with the names alone of data that lie in other folders."""
    return re.sub(r"(?:\.\./)+[\w/]*/(?=\w)", "", text)


def verdicts(results: pd.DataFrame, metric: str, pairs: Sequence[tuple[str, str]]) -> str:
    """Tell of each data set, and each pair of networks, what the first gains over the second."""
    form = "+.2f" if GAIN_UNITS.get(metric) else "+.4f"
    rows = []
    for data, runs in results.groupby("data", sort=False):
        for name, other in pairs:
            gains = paired_gains(runs, metric, name, other).to_numpy()
            if len(gains):
                rows.append([str(data), name, other, *verdict(gains, form)])
    return markdown(["data", "network", "against", "gain", "95 % interval", "seeds", ""], rows)


def verdict(gains: NDArray, form: str) -> list[str]:
    """Return the mean of gains over seeds, its interval, their number and what they show."""
    low = high = np.nan
    if len(gains) > 1 and gains.std() > 1e-9:  # more than the dust of floating point
        low, high = ttest_1samp(gains, 0).confidence_interval()
    told, shown = interval(low, high, form)
    return [format(gains.mean(), form), told, str(len(gains)), shown]


def interval(low: float, high: float, form: str) -> tuple[str, str]:
    """Return the interval of a gain and what it shows; a dash and nothing where there is none."""
    if np.isnan(low):
        return "–", ""
    shown = "ahead" if low > 0 else "behind" if high < 0 else "no difference shown"
    return f"[{low:{form}}, {high:{form}}]", shown


def seconds(results: pd.DataFrame) -> str:
    """Return seconds of training by the clock, data set by data set, and parameters."""
    table = results.pivot_table(index="data", columns="variant", values="train_seconds", sort=False)
    rows = [[str(data), *(f"{value:.0f} s" for value in row)] for data, row in table.iterrows()]
    counts = results.groupby("variant", sort=False)["parameters"].first()[table.columns]
    rows.append(["parameters", *(f"{count:,.0f}" for count in counts)])
    return markdown(["", *map(str, table.columns)], rows)


def on_train(
    path: Path,
    title: str,
    explained: str,
    *,
    name: str | None = None,
    metrics: Sequence[str] = ("accuracy", "log_loss"),
) -> str:
    """Tell of variants that were tried by cross-validation on TRAIN; keep the table as ``name``."""
    keep(path, name or path.name)
    table = pd.read_csv(path)
    parts = [
        f"## {title}, on TRAIN alone",
        explained,
        gains_table(table, list(metrics), "evolving"),
        *(scores_table(table, metric) for metric in metrics),
    ]
    return "\n\n".join(parts)


def keep(path: Path, name: str) -> None:
    """Copy a table beside the page, unless it lies there already."""
    if path.resolve() != (FOLDER / name).resolve():
        shutil.copyfile(path, FOLDER / name)


def write_page(name: str, parts: Sequence[str]) -> None:
    """Write a page of its parts, with an empty line between them."""
    (FOLDER / name).write_text("\n\n".join(part.strip() for part in parts) + "\n")
