"""What to do with a small training part: hold some of it out to choose the epoch, or use all of it?

    python benchmarks/holding_out.py JapaneseVowels [--epochs 60] [--folds 3]

Cross-validation on the TRAIN part alone; TEST is not scored. Three ways: a fifth is held out to
choose the epoch (``validation``); the same, then trained again on everything for as many epochs
(``refit``); everything for a fixed number of epochs (``fixed``).
"""

from argparse import ArgumentParser

import numpy as np
from sklearn.model_selection import StratifiedKFold

from evolving_attention.recipe import TrainingOptions
from evolving_attention.tasks.time_series import TimeSeriesTask, predict_logits
from evolving_attention.tasks.time_series_data import LabelledSeries, load_splits
from evolving_attention.training import train_network

WAYS = {
    "validation": {"validation": 0.2},
    "refit": {"validation": 0.2, "refit": True},
    "fixed": {"validation": 0.0},
}


def take(data: LabelledSeries, indices: np.ndarray) -> LabelledSeries:
    return LabelledSeries([data.series[index] for index in indices], data.targets[indices])


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--folds", type=int, default=3)
    options = parser.parse_args()
    data, _ = load_splits(options.data, kind="classification")
    folds = StratifiedKFold(options.folds, shuffle=True, random_state=0)
    figures: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for seed, (train, held_out) in enumerate(folds.split(data.targets, data.targets)):
        for way, settings in WAYS.items():
            task = TimeSeriesTask("classification")
            training = TrainingOptions(epochs=options.epochs, **settings)
            network = train_network(task, take(data, train), {}, training, seed=seed)
            rest = take(data, held_out)
            measured = task.measure(
                predict_logits(network.model, task.processor, rest.series), rest.targets
            )
            figures[way].append((measured["accuracy"], measured["log_loss"]))
    for way, values in figures.items():
        accuracy, loss = np.mean(values, axis=0)
        print(f"{options.data} {way:10} accuracy {accuracy:.4f} log loss {loss:.4f}")


if __name__ == "__main__":
    main()
