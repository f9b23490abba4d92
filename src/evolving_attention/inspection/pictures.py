"""Pictures of maps."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from evolving_attention.inspection.maps import Chain

__all__ = ["draw_chain"]


def draw_chain(chain: Chain, *, show: str = "probabilities") -> Figure:
    """Draw a chain of maps: a column a layer, first to last; the mean over heads on top, then each head.

    Parameters
    ----------
    chain : Chain
        See :func:`~evolving_attention.inspection.maps.chain_of_maps`.
    show : {"probabilities", "map"}
        After the softmax, or before it. Probabilities are scaled by their largest value in each picture, maps
        around zero.

    Returns
    -------
    Figure
        ``figure.savefig(path)`` writes it.
    """
    layers = chain.probabilities if show == "probabilities" else chain.maps
    num_layers, num_heads = layers.shape[:2]
    figure = Figure(figsize=(1.35 * num_layers + 1.1, 1.35 * (num_heads + 1) + 2.2), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{chain.title}   [{show}]", fontsize=11)
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.4, 1.35 * (num_heads + 1)))
    _draw_series(top.subplots(), chain)
    grid = bottom.subplots(num_heads + 1, num_layers, squeeze=False)
    for layer, column in enumerate(grid.T):
        column[0].set_title(f"layer {layer + 1}", fontsize=9)
        for axes, image in zip(column, [layers[layer].mean(0), *layers[layer]], strict=True):
            _draw_image(axes, image, show)
    for axes, label in zip(grid[:, 0], ["mean", *(f"head {head + 1}" for head in range(num_heads))], strict=True):
        axes.set_ylabel(label, fontsize=9)
    figure.supxlabel("key position; rows are queries", fontsize=9)
    return figure


def _draw_series(axes: Axes, chain: Chain) -> None:
    positions = np.arange(chain.series.shape[1]) / chain.patch_size
    axes.plot(positions, chain.series.T, linewidth=0.9)
    axes.set_xlim(positions[0], max(positions[-1], 1e-6))
    axes.tick_params(labelsize=7)
    axes.set_title(f"the series, {chain.series.shape[0]} channels", fontsize=9)


def _draw_image(axes: Axes, image: NDArray, show: str) -> None:
    if show == "probabilities":
        axes.imshow(image, cmap="magma", vmin=0.0)
    else:
        extent = max(float(np.abs(image).max()), 1e-6)
        axes.imshow(image, cmap="RdBu_r", vmin=-extent, vmax=extent)
    axes.set_xticks([])
    axes.set_yticks([])
