"""Pictures of maps."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from evolving_attention.errors import InputError
from evolving_attention.inspection.maps import Chain

__all__ = ["draw_chain"]


def draw_chain(chain: Chain, *, show: str = "probabilities", heads: int | None = None) -> Figure:
    """Draw a chain of maps: a column a layer; the mean over heads on top, then each head.

    Parameters
    ----------
    chain : Chain
        See :func:`~evolving_attention.inspection.maps.chain_of_maps`.
    show : {"probabilities", "map"}
        After the softmax, or before it. Each image has its own colour scale, from 0 (maps: around
        0) to its largest entry, which stands below it: a vague map and a sharp one look alike
        but for that number.
    heads : int, optional
        How many heads to draw below their mean. Default: all of them.

    Returns
    -------
    Figure
        ``figure.savefig(path)`` writes it.
    """
    if show not in ("probabilities", "map"):
        raise InputError(f"show must be 'probabilities' or 'map', got {show!r}.")
    if heads is not None and heads < 0:
        raise InputError(f"heads must be 0 (the mean alone) or more, got {heads}.")
    layers = chain.probabilities if show == "probabilities" else chain.maps
    images = np.concatenate([layers.mean(1, keepdims=True), layers[:, :heads]], axis=1)
    num_layers, num_rows = images.shape[:2]
    figure = Figure(figsize=(1.35 * num_layers + 1.1, 1.35 * num_rows + 2.2), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{chain.title}   [{show}]", fontsize=11, parse_math=False)
    parts = figure.subfigures(2, 1, squeeze=False, height_ratios=(1.4, 1.35 * num_rows))[:, 0]
    _draw_series(parts[0].subplots(), chain)
    grid = parts[1].subplots(num_rows, num_layers, squeeze=False)
    labels = ["mean", *(f"head {head}" for head in range(1, num_rows))]
    for row, (axes_of_row, label) in enumerate(zip(grid, labels, strict=True)):
        for layer, axes in enumerate(axes_of_row):
            _draw_image(axes, images[layer, row], show)
        axes_of_row[0].set_ylabel(label, fontsize=9)
    for layer, axes in enumerate(grid[0], start=1):
        axes.set_title(f"layer {layer}", fontsize=9)
    figure.supxlabel("key position; rows are queries", fontsize=9)
    return figure


def _draw_series(axes: Axes, chain: Chain) -> None:
    positions = np.arange(chain.series.shape[1]) / chain.patch_size
    axes.plot(positions, chain.series.T, linewidth=0.9)
    axes.set_xlim(positions[0], max(positions[-1], 1e-6))
    axes.tick_params(labelsize=7)
    axes.set_title(f"the series, {chain.series.shape[0]} channels", fontsize=9)


def _draw_image(axes: Axes, image: NDArray, show: str) -> None:
    extent = float(np.abs(image).max()) or 1.0
    if show == "probabilities":
        axes.imshow(image, cmap="magma", vmin=0.0, vmax=extent)
    else:
        axes.imshow(image, cmap="RdBu_r", vmin=-extent, vmax=extent)
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(f"largest {extent:.2g}", fontsize=6, labelpad=1)
