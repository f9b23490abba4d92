"""Curves over layers: the measures of networks, and how much their maps tell."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evolving_attention.inspection.profiles import MEASURES, summary
from evolving_attention.inspection.style import (
    GREY,
    NETWORKS,
    layer_axis,
    name_networks,
    new_figure,
)

__all__ = ["draw_profile", "draw_quality"]


def draw_profile(table: pd.DataFrame, title: str = "") -> Figure:
    """Draw every measure over the layers: a line a network, a band for the spread over series.

    Parameters
    ----------
    table : DataFrame
        What :func:`~evolving_attention.inspection.profiles.profile` returns, with a column
        ``network``; one network or two.
    title : str
        Stands above.
    """
    averages = summary(table)
    figure = new_figure(15.0, 6.2)
    figure.suptitle(title, fontsize=12, parse_math=False)
    panels = figure.subplots(2, 5).flat
    for axes, (name, (heading, unit)) in zip(panels, MEASURES.items(), strict=True):
        _draw_lines(axes, averages[name])
        axes.set_title(heading, fontsize=10)
        axes.set_ylabel(unit, fontsize=8)
    figure.supxlabel(
        "layer; lines are means over heads and series, bands one deviation over series", fontsize=9
    )
    lines, labels = figure.axes[0].get_legend_handles_labels()
    if len(labels) > 1:
        name_networks(figure.legend(lines, labels, loc="outside upper right", ncols=2, fontsize=9))
    return figure


def _draw_lines(axes: Axes, averages: pd.DataFrame) -> None:
    """Draw the columns ``mean`` and ``std`` over layers, a line for each network."""
    networks = averages.index.get_level_values(0).unique()
    for name, style in zip(networks, NETWORKS, strict=False):
        line = averages.loc[name]
        axes.plot(line.index, line["mean"], label=str(name), linewidth=1.5, **style)
        low, high = line["mean"] - line["std"], line["mean"] + line["std"]
        axes.fill_between(line.index, low, high, color=style["color"], alpha=0.18, linewidth=0)
    layer_axis(axes, int(averages.index.get_level_values(1).max()))
    if averages["mean"].isna().all():
        axes.text(0.5, 0.5, "does not apply", transform=axes.transAxes, ha="center", fontsize=9)
        axes.set_yticks([])


def draw_quality(table: pd.DataFrame, score: str, title: str = "") -> Figure:
    """Draw how much the maps of each layer tell about the target: a line a network.

    Parameters
    ----------
    table : DataFrame
        What :func:`~evolving_attention.inspection.quality.map_quality` returns, with a column
        ``network``; one network or two.
    score : str
        What the score is called, such as "accuracy".
    title : str
        Stands above.
    """
    averages = table.groupby(["network", "layer"], sort=False)["score"].agg(["mean", "std"])
    figure = new_figure(7.0, 4.2)
    figure.suptitle(title, fontsize=9, parse_math=False)
    axes = figure.subplots()
    _draw_lines(axes, averages.fillna({"std": 0.0}))
    axes.axhline(table["chance"].iloc[0], color=GREY, linewidth=1.2, linestyle=":", label="chance")
    axes.set_xlabel("layer whose maps are read; bands: one deviation over seeds", fontsize=9)
    axes.set_ylabel(f"{score} from the maps alone", fontsize=9)
    name_networks(axes.legend(fontsize=9))
    return figure
