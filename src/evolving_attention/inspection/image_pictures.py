"""Pictures over pictures: where one pixel looks, layer by layer, and maps of every layer."""

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from evolving_attention.errors import InputError
from evolving_attention.inspection.chain import with_prediction
from evolving_attention.inspection.image_maps import ImageMaps
from evolving_attention.inspection.style import new_figure

__all__ = ["draw_image_chain", "draw_looks"]

#: Panels side by side.
_COLUMNS = 8


def draw_looks(several: list[ImageMaps], row: int, column: int) -> Figure:
    """Draw an image and over it, in a panel a layer, what the network attends to from a pixel.

    Parameters
    ----------
    several : list of ImageMaps
        One image, as one network or several see it.
    row, column : int
        The pixel, from 0; the white cross.
    """

    def draw(axes: Axes, image: ImageMaps, layer: int) -> None:
        _draw_picture(axes, image, grey=True)
        looks_YX = image.looks(layer, row, column)
        _draw_over(axes, image, looks_YX)
        axes.plot(column, row, marker="+", color="white", markersize=7, markeredgewidth=1.4)
        axes.set_xlabel(f"largest {looks_YX.max():.2g}", fontsize=6, labelpad=1)

    return _panels(several, draw, f"where pixel {row},{column} looks")


def draw_image_chain(several: list[ImageMaps], show: str = "probabilities") -> Figure:
    """Draw the maps of every layer, the mean over heads: rows are queries, columns keys."""
    if show not in ("probabilities", "map"):
        raise InputError(f"show must be 'probabilities' or 'map', got {show!r}.")

    def draw(axes: Axes, image: ImageMaps, layer: int) -> None:
        map_NN = (image.probabilities if show == "probabilities" else image.maps)[layer].mean(0)
        extent = float(np.abs(map_NN).max()) or 1.0
        colours = "magma" if show == "probabilities" else "RdBu_r"
        lowest = 0.0 if show == "probabilities" else -extent
        axes.imshow(map_NN, cmap=colours, vmin=lowest, vmax=extent)
        axes.set_xlabel(f"largest {extent:.2g}", fontsize=6, labelpad=1)

    return _panels(several, draw, show)


def _panels(
    several: list[ImageMaps], draw: Callable[[Axes, ImageMaps, int], None], what: str
) -> Figure:
    """Draw the picture and a panel a layer, one network below the other."""
    rows = [-(-(1 + len(image.grids)) // _COLUMNS) for image in several]
    columns = min(_COLUMNS, 1 + max(len(image.grids) for image in several))
    figure = new_figure(1.5 * columns + 0.4, 1.85 * sum(rows) + 0.6 + 0.3 * len(several))
    figure.suptitle(f"{several[0].title}: {what}", fontsize=11, parse_math=False)
    parts = figure.subfigures(len(several), 1, squeeze=False, height_ratios=rows)[:, 0]
    for part, image, count in zip(parts, several, rows, strict=True):
        told = with_prediction(image.network, image.prediction)
        part.suptitle(told, fontsize=9, parse_math=False)
        panels = part.subplots(count, columns, squeeze=False).ravel()
        _draw_picture(panels[0], image)
        panels[0].set_title("as the network sees it", fontsize=7)
        for layer, (axes, grid) in enumerate(zip(panels[1:], image.grids, strict=False)):
            draw(axes, image, layer)
            axes.set_title(f"layer {layer + 1}, {grid[0]} × {grid[1]}", fontsize=7)
        for axes in panels:
            axes.set(xticks=[], yticks=[])
        for axes in panels[1 + len(image.grids) :]:
            axes.axis("off")
    return figure


def _draw_picture(axes: Axes, image: ImageMaps, grey: bool = False) -> None:
    picture_YXC = image.picture_YXC.clip(0, 1)
    if grey or picture_YXC.shape[2] == 1:
        axes.imshow(picture_YXC.mean(2), cmap="gray", vmin=0, vmax=1)
    else:
        axes.imshow(picture_YXC)


def _draw_over(axes: Axes, image: ImageMaps, looks_YX: NDArray[np.float32]) -> None:
    height, width = image.picture_YXC.shape[:2]
    share_YX = looks_YX / (looks_YX.max() or 1.0)
    axes.imshow(
        share_YX,
        cmap="inferno",
        vmin=0,
        vmax=1,
        alpha=0.25 + 0.6 * share_YX,
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        interpolation="nearest",
    )
