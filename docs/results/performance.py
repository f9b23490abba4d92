"""Write performance.md from the CSVs of `make bench`, beside them; no figure is typed in.

python docs/results/performance.py [FOLDER]
"""

import sys
from pathlib import Path

import pandas as pd

from evolving_attention.attention.kernels import banded
from evolving_attention.comparison.tables import markdown

INTRODUCTION = """# Time and memory on a CPU

Written by `make bench`, which measures and then runs `docs/results/performance.py`; the CSVs
beside this page hold every figure. All ways take turns on one core, and medians of the processor's
time are compared: ratios hold, milliseconds are this machine's. On it a large product of matrices
runs at {gflops:.0f} GFLOP/s, and copying moves {bandwidth:.1f} GB/s. No GPU was at hand:
`benchmarks/triton_kernels.py` measures the same on one.
"""
NETWORKS = """## A training step of the EA-DC-Transformer

The defaults (8 layers, 4 heads, width 64, normalised maps), steps of a series x batch. *gain*: how
much faster than the same network by the reference; *of twin*: time as a multiple of the twin's.
Memory is the growth of the process over a step, everything included, in maps of a layer, for each
of the 8 layers; short series hold more in hidden states than in maps.
"""
LAYERS = """## One layer with a convolution

Batch x heads x length x head width: how many times as fast as the reference. *sdpa* has no
evolution at all: a ceiling. *limit* is what the machine's measured rates of products and of copying
allow for the least operations and bytes. *compiled* is `torch.compile` of the reference, where it
was tried.
"""
PARTS = """## Where the time of the CPU backend goes

Milliseconds of a layer; the convolution and the previous map are what the layer takes longer than
without them, and in brackets is the limit of the part. The rest is the products of queries, keys
and values, whose limit is given, and the softmax with its exponentials, of which no limit knows.
"""
MEMORY = """## Memory

What autograd keeps for a layer between the passes beside its arguments and results, in maps. Of the
CPU backend that is a bit for each entry, 1/32 of a map, and two numbers a row.
"""
STACK = """The most that lives at a time in a stack of {layers} layers, in maps: in inference, and
in a training step, there for each layer, its map and all that both passes need included. Inference
holds the previous map and the new one, or, within `overwriting_maps()`, one that is written over.
"""
LONG = """## Long series

Training steps of an EA-DC-Transformer and its twin (width, heads and layers as told), by
`benchmarks/long_series.py`, each in a process of its own. *recomputed* is what is computed again
in the backward pass, to the same bits ([how](../scaling.md)). The peak is all of the process's
resident memory; in maps it is the growth over a step with a tiny batch.
"""
CHOICE = """## How `"auto"` chooses

The CPU backend (`"banded"`) is taken from {convolved} entries of a map (B H N M) on where there is
a convolution and heads are not wider than the keys are many, and from {plain} entries on without a
convolution, for heads up to {width} wide; elsewhere calls cost more than they gain, and the
reference is taken. `explain_backend(...)`, with the arguments of `evolving_attention`, says which
and why.
"""
#: The limit that belongs to each part.
PART_LIMITS = {"convolution": "convolution", "previous": "previous", "rest": "products"}


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


def aims(table: pd.DataFrame, stack: pd.DataFrame) -> str:
    """Tell of each aim what was measured, from the least to the most, and whether it is met."""
    by = {way: rows.set_index(["H", "N", "E"]) for way, rows in table.groupby("way")}
    cells = []
    for name, column, aim in (("forward", "forward_gain", 5), ("training", "step_gain", 3)):
        by_reference = by["auto"]["chosen"] == "reference"
        gains = by["auto"][column].mask(by_reference, 1.0)  # else noise alone would decide
        cells.append(verdict(f"{name}: the backend chosen is never slower", gains, gains >= 1))
        choosing = by["auto"].loc[by_reference, column]
        if len(choosing):
            told = f"{name}: choosing costs nothing, where the reference is chosen"
            cells.append(verdict(told, choosing, choosing >= 0.98))
        for length, own in by["banded"][column].groupby("N"):
            if length >= 512:
                limit = by["limit"].loc[own.index, column] / own
                cells += [
                    verdict(f"{name}: {aim} times as fast, N = {length}", own, own >= aim),
                    verdict(f"{name}: within 2 times the limit, N = {length}", limit, limit <= 2),
                ]
    kept = by["banded"]["kept_maps"]
    cells.append(verdict("training keeps at most 1.25 maps a layer", kept, kept <= 1.25))
    maps = stack.loc[stack["way"] == "banded", "overwriting_maps"]
    cells.append(verdict("inference holds one map a stack, overwritten", maps, maps < 1.5))
    return markdown(["aim", "measured", ""], cells)


