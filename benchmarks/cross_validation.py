"""Which options are better, by cross-validation on TRAIN parts alone; TEST is not read.

    python benchmarks/cross_validation.py --data JapaneseVowels,FOLDER_OR_FILE \\
        --against twin,faster:training.learning_rate=0.01 [--folds 3] [--repeats 1] --output cv.csv
    python benchmarks/cross_validation.py --recipe glue/pretrained --option pretrained=FOLDER \\
        --data PATH/CoLA --against twin --folds 5 --first 1 --output cv.csv

The recipe is the defaults of time series, or ``--recipe``; ``--option model.alpha=0.2`` changes it
for all variants; the variants are those of ``evolving-attention compare``. Rows are added to the
CSV as they come, and what is there already is not run again. Pairs share data, fold and seed.
"""

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from sklearn.model_selection import KFold, StratifiedKFold

from evolving_attention.comparison.report import TOLD
from evolving_attention.comparison.tables import gains_table, scores_table, seconds_table
from evolving_attention.comparison.variants import Variant, parse_variants, split_variants
from evolving_attention.recipe import (
    Recipe,
    TimeSeriesRecipe,
    change_recipe,
    read_recipe,
    recipe_path,
)
from evolving_attention.tasks.contracts import Data
from evolving_attention.tasks.family import family_of
from evolving_attention.training import train_network

NAME = "evolving"


def folds_of(data: Data, options: Namespace) -> Iterator[tuple[int, Data, Data]]:
    """Yield a number, which is the seed too, and the parts that train and that measure."""
    kind = KFold if np.issubdtype(data.targets.dtype, np.floating) else StratifiedKFold
    for repeat in range(options.repeats):
        splitter = kind(options.folds, shuffle=True, random_state=repeat)
        for fold, parts in enumerate(splitter.split(data.targets, data.targets)):
            if fold < (options.first or options.folds):
                yield repeat * options.folds + fold, *(data.take(part) for part in parts)


def measure(recipe: Recipe, train: Data, rest: Data, seed: int) -> dict[str, float]:
    task, started = family_of(recipe).task_to_train(recipe), time.perf_counter()
    network = train_network(task, train, recipe.model, recipe.training, seed=seed)
    seconds = time.perf_counter() - started
    figures = task.evaluate(network.model, rest)
    return figures | {"train_seconds": seconds, "parameters": network.model.num_parameters()}


def run(recipe: Recipe, variants: list[Variant], options: Namespace) -> pd.DataFrame:
    output = options.output
    rows = pd.read_csv(output).to_dict("records") if output.is_file() else []
    done = {(row["data"], row["variant"], row["seed"]) for row in rows}
    for source in options.data.split(","):
        name, placed = family_of(recipe).place(recipe, source)
        data = family_of(recipe).load_training(placed)
        for seed, train, rest in folds_of(data, options):
            for variant in variants:
                key = (name, variant.name, seed)
                if key in done:
                    continue
                row = dict(zip(("data", "variant", "seed"), key, strict=True))
                rows.append(row | measure(variant.apply(placed), train, rest, seed))
                pd.DataFrame(rows).to_csv(output, index=False, float_format="%.6g")
                score = rows[-1][TOLD[placed.kind][0]]
                print(f"{name} {variant.name} {seed}: {score:.4f}", flush=True)
    return pd.DataFrame(rows)


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", help="a YAML file or a name; default: that of time series")
    parser.add_argument("--data", required=True, help="names, files or folders, by commas")
    parser.add_argument("--against", default="twin", help="variants, by commas")
    parser.add_argument("--option", action="append", default=[], help="such as model.alpha=0.2")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--first", type=int, help="only so many of the folds")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True, help="a CSV")
    options = parser.parse_args()
    recipe = read_recipe(recipe_path(options.recipe)) if options.recipe else TimeSeriesRecipe()
    changes = [option.partition("=") for option in options.option]
    recipe = change_recipe(recipe, {name: yaml.safe_load(value) for name, _, value in changes})
    table = run(recipe, parse_variants(split_variants(options.against), NAME), options)
    metrics = TOLD[recipe.kind]
    for metric in metrics:
        print(f"\n{metric}\n\n{scores_table(table, metric)}")
    print(f"\nGains of {NAME}\n\n{gains_table(table, metrics, NAME)}")
    print(f"\n{seconds_table(table)}")


if __name__ == "__main__":
    main()
