"""Tables of the report, in Markdown."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from evolving_attention.comparison.statistics import (
    GAIN_UNITS,
    mean_ranks,
    scores_by_data,
    summarise_gains,
)

__all__ = ["gains_table", "markdown", "scores_table", "seconds_table", "title"]


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown: the first column to the left, the others to the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))


def title(metric: str) -> str:
    """Return a metric's name as a text has it."""
    names = {"rmse": "RMSE", "mae": "MAE", "bleu": "BLEU", "chrf": "chrF"}
    return names.get(metric, metric.replace("_", " "))


def _number(value: float, form: str = ".4f") -> str:
    return "–" if np.isnan(value) else format(value, form)


def _with_spread(values: pd.Series) -> str:
    """Return mean ± standard deviation over seeds."""
    spread = values.std()
    return _number(values.mean()) + ("" if np.isnan(spread) else f" ± {spread:.4f}")


def scores_table(results: pd.DataFrame, metric: str) -> str:
    """Return mean ± deviation for each data set and variant, their means and mean ranks.

    The last rows are over the data sets on which every variant has a score.
    """
    scores = scores_by_data(results, metric)
    cells = results.dropna(subset=[metric]).groupby(["data", "variant"])[metric].apply(_with_spread)
    rows = [
        [str(data), *(cells.get((data, variant), "–") for variant in scores.columns)]
        for data in scores.index
    ]
    complete = scores.dropna()
    if len(scores) > 1:
        if metric not in ("rmse", "mae"):  # errors in different units have no mean
            rows.append([f"mean of {len(complete)}", *map(_number, complete.mean())])
        ranks = mean_ranks(scores, metric)
        rows.append([f"mean rank of {len(complete)}", *(_number(rank, ".2f") for rank in ranks)])
    return markdown(["data", *map(str, scores.columns)], rows)


def gains_table(results: pd.DataFrame, metrics: Sequence[str], name: str) -> str:
    """Return the gains of the recipe's network over each variant, with intervals and tests."""
    summaries = [summarise_gains(results, metric, name) for metric in metrics]
    return markdown(
        ["against", "metric", "gain", "95 % interval", "won / drawn / lost", "p", "n"],
        [_gain_cells(row) for summary in summaries for row in summary.to_dict("records")],
    )


def _gain_cells(row: dict[str, Any]) -> list[str]:
    unit = GAIN_UNITS.get(row["metric"])
    form = "+.2f" if unit else "+.4f"
    low, high = _number(row["low"], form), _number(row["high"], form)
    return [
        row["against"],
        title(row["metric"]) + (f" ({unit})" if unit else ""),
        _number(row["gain"], form),
        "–" if low == "–" else f"[{low}, {high}]",
        f"{row['wins']} / {row['draws']} / {row['losses']}",
        _number(row["p"], ".3f"),
        f"{row['data_sets']} × {row['pairs'] / row['data_sets']:.3g}",
    ]


def seconds_table(results: pd.DataFrame) -> str:
    """Return the seconds of training and the parameters of each variant, mean over its runs."""
    means = results.groupby("variant", sort=False)[["train_seconds", "parameters"]].mean()
    rows = [
        [str(name), _number(row["train_seconds"], ".1f"), _number(row["parameters"], ",.0f")]
        for name, row in means.iterrows()
    ]
    return markdown(["variant", "seconds", "parameters"], rows)
