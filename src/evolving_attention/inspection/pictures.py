"""Pictures of chains of maps."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from evolving_attention.errors import InputError
from evolving_attention.inspection.chain import Chain, with_prediction
from evolving_attention.inspection.style import new_figure

__all__ = ["draw_chain"]

#: Points of the smallest letters that can be read.
_SMALLEST = 3.5


def draw_chain(
    chain: Chain,
    *,
    show: str = "probabilities",
    heads: int | None = None,
    against: Chain | None = None,
) -> Figure:
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
    against : Chain, optional
        What another network makes of the same series, drawn below.

    Returns
    -------
    Figure
        ``figure.savefig(path)`` writes it.
    """
    if show not in ("probabilities", "map"):
        raise InputError(f"show must be 'probabilities' or 'map', got {show!r}.")
    if heads is not None and heads < 0:
        raise InputError(f"heads must be 0 (the mean alone) or more, got {heads}.")
    chains = [chain] if against is None else [chain, against]
    grids = [_images(each, show, heads) for each in chains]
    heights = [1.35 * grid.shape[1] + 0.35 * (len(chains) - 1) for grid in grids]
    columns = max(len(grid) for grid in grids)
    figure = new_figure(1.35 * columns + 1.1, sum(heights) + (2.2 if chain.tokens is None else 0.9))
    figure.suptitle(f"{shared_title(chains)}   [{show}]", fontsize=11, parse_math=False)
    above = [1.4] if chain.tokens is None else []
    parts = figure.subfigures(
        len(above) + len(chains), 1, squeeze=False, height_ratios=[*above, *heights]
    )
    if above:
        _draw_series(parts[0, 0].subplots(), chain)
    for part, each, grid in zip(parts[len(above) :, 0], chains, grids, strict=True):
        if against is not None:
            part.suptitle(own_title(each), fontsize=10, parse_math=False)
        _draw_images(part, grid, columns, show, each.tokens)
    figure.supxlabel("key position; rows are queries", fontsize=9)
    return figure


def shared_title(chains: list[Chain]) -> str:
    """Return the title of a picture of these chains: without the prediction where there are two."""
    (chain, *others) = chains
    return chain.title if others else with_prediction(chain.title, chain.prediction)


def own_title(chain: Chain) -> str:
    """Return the title of one chain beside another."""
    return with_prediction(chain.network, chain.prediction)


def _images(chain: Chain, show: str, heads: int | None) -> NDArray[np.float32]:
    layers = chain.probabilities if show == "probabilities" else chain.maps
    return np.concatenate([layers.mean(1, keepdims=True), layers[:, :heads]], axis=1)


def _draw_series(axes: Axes, chain: Chain) -> None:
    positions = np.arange(chain.series.shape[1]) / chain.patch_size
    axes.plot(positions, chain.series.T, linewidth=0.9)
    axes.set_xlim(positions[0], max(positions[-1], 1e-6))
    axes.tick_params(labelsize=7)
    axes.set_title(f"the series, {chain.series.shape[0]} channels", fontsize=9)


def _draw_images(
    part: SubFigure, images: NDArray, columns: int, show: str, tokens: list[str] | None
) -> None:
    num_layers, num_rows = images.shape[:2]
    grid = part.subplots(num_rows, columns, squeeze=False)
    labels = ["mean", *(f"head {head}" for head in range(1, num_rows))]
    for row, (axes_of_row, label) in enumerate(zip(grid, labels, strict=True)):
        for layer, axes in enumerate(axes_of_row[:num_layers]):
            _draw_image(axes, images[layer, row], show)
        for axes in axes_of_row[num_layers:]:  # the other network has more layers
            axes.axis("off")
        axes_of_row[0].set_ylabel(label, fontsize=9)
        if tokens is not None:
            _name_rows(axes_of_row[0], tokens)
    for layer, axes in enumerate(grid[0, :num_layers], start=1):
        axes.set_title(f"layer {layer}", fontsize=9)


def _name_rows(axes: Axes, tokens: list[str]) -> None:
    """Write a text's tokens beside an image, as many as there is room for."""
    size = 90 / max(len(tokens), 1)
    step = 1 if size >= _SMALLEST else -(-_SMALLEST * len(tokens) // 90)
    places = range(0, len(tokens), int(step))
    axes.set_yticks(list(places), [tokens[place] for place in places], parse_math=False)
    axes.tick_params(axis="y", labelsize=min(max(size, _SMALLEST), 7), length=0)


def _draw_image(axes: Axes, image: NDArray, show: str) -> None:
    extent = float(np.abs(image).max()) or 1.0
    if show == "probabilities":
        axes.imshow(image, cmap="magma", vmin=0.0, vmax=extent)
    else:
        axes.imshow(image, cmap="RdBu_r", vmin=-extent, vmax=extent)
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(f"largest {extent:.2g}", fontsize=6, labelpad=1)
