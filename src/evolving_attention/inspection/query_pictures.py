"""Pictures over time: what one position of a series attends to, layer by layer."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from evolving_attention.errors import InputError
from evolving_attention.inspection.chain import Chain
from evolving_attention.inspection.pictures import own_title, shared_title
from evolving_attention.inspection.style import GREY, NETWORKS, new_figure

__all__ = ["draw_query"]


def draw_query(
    chain: Chain, position: int | None = None, *, against: Chain | None = None
) -> Figure:
    """Draw a series with the attention of one query position over it: a row a layer.

    Bars are probabilities, the mean over heads; the dotted line is what even attention would give.

    Parameters
    ----------
    chain : Chain
        See :func:`~evolving_attention.inspection.maps.chain_of_maps`.
    position : int, optional
        The query, from 0. Default: the middle.
    against : Chain, optional
        What another network makes of the same series, drawn at the right.
    """
    chains = [chain] if against is None else [chain, against]
    positions = min(each.probabilities.shape[-1] for each in chains)  # patches may differ
    position = positions // 2 if position is None else position
    if not 0 <= position < positions:
        raise InputError(
            f"there is no position {position}; they are numbered from 0 to {positions - 1}."
        )
    rows = max(len(each.probabilities) for each in chains)
    figure = new_figure(7.0 * len(chains), 1.05 * rows + 1.2)
    figure.suptitle(
        f"{shared_title(chains)}: attention of position {position}", fontsize=11, parse_math=False
    )
    grid = figure.subplots(rows, len(chains), squeeze=False, sharex=True, sharey=True)
    for column, each, style in zip(grid.T, chains, NETWORKS, strict=False):
        for layer, (axes, probabilities_HNN) in enumerate(
            zip(column, each.probabilities, strict=False), start=1
        ):
            _draw_layer(axes, each, probabilities_HNN.mean(0)[position], position, style["color"])
            axes.set_ylabel(f"layer {layer}", fontsize=8)
        for axes in column[len(each.probabilities) :]:
            axes.axis("off")
        if against is not None:
            column[0].set_title(own_title(each), fontsize=9, parse_math=False)
    if chain.tokens is not None:
        for axes in grid[-1]:
            axes.set_xticks(
                range(len(chain.tokens)), chain.tokens, rotation=90, fontsize=7, parse_math=False
            )
    below = "token" if chain.tokens else "position"
    behind = "" if chain.tokens else "; grey: the series"
    figure.supxlabel(f"{below}; bars: probability, mean over heads{behind}", fontsize=9)
    return figure


def _draw_layer(
    axes: Axes, chain: Chain, probability_N: np.ndarray, position: int, colour: str
) -> None:
    count = len(probability_N)
    axes.bar(np.arange(count), probability_N, width=1.0, color=colour, alpha=0.75)
    axes.axhline(1 / count, color="black", linewidth=0.8, linestyle=":")
    axes.axvline(position, color="black", linewidth=1.0)
    axes.set_xlim(-0.5, count - 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(labelsize=7)
    if chain.tokens is not None:
        return
    behind = axes.twinx()
    steps = (np.arange(chain.series.shape[1]) + 0.5) / chain.patch_size - 0.5
    behind.plot(steps, chain.series.T, color=GREY, linewidth=0.6, alpha=0.7)
    behind.set_yticks([])
