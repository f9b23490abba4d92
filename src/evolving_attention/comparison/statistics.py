"""What is made of a comparison's results: means and spreads, ranks, paired gains, intervals, tests.

A *gain* is how much better the recipe's network is than another on the same data set with the same
seed, positive where it is better: for shares such as accuracy in points (hundredths), for errors
in the data's own units (RMSE, MAE) in per cent of the other's error, for the rest as it is.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata, wilcoxon

from evolving_attention.comparison.results import METRICS

__all__ = [
    "FEWEST_DATA_SETS",
    "GAIN_UNITS",
    "bootstrap_interval",
    "mean_ranks",
    "paired_gains",
    "scores_by_data",
    "signed_rank_p",
    "summarise",
    "summarise_gains",
]

#: Unit of a metric's gain.
GAIN_UNITS = {
    "accuracy": "points",
    "f1_macro": "points",
    "score": "points",
    "rmse": "%",
    "mae": "%",
    "bleu": "of 100",
    "chrf": "of 100",
}

_IS_BETTER_LARGER = {name: larger for kind in METRICS.values() for name, larger in kind.items()}

#: With fewer data sets, no outcome of the signed-rank test lies below 0.05.
FEWEST_DATA_SETS = 6


def summarise(results: pd.DataFrame) -> pd.DataFrame:
    """Return mean and standard deviation over seeds of every metric, by data set and variant.

    The deviation is that of a sample (n - 1); a single run has none.
    """
    groups = results.groupby(["kind", "data", "variant"], sort=False)
    columns = {"runs": groups.size()}
    for name in (*_IS_BETTER_LARGER, "train_seconds"):
        columns[f"{name}_mean"] = groups[name].mean()
        columns[f"{name}_sd"] = groups[name].std()
    columns["parameters"] = groups["parameters"].mean()
    return pd.DataFrame(columns).dropna(axis="columns", how="all").reset_index()


def scores_by_data(results: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return a metric's mean over seeds: a row for each data set, a column for each variant."""
    scores = results.pivot_table(index="data", columns="variant", values=metric, sort=False)
    return scores.round(12)  # lest the order of a sum decide a tie


def mean_ranks(scores: pd.DataFrame, metric: str) -> pd.Series:
    """Rank the variants on each data set, 1 for the best, and average; ties share their rank.

    Data sets on which a variant has no score do not count.
    """
    complete = scores.dropna()
    signed = -complete if _IS_BETTER_LARGER[metric] else complete
    ranks = rankdata(signed, axis=1).mean(0) if len(complete) else np.full(scores.shape[1], np.nan)
    return pd.Series(ranks, index=scores.columns)


def paired_gains(results: pd.DataFrame, metric: str, name: str, other: str) -> pd.Series:
    """Return the gains of ``name`` over ``other``, by data set and seed, where both have run.

    Parameters
    ----------
    results : DataFrame
        A row a run, with the columns ``data``, ``seed``, ``variant`` and the metric's.
    metric : str
        The name of its column. A gain is positive where ``name`` is better, and has the unit that
        :data:`GAIN_UNITS` tells.
    name, other : str
        Two variants.
    """
    table = results.pivot_table(
        index=["data", "seed"], columns="variant", values=metric, sort=False
    ).reindex(columns=[name, other])
    own, others = table[name], table[other]
    gains = own - others if _IS_BETTER_LARGER[metric] else others - own
    if GAIN_UNITS.get(metric) == "points":
        gains = 100 * gains
    elif GAIN_UNITS.get(metric) == "%":
        gains = 100 * gains / others
    return gains.replace([np.inf, -np.inf], np.nan).dropna()


def bootstrap_interval(
    groups: Sequence[NDArray], *, level: float = 0.95, draws: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile interval of the mean of groups' means, from a hierarchical bootstrap.

    Each draw takes as many groups as there are, with replacement, and from each of these as many
    values as it has, with replacement. A single value has no interval.

    Parameters
    ----------
    groups : sequence of array
        The values of each data set, one a seed.
    level : float
        Share of the draws inside the interval.
    draws : int
        How many.
    seed : int
        Of the draws.
    """
    if sum(map(len, groups)) < 2:
        return np.nan, np.nan
    rng = np.random.default_rng(seed)
    chosen = rng.integers(len(groups), size=(draws, len(groups)))
    means = np.empty(chosen.shape)
    for index, values in enumerate(groups):
        slots = chosen == index  # wherever this group was drawn, its values are drawn anew
        means[slots] = rng.choice(values, size=(slots.sum(), len(values))).mean(1)
    low, high = np.quantile(means.mean(1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def signed_rank_p(gains: NDArray) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test over data sets.

    Not a number where there are so few data sets that it could not lie below 0.05.
    """
    if len(gains) < FEWEST_DATA_SETS:
        return np.nan
    if not gains.any():
        return 1.0
    return float(wilcoxon(gains).pvalue)


def summarise_gains(results: pd.DataFrame, metric: str, name: str) -> pd.DataFrame:
    """Return what the gains over every other variant amount to, one row each.

    Columns: data sets and pairs of runs; the mean over data sets of the mean gain, with its 95 %
    interval; data sets won, drawn and lost; and the p-value of the signed-rank test.

    Parameters
    ----------
    results, metric, name
        As of :func:`paired_gains`.
    """
    rows = []
    for other in results["variant"].unique():
        gains = paired_gains(results, metric, name, other)
        if other == name or gains.empty:
            continue
        groups = [values.to_numpy() for _, values in gains.groupby("data", sort=False)]
        means = np.array([values.mean() for values in groups])
        low, high = bootstrap_interval(groups)
        drawn = np.isclose(means, 0, atol=1e-9)
        rows.append(
            {
                "against": other,
                "metric": metric,
                "data_sets": len(groups),
                "pairs": len(gains),
                "gain": means.mean(),
                "low": low,
                "high": high,
                "wins": int((~drawn & (means > 0)).sum()),
                "draws": int(drawn.sum()),
                "losses": int((~drawn & (means < 0)).sum()),
                "p": signed_rank_p(np.where(drawn, 0.0, means)),
            }
        )
    return pd.DataFrame(rows)
