"""Write docs/results/images.md and its CSVs from finished comparisons; no figure is typed in.

    python docs/results/images.py comparisons/digits comparisons/fashion_mnist comparisons/cifar10 \
        [--steps image_steps.csv] [--choice image_choice.csv]

The comparisons are made by the commands that stand in the page. ``--steps`` is a table of
``benchmarks/image_step.py``, ``--choice`` one of ``benchmarks/cross_validation.py``.
"""

from argparse import ArgumentParser
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pandas as pd
from page import (
    SAID,
    finished_runs,
    keep,
    made_by,
    on_train,
    seconds,
    verdicts,
    write_page,
    write_runs,
)

from evolving_attention.comparison.tables import markdown, scores_table

INTRODUCTION = """# Images

The EA-AA-ResNet (`evolving`) beside its twin without evolution, an AA-ResNet, and the plain ResNet
that is left without attention: the same recipe, data, seeds and starting weights. The test part is
read once a run, at its end, and chooses nothing. This page and the CSVs beside it are written by
`docs/results/images.py`.

The networks are small and the data sets are subsets where a command says so: what fits the time of
two cores. The figures are not comparable with those of networks trained on whole sets.

The digits' test part had been read before, with a network that attended in both of its stages and
trained for 7 epochs, and was behind its twin and the plain network. What changed since was decided
on TRAIN, as the last section tells; the other sets' test parts were read once.
"""
COST = """By `benchmarks/image_step.py`, on one core of a CPU: images a second of its time, which
depend on the machine; the time of an image as a multiple of the twin's, which depends less on it;
GFLOPs of an image, as `torch.utils.flop_counter` counts them; and the growth of the process's
memory over a batch."""
CHOICE = """Three-fold cross-validation by `benchmarks/cross_validation.py`; n counts folds.
`evolving` is the recipe's network: evolution in the papers' form (alpha 0.5, beta 1, ReLU) in the
second of two stages, for 25 epochs. `both_stages` attends in the first stage too, at half its
resolution; `normalized` mixes with normalised maps and beta 0.5; `seven_epochs` trains as long as a
budget of 400 updates makes it."""


def section(folder: Path) -> str:
    """Return what a comparison found."""
    finished = finished_runs(folder)
    pairs = list(combinations(finished["variant"].unique(), 2))
    parts = [f"## {folder.name.replace('_', ' ')}", made_by(folder)]
    for metric, told, unit in (
        ("accuracy", "top-1 accuracy", "points"),
        ("log_loss", "log loss", "its own units, positive where the first is better"),
    ):
        parts += [
            f"### {told[0].upper()}{told[1:]}",
            scores_table(finished, metric),
            SAID.format(metric=told, unit=unit),
            verdicts(finished, metric, pairs),
        ]
    return "\n\n".join([*parts, "### Cost of a run", seconds(finished)])


def steps(path: Path) -> str:
    """Tell what attention and evolution cost."""
    keep(path, "image_steps.csv")
    return "\n\n".join(["## What attention and evolution cost", COST, *_costs(pd.read_csv(path))])


def _costs(table: pd.DataFrame) -> Iterator[str]:
    for way in ("training", "inference"):
        columns = {
            "images / s": ("images_per_second", ".3g"),
            "time of twin's": ("of_twin", ".2f"),
            "GFLOPs": ("gflops", ".3g"),
            "peak MB": ("peak_MB", ".0f"),
        }
        rows = [
            [
                f"{row['variant']}, {row['batch']} images",
                row["form"],
                f"{row['parameters']:,}",
                *(format(row[f"{way}_{name}"], form) for name, form in columns.values()),
            ]
            for row in table.to_dict("records")
        ]
        yield f"### In {way}"
        yield markdown(["variant, batch", "network", "parameters", *columns], rows)


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("comparisons", nargs="+", type=Path)
    parser.add_argument("--steps", type=Path)
    parser.add_argument("--choice", type=Path)
    options = parser.parse_args()
    write_runs(options.comparisons, "images.csv")
    parts = [INTRODUCTION, *map(section, options.comparisons)]
    parts += [steps(options.steps)] if options.steps else []
    if options.choice:
        parts.append(
            on_train(options.choice, "The network for the digits", CHOICE, name="image_choice.csv")
        )
    write_page("images.md", parts)


if __name__ == "__main__":
    main()
