"""How should peers that take series of one length be given series of many?

    python benchmarks/padding.py JapaneseVowels [--folds 3]

Cross-validated accuracy of aeon's estimators on the TRAIN part alone; TEST is not opened. Four
ways: zeros after a series' end, its last value, its mean, or the series resampled to the longest.
"""

from argparse import ArgumentParser

import numpy as np
from aeon.transformations.collection.unequal_length import Padder, Resizer
from sklearn.model_selection import StratifiedKFold, cross_val_score

from evolving_attention.comparison.peers import ESTIMATORS
from evolving_attention.tasks.time_series_data import load_training

WAYS = {
    "zeros": Padder(),
    "last": Padder(fill_value="last"),
    "mean": Padder(fill_value="mean"),
    "resampled": Resizer("max"),
}


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--folds", type=int, default=3)
    options = parser.parse_args()
    data = load_training(options.data, kind="classification")
    folds = StratifiedKFold(options.folds, shuffle=True, random_state=0)
    for way, transform in WAYS.items():
        series = np.asarray(transform.fit_transform(data.series))
        for name, makes in ESTIMATORS.items():
            estimator = makes["classification"](random_state=0)
            accuracy = cross_val_score(estimator, series, data.targets, cv=folds).mean()
            print(f"{options.data} {way:10} {name:18} accuracy {accuracy:.4f}", flush=True)


if __name__ == "__main__":
    main()
