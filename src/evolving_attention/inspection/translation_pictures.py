"""Pictures of the chains of a network that translates, with their tokens at both axes."""

from collections.abc import Sequence
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from evolving_attention.errors import InputError
from evolving_attention.inspection.style import NETWORKS, new_figure
from evolving_attention.inspection.translation_maps import TranslationChain, TranslationMaps

__all__ = ["draw_looks", "draw_translation"]

#: What is called what.
_TITLES = {
    "encoder": "encoder: the source to itself",
    "decoder": "decoder: each token written to those before",
    "cross": "cross-attention: each token written to the source",
}
#: Inches of an image's longer side.
_SIDE = 2.6


def draw_translation(
    several: Sequence[TranslationMaps],
    title: str,
    *,
    show: str = "probabilities",
    heads: int = 0,
) -> Figure:
    """Draw chains, one below the other: a column a layer; the mean over heads, then each head.

    Parameters
    ----------
    several : sequence of TranslationMaps
        Of one network, or of two: a chain of the second stands below that of the first.
    title : str
        Stands above.
    show : {"probabilities", "map"}
        After the softmax, or before it. Each image has its own colour scale, from 0 (maps: around
        0) to its largest entry, which stands below it.
    heads : int
        How many heads to draw below their mean.
    """
    if heads < 0:
        raise InputError(f"heads must be 0 (the mean alone) or more, got {heads}.")
    blocks = [
        (maps.network if len(several) > 1 else "", chain)
        for chains in zip(*(maps.chains for maps in several), strict=True)
        for maps, chain in zip(several, chains, strict=True)
    ]
    images = [_images(chain, show, heads) for _, chain in blocks]
    heights = [_SIDE * grid.shape[1] + 0.5 for grid in images]
    figure = new_figure(_SIDE * max(map(len, images)) + 1.2, sum(heights) + 0.8)
    _entitle(figure, f"{title}   [{show}]")
    parts = figure.subfigures(len(blocks), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, (network, chain), grid in zip(parts, blocks, images, strict=True):
        named = f"{_TITLES[chain.name]}, {network}" if network else _TITLES[chain.name]
        part.suptitle(named, fontsize=10, parse_math=False)
        _draw_block(part, chain, grid, show)
    return figure


def _entitle(figure: Figure, title: str) -> None:
    """Write the title above: sentences are long."""
    width = int(11 * figure.get_figwidth())
    figure.suptitle(fill(title, width), fontsize=10, parse_math=False)


def _images(chain: TranslationChain, show: str, heads: int) -> NDArray[np.float32]:
    layers_LHNM = chain.images(show)
    return np.concatenate([layers_LHNM.mean(1, keepdims=True), layers_LHNM[:, :heads]], axis=1)


def _draw_block(part: SubFigure, chain: TranslationChain, images: NDArray, show: str) -> None:
    layers, rows = images.shape[:2]
    grid = part.subplots(rows, layers, squeeze=False)
    for row, axes_of_row in enumerate(grid):
        for layer, axes in enumerate(axes_of_row):
            _draw_image(axes, images[layer, row], show)
            axes.set(xticks=[], yticks=[])
            if row == 0:
                axes.set_title(f"layer {layer + 1}", fontsize=9)
            if row == rows - 1:
                _name(axes, "x", chain.columns)
        _name(axes_of_row[0], "y", chain.rows)
        axes_of_row[0].set_ylabel(f"head {row}" if row else "mean", fontsize=9)


def _draw_image(axes: Axes, image: NDArray, show: str) -> None:
    extent = float(np.abs(image).max()) or 1.0
    is_map = show == "map"
    lowest = -extent if is_map else 0.0
    colours = "RdBu_r" if is_map else "magma"
    axes.imshow(image, cmap=colours, vmin=lowest, vmax=extent, aspect="auto")
    axes.set_xlabel(f"largest {extent:.2g}", fontsize=6, labelpad=1)


def _name(axes: Axes, axis: str, tokens: list[str]) -> None:
    """Write the tokens beside an axis, as many as there is room for."""
    room = 72 * (_SIDE - 0.7) / max(len(tokens), 1)
    step = max(1, int(np.ceil(4 / room)))
    places = list(range(0, len(tokens), step))
    names = [tokens[place] for place in places]
    if axis == "x":
        axes.set_xticks(places, names, rotation=90, parse_math=False)
    else:
        axes.set_yticks(places, names, parse_math=False)
    axes.tick_params(axis=axis, labelsize=min(max(room, 4), 7), length=0)  # type: ignore[arg-type]


def draw_looks(
    several: Sequence[tuple[str, TranslationChain]], position: int, title: str
) -> Figure:
    """Draw where one token looks: a row a layer, a column a network.

    Bars are probabilities, the mean over heads; the dotted line is what even attention would give.

    Parameters
    ----------
    several : sequence of (str, TranslationChain)
        The same chain of each network, and the network's name.
    position : int
        Of the token that looks, from 0.
    title : str
        Stands above.
    """
    rows: int = max(chain.probabilities.shape[0] for _, chain in several)
    figure = new_figure(7.0 * len(several), 1.05 * rows + 1.6)
    _entitle(figure, title)
    grid = figure.subplots(rows, len(several), squeeze=False, sharex=True, sharey=True)
    for column, (network, chain), style in zip(grid.T, several, NETWORKS, strict=False):
        for layer, axes in enumerate(column):
            if layer >= len(chain.probabilities):
                axes.axis("off")
                continue
            bars_M = chain.probabilities[layer].mean(0)[position]
            axes.bar(np.arange(len(bars_M)), bars_M, width=1.0, color=style["color"], alpha=0.75)
            even = 1 / max(int(np.count_nonzero(bars_M)), 1)
            axes.axhline(even, color="black", linewidth=0.8, linestyle=":")
            axes.set_ylabel(f"layer {layer + 1}", fontsize=8)
            axes.tick_params(labelsize=7)
        if len(several) > 1:
            column[0].set_title(network, fontsize=9, parse_math=False)
        column[-1].set_xticks(
            range(len(chain.columns)), chain.columns, rotation=90, fontsize=7, parse_math=False
        )
    figure.supxlabel("token looked at; bars: probability, mean over heads", fontsize=9)
    return figure