def verdict(aim: str, values: pd.Series, met: pd.Series) -> list[str]:
    span = f"{values.min():.2f} to {values.max():.2f}"
    return [aim, span, "met" if met.all() else f"missed at {(~met).sum()} of {len(met)} sizes"]


def where_time_goes(table: pd.DataFrame) -> str:
    cells = [
        [
            " x ".join(str(row[name]) for name in "BHNE"),
            row["pass"],
            f"{row['whole_ms']:.3g}",
            *(
                f"{row[f'{part}_ms']:.3g} ({row[f'{limit}_limit_ms']:.3g})"
                for part, limit in PART_LIMITS.items()
            ),
        ]
        for row in table.to_dict("records")
    ]
    return markdown(["layer", "pass", "whole", "convolution", "previous map", "rest"], cells)


def networks(steps: pd.DataFrame) -> str:
    columns = {
        "evolving ms": "evolving_ms",
        "reference ms": "reference_ms",
        "gain": "gain",
        "twin ms": "twin_ms",
        "of twin": "of_twin",
    }
    ways = {name: f"maps, {name}" for name in ("evolving", "reference", "twin")}
    cells = [
        [
            f"{row['steps']} x {row['batch']}",
            *(f"{row[name]:.4g}" for name in columns.values()),
            *(f"{row[f'{name}_maps'] / row['layers']:.1f}" for name in ways),
        ]
        for row in steps.to_dict("records")
    ]
    return markdown(["steps x batch", *columns, *ways.values()], cells)


def memory(layers: pd.DataFrame) -> str:
    kept = layers[layers["way"].isin(("reference", "banded"))]
    kept = kept.groupby(["way", "N"], sort=False)["kept_maps"].mean().unstack("N")
    cells = [[way, *(f"{value:.2f}" for value in row)] for way, row in kept.iterrows()]
    return markdown(["backend", *(f"N = {length}" for length in kept)], cells)


def stacks(table: pd.DataFrame) -> str:
    cells = [
        [f"{row['way']}, " + " x ".join(str(row[name]) for name in "BHNE")]
        + [
            f"{row[name]:.2f}"
            for name in ("inference_maps", "overwriting_maps", "training_maps_a_layer")
        ]
        for row in table.to_dict("records")
    ]
    return markdown(["stack", "inference", "overwriting", "training, a layer"], cells)


def long_series(table: pd.DataFrame) -> str:
    table = table.sort_values(["steps", "form", "recomputed"])
    table = table.assign(size=table["steps"].astype(str) + " x " + table["batch"].astype(str))
    names = ("series", "size", "width", "heads", "layers", "form", "recomputed")
    numbers = {"peak_GB": ".2f", "growth_maps": ".1f", "cpu_seconds": ".1f"}
    cells = [
        [*(str(row[name]) for name in names), *(f"{row[k]:{form}}" for k, form in numbers.items())]
        for row in table.to_dict("records")
    ]
    titles = ("peak GB", "maps", "CPU seconds a step")
    return markdown([*names, *titles], cells)


def main(folder: Path) -> None:
    layers = pd.read_csv(folder / "attention_cpu.csv")
    choice = CHOICE.format(
        convolved=banded.SMALLEST_CONVOLVED, plain=banded.SMALLEST_PLAIN, width=banded.WIDEST_PLAIN
    )
    stack = pd.read_csv(folder / "attention_cpu_stack.csv")
    rates = {"gflops": layers["GFLOPs"].iloc[0], "bandwidth": layers["GB/s"].iloc[0]}
    parts = [
        INTRODUCTION.format(**rates),
        NETWORKS,
        networks(pd.read_csv(folder / "training_step.csv")),
        "## Aims\n",
        aims(layers, stack),
        LAYERS,
        "### The forward pass\n",
        gains(layers, "forward_gain"),
        "### A training step: both passes, every gradient\n",
        gains(layers, "step_gain"),
        PARTS,
        where_time_goes(pd.read_csv(folder / "attention_cpu_parts.csv")),
        MEMORY,
        memory(layers),
        STACK.format(layers=stack["layers"].iloc[0]),
        stacks(stack),
        choice,
    ]
    if (longer := folder / "long_series.csv").is_file():
        parts += [LONG, long_series(pd.read_csv(longer))]
    (folder / "performance.md").write_text("\n".join(part.rstrip() + "\n" for part in parts))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
