"""Does pretraining without labels help a classifier, and with how few labels?

    python benchmarks/pretraining.py JapaneseVowels [--labels 0.1 0.3 1] [--folds 3] [--repeats 1]

Repeated stratified cross-validation on the TRAIN part alone; TEST is not scored. In each fold a
network is pretrained once, on all series that train, without their labels. Then, with the labels
of a share of them, the same for all ways: ``none`` starts from chance, ``pretrained`` from that
network, ``vectors`` is a logistic regression on its vectors. A fold's seed is the same for all
ways, and so are head, order of the data and dropout. The table shows mean and standard deviation
over folds, and the same of the difference from ``none``, fold by fold.

The normalisation is a part of what is pretrained: it comes from all series that train, that of
``none`` from the labelled ones.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import RepeatedStratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from evolving_attention.recipe import TrainingOptions
from evolving_attention.tasks.embedding import embed_series
from evolving_attention.tasks.pretrained import PretrainedEncoder
from evolving_attention.tasks.time_series_data import LabelledSeries, load_splits
from evolving_attention.tasks.time_series_fine_tuning import FineTuningTask
from evolving_attention.tasks.time_series_pretraining import TimeSeriesPretrainingTask
from evolving_attention.training import train_network

METRICS = ["accuracy", "log_loss"]


def take(data: LabelledSeries, indices: np.ndarray) -> LabelledSeries:
    return LabelledSeries([data.series[index] for index in indices], data.targets[indices])


def labelled(targets: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Indices of a share of each class, of one example at least."""
    shuffled = np.random.default_rng(seed).permutation(len(targets))
    of_class = [shuffled[targets[shuffled] == label] for label in np.unique(targets)]
    return np.concatenate([own[: max(1, round(share * len(own)))] for own in of_class])


def pretrain(
    data: LabelledSeries, model: dict[str, Any], epochs: int | str, seed: int
) -> PretrainedEncoder:
    task = TimeSeriesPretrainingTask()
    network = train_network(task, data, model, TrainingOptions(epochs=epochs), seed=seed)
    return PretrainedEncoder(network.model, task.processor)


def fine_tuned(
    train: LabelledSeries,
    rest: LabelledSeries,
    model: dict[str, Any],
    epochs: int | str,
    seed: int,
    encoder: PretrainedEncoder | None,
) -> dict[str, float]:
    task = FineTuningTask("classification", pretrained=encoder)
    network = train_network(task, train, model, TrainingOptions(epochs=epochs), seed=seed)
    return task.evaluate(network.model, rest)


def of_vectors(
    train: LabelledSeries, rest: LabelledSeries, encoder: PretrainedEncoder
) -> dict[str, float]:
    fit, ask = (
        embed_series(encoder.model, encoder.processor, part.series) for part in (train, rest)
    )
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    probe.fit(fit, train.targets)
    return {
        "accuracy": probe.score(ask, rest.targets),
        "log_loss": log_loss(rest.targets, probe.predict_proba(ask), labels=probe.classes_),
    }


def experiment(data: LabelledSeries, options: Namespace) -> Iterator[dict[str, Any]]:
    model = {"hidden_size": options.hidden_size, "num_blocks": options.num_blocks}
    folds = RepeatedStratifiedKFold(
        n_splits=options.folds, n_repeats=options.repeats, random_state=0
    )
    for fold, (indices, held_out) in enumerate(folds.split(data.targets, data.targets)):
        train, rest = take(data, indices), take(data, held_out)
        encoder = pretrain(train, model, options.pretraining_epochs, seed=fold)
        for share in options.labels:
            few = take(train, labelled(train.targets, share, seed=fold))
            ways = {
                way: fine_tuned(few, rest, model, options.epochs, fold, start)
                for way, start in (("none", None), ("pretrained", encoder))
            }
            ways["vectors"] = of_vectors(few, rest, encoder)
            for way, figures in ways.items():
                row = {"labels": share, "cases": len(few.series), "fold": fold, "way": way}
                yield row | {name: figures[name] for name in METRICS}


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and spread of each way, and of its difference from none, fold by fold."""
    keyed = rows.set_index(["labels", "fold", "way"])[METRICS]
    none = keyed.xs("none", level="way")
    difference = keyed - none.reindex(keyed.index.droplevel("way")).to_numpy()
    both = keyed.join(difference.add_suffix(" - none"))
    return both.groupby(level=["labels", "way"], sort=False).agg(["mean", "std"])


def number_or_auto(text: str) -> int | str:
    return text if text == "auto" else int(text)


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--labels", type=float, nargs="+", default=[0.1, 0.3, 1.0])
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--epochs", type=number_or_auto, default="auto")
    parser.add_argument("--pretraining_epochs", type=number_or_auto, default="auto")
    parser.add_argument("--hidden_size", type=int, default=64)
    parser.add_argument("--num_blocks", type=int, default=4)
    parser.add_argument("--output", help="a CSV file: every fold and way")
    options = parser.parse_args()
    data, _ = load_splits(options.data, kind="classification")
    rows = []
    for row in experiment(data, options):
        rows.append(row)
        if options.output:  # as they come: a long experiment may be looked at, or stopped
            pd.DataFrame(rows).to_csv(options.output, index=False)
    with pd.option_context("display.width", 200, "display.max_columns", None):
        print(table(pd.DataFrame(rows)).round(4))


if __name__ == "__main__":
    main()
