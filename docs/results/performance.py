"""Write docs/results/performance.md from the CSVs of `make bench`; no figure is typed in."""

from pathlib import Path

import pandas as pd

from evolving_attention.attention.kernels import banded
from evolving_attention.comparison.tables import markdown

FOLDER = Path(__file__).parent
INTRODUCTION = """# Time and memory on a CPU

Written by `make bench`, which measures and then runs `docs/results/performance.py`; the CSVs
beside this page hold every figure. All ways take turns on one core, and medians of the processor's
time are compared: ratios hold, milliseconds are this machine's.
"""
NETWORKS = """## A training step of the EA-DC-Transformer

The defaults (8 layers, 4 heads, width 64, normalised maps), steps of a series x batch. *gain*: how
much faster than the same network by the reference; *of twin*: time as a multiple of the twin's.
Memory is the growth of the process over a step.
"""
LAYERS = """## One layer with a convolution

Batch x heads x length x head width: how many times as fast as the reference. *sdpa* has no
evolution at all: a ceiling. *limit* is what the machine's measured rates of products and of copying
allow for the least operations and bytes. *compiled* is `torch.compile` of the reference, where it
was tried.
"""
MEMORY = """## Memory between the passes

What autograd keeps for a layer beside its arguments and results, in maps. Of the CPU backend that
is a bit for each entry, 1/32 of a map, and two numbers a row.
"""
CHOICE = """## How `"auto"` chooses

The CPU backend (`"banded"`) is taken from {convolved} entries of a map (B H N M) on where there is
a convolution and heads are not wider than the keys are many, and from {plain} entries on without a
convolution, for heads up to {width} wide; elsewhere calls cost more than they gain, and the
reference is taken. `explain_backend(...)`, with the arguments of `evolving_attention`, says which
and why.
"""


def gains(table: pd.DataFrame, column: str) -> str:
    """A row a size, a column a way."""
    sizes = table[["B", "H", "N", "E"]].astype(str).agg(" x ".join, axis=1)
    wide = table.assign(size=sizes).pivot_table(
        index="size", columns="way", values=column, sort=False
    )
    ways = [way for way in ("banded", "auto", "compiled", "sdpa", "limit") if way in wide]
    cells = [
        [size, *("" if pd.isna(row[way]) else f"{row[way]:.2f}" for way in ways)]
        for size, row in wide.iterrows()
    ]
    return markdown(["layer", *ways], cells)


def aims(table: pd.DataFrame) -> str:
    """Tell of each aim what was measured: from the least to the most."""
    by = {way: rows.set_index(["H", "N", "E"]) for way, rows in table.groupby("way")}
    cells = []
    for name, column, aim in (("forward", "forward_gain", 5), ("training", "step_gain", 3)):
        cells.append([f"{name}: never slower, at any size", span(by["auto"][column])])
        for length, own in by["banded"][column].groupby("N"):
            if length >= 512:
                limit = by["limit"].loc[own.index, column] / own
                cells.append([f"{name}: {aim} times as fast, N = {length}", span(own)])
                cells.append([f"{name}: within 2 times the limit, N = {length}", span(limit)])
    cells.append(["training keeps at most 1.25 maps a layer", span(by["banded"]["kept_maps"])])
    return markdown(["aim", "measured"], cells)


def span(values: pd.Series) -> str:
    return f"{values.min():.2f} to {values.max():.2f}"


def networks(steps: pd.DataFrame) -> str:
    columns = {
        "evolving ms": "evolving_ms",
        "reference ms": "reference_ms",
        "gain": "gain",
        "twin ms": "twin_ms",
        "of twin": "of_twin",
        "MB": "evolving_MB",
        "twin MB": "twin_MB",
    }
    cells = [
        [f"{row['steps']} x {row['batch']}", *(f"{row[name]:.4g}" for name in columns.values())]
        for row in steps.to_dict("records")
    ]
    return markdown(["steps x batch", *columns], cells)


def memory(layers: pd.DataFrame) -> str:
    kept = layers[layers["way"].isin(("reference", "banded"))]
    kept = kept.groupby(["way", "N"], sort=False)["kept_maps"].mean().unstack("N")
    cells = [[way, *(f"{value:.2f}" for value in row)] for way, row in kept.iterrows()]
    return markdown(["backend", *(f"N = {length}" for length in kept)], cells)


def main() -> None:
    layers = pd.read_csv(FOLDER / "attention_cpu.csv")
    choice = CHOICE.format(
        convolved=banded.SMALLEST_CONVOLVED, plain=banded.SMALLEST_PLAIN, width=banded.WIDEST_PLAIN
    )
    parts = [
        INTRODUCTION,
        NETWORKS,
        networks(pd.read_csv(FOLDER / "training_step.csv")),
        "## Aims\n",
        aims(layers),
        LAYERS,
        "### The forward pass\n",
        gains(layers, "forward_gain"),
        "### A training step: both passes, every gradient\n",
        gains(layers, "step_gain"),
        MEMORY,
        memory(layers),
        choice,
    ]
    (FOLDER / "performance.md").write_text("\n".join(part.rstrip() + "\n" for part in parts))


if __name__ == "__main__":
    main()
