"""GLUE's official metrics."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from evolving_attention.tasks.glue_tasks import GlueDescription

__all__ = ["METRICS", "measure"]


def _correlation(correlate: Callable, targets: NDArray, predicted: NDArray) -> float:
    """Correlate; a constant tells nothing about the targets, which is a correlation of 0."""
    if min(np.ptp(targets), np.ptp(predicted)) == 0:
        return 0.0
    return float(correlate(targets, predicted).statistic)


def _matthews(targets: NDArray, predicted: NDArray) -> float:
    """Return Matthews correlation; it is 0, as above, where there is but one label."""
    if len({*targets.tolist(), *predicted.tolist()}) < 2:
        return 0.0
    return float(matthews_corrcoef(targets, predicted))


#: Every metric, of targets and predictions; more is better in all.
METRICS: dict[str, Callable[[NDArray, NDArray], float]] = {
    "matthews": _matthews,
    "accuracy": lambda targets, predicted: float(accuracy_score(targets, predicted)),
    "f1": lambda targets, predicted: float(
        f1_score(targets, predicted, pos_label="1", zero_division=0)
    ),
    "pearson": lambda targets, predicted: _correlation(pearsonr, targets, predicted),
    "spearman": lambda targets, predicted: _correlation(spearmanr, targets, predicted),
}


def measure(
    task: GlueDescription, targets: NDArray, predicted: NDArray, parts: NDArray | None = None
) -> dict[str, float]:
    """Measure predictions of a task.

    Parameters
    ----------
    task : GlueDescription
        Which.
    targets, predicted : array of shape (cases,)
        Labels as text, or scores.
    parts : array of shape (cases,), optional
        Names of parts that are measured apart: the first one's figures have the metrics' names,
        the others' have their own added, as ``accuracy_mismatched``.

    Returns
    -------
    dict
        ``score``, by which GLUE's table ranks the task, the mean of all that follow; then the
        task's metrics.
    """
    names = [""] if parts is None else list(dict.fromkeys(parts.tolist()))
    figures: dict[str, float] = {}
    for index, part in enumerate(names):
        chosen = slice(None) if parts is None else parts == part
        for metric in task.metrics:
            name = f"{metric}_{part}" if index else metric
            figures[name] = METRICS[metric](targets[chosen], predicted[chosen])
    return {"score": float(np.mean(list(figures.values())))} | figures
