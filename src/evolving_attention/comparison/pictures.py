"""The picture of a comparison: mean ranks, and which variants do not differ significantly."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from aeon.visualisation import plot_critical_difference

from evolving_attention.comparison.statistics import FEWEST_DATA_SETS

__all__ = ["draw_ranks"]


def draw_ranks(scores: pd.DataFrame, path: Path, *, lower_better: bool) -> str | None:
    """Draw the critical-difference diagram of aeon.

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
    if len(complete) < FEWEST_DATA_SETS or complete.shape[1] < 3:
        return (
            f"No picture of the ranks: it needs {FEWEST_DATA_SETS} data sets that all of at least "
            f"3 variants have finished; here are {len(complete)} data sets, "
            f"{complete.shape[1]} variants."
        )
    figure, _ = plot_critical_difference(
        complete.to_numpy(),
        list(complete.columns),
        lower_better=lower_better,
        test="wilcoxon",
        correction="holm",
    )
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)
    return None
