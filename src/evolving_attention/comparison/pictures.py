"""The picture of a comparison: mean ranks, and which variants do not differ significantly."""

import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from aeon.visualisation import plot_critical_difference

from evolving_attention.comparison.statistics import FEWEST_DATA_SETS

__all__ = ["draw_ranks"]


def draw_ranks(scores: pd.DataFrame, path: Path, *, lower_better: bool) -> str | None:
    """Draw the critical-difference diagram of aeon.

    A bar joins variants that its one-sided signed-rank tests, with Holm's correction, do not tell
    apart at 5 %.

    Parameters
    ----------
    scores : pandas.DataFrame
        A row for each data set, a column for each variant; data sets without a score for every
        variant are left out.
    path : Path
        The picture.
    lower_better : bool
        Whether scores are errors.

    Returns
    -------
    str or None
        Why there is no picture, where there is none.
    """
    complete = scores.dropna()
    found = f"here, data sets: {len(complete)}, variants: {complete.shape[1]}"
    if len(complete) < FEWEST_DATA_SETS or complete.shape[1] < 3:
        return (
            f"No picture of the ranks: it takes {FEWEST_DATA_SETS} data sets that at least 3 "
            f"variants have all finished; {found}."
        )
    if (complete.nunique(axis=1) == 1).all():
        return f"No picture of the ranks: all scores are alike; {found}."
    with warnings.catch_warnings(action="ignore"):  # of two variants that are alike throughout
        figure, _ = plot_critical_difference(
            complete.to_numpy(),
            list(complete.columns),
            lower_better=lower_better,
            alpha=0.05,
        )
    figure.savefig(path, dpi=120, bbox_inches="tight", pad_inches=0.2)  # long names stick out
    plt.close(figure)
    return None
