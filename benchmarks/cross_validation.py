"""Which options are better, by cross-validation on TRAIN parts alone; TEST is not read.

    python benchmarks/cross_validation.py --data JapaneseVowels,FOLDER_OR_FILE \
        --against twin,faster:training.learning_rate=0.01 [--folds 3] [--repeats 1] --output cv.csv

The recipe is the defaults, ``--option model.alpha=0.2`` changes it for all variants; the variants
are those of ``evolving-attention compare``. Rows are added to the CSV as they come, and what is
there already is not run again. Pairs share data, fold and seed.
"""

import time
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold

from evolving_attention.comparison.tables import gains_table, scores_table, seconds_table
from evolving_attention.comparison.variants import Variant, parse_variant, parse_variants
from evolving_attention.recipe import Recipe, TimeSeriesRecipe
from evolving_attention.tasks.family import family_of
from evolving_attention.tasks.time_series_batches import predict_logits
from evolving_attention.tasks.time_series_data import LabelledSeries, load_splits
from evolving_attention.training import train_network

NAME = "evolving"


def folds_of(
    data: LabelledSeries, folds: int, repeats: int
) -> Iterator[tuple[int, LabelledSeries, LabelledSeries]]:
    """Yield a number, which is the seed too, and the parts that train and that measure."""
    for repeat in range(repeats):
        splitter = StratifiedKFold(folds, shuffle=True, random_state=repeat)
        for fold, indices in enumerate(splitter.split(data.targets, data.targets)):
            yield repeat * folds + fold, *(take(data, part) for part in indices)


def take(data: LabelledSeries, indices: np.ndarray) -> LabelledSeries:
    return LabelledSeries([data.series[index] for index in indices], data.targets[indices])


def measure(
    recipe: Recipe, train: LabelledSeries, rest: LabelledSeries, seed: int
) -> dict[str, float]:
    task, started = family_of(recipe).task_to_train(recipe), time.perf_counter()
    network = train_network(task, train, recipe.model, recipe.training, seed=seed)
    seconds = time.perf_counter() - started
    figures = task.measure(predict_logits(network.model, task.processor, rest.series), rest.targets)
    return figures | {"train_seconds": seconds, "parameters": network.model.num_parameters()}


def run(
    recipe: Recipe, variants: list[Variant], sources: list[str], options, output: Path
) -> pd.DataFrame:
    rows = pd.read_csv(output).to_dict("records") if output.is_file() else []
    done = {(row["data"], row["variant"], row["seed"]) for row in rows}
    for source in sources:
        data, _ = load_splits(source, kind="classification")
        name = Path(source).stem.removesuffix("_TRAIN")
        for seed, train, rest in folds_of(data, options.folds, options.repeats):
            for variant in variants:
                key = (name, variant.name, seed)
                if key in done:
                    continue
                row = dict(zip(("data", "variant", "seed"), key, strict=True))
                rows.append(row | measure(variant.apply(recipe), train, rest, seed))
                pd.DataFrame(rows).to_csv(output, index=False, float_format="%.6g")
                print(f"{name} {variant.name} {seed}: {rows[-1]['accuracy']:.4f}", flush=True)
    return pd.DataFrame(rows)


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="names, files or folders, by commas")
    parser.add_argument("--against", default="twin", help="variants, by commas")
    parser.add_argument("--option", action="append", default=[], help="such as model.alpha=0.2")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True, help="a CSV")
    options = parser.parse_args()
    recipe = TimeSeriesRecipe()
    if options.option:
        recipe = parse_variant(f"changed:{';'.join(options.option)}").apply(recipe)
    variants = parse_variants(options.against.split(","), NAME)
    table = run(recipe, variants, options.data.split(","), options, options.output)
    for metric in ("accuracy", "log_loss"):
        print(f"\n{metric}\n\n{scores_table(table, metric)}")
    print(f"\nGains of {NAME}\n\n{gains_table(table, ['accuracy', 'log_loss'], NAME)}")
    print(f"\n{seconds_table(table)}")


if __name__ == "__main__":
    main()
