"""Views of networks for images: what ``evolving-attention inspect`` shows of their runs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from evolving_attention.inspection.captions import CAPTIONS
from evolving_attention.inspection.entries import entries
from evolving_attention.inspection.image_maps import ImageMaps, maps_of_image, pixel_of
from evolving_attention.inspection.image_pictures import draw_image_chain, draw_looks
from evolving_attention.inspection.maps import sample_of
from evolving_attention.runs import Run

__all__ = ["IMAGE_VIEWS"]

#: What a view needs of the options, and returns: those of :mod:`views`, which imports this.
Parts = tuple[str, str, Any, pd.DataFrame, pd.DataFrame | None, str]


def _images(networks: dict[str, Run], options: Any) -> list[ImageMaps]:
    """Take one image, of the first network's data, through each network."""
    data = next(iter(networks.values())).inputs(options.input)
    image, title = sample_of(data, options.sample)
    named = len(networks) > 1
    return [
        maps_of_image(run, image, title, name if named else "") for name, run in networks.items()
    ]


def _chain(networks: dict[str, Run], options: Any) -> Parts:
    several = _images(networks, options)
    numbers = pd.concat(
        entries(image.maps if options.show == "map" else image.probabilities, network=name)
        for name, image in zip(networks, several, strict=True)
    )
    figure = draw_image_chain(several, options.show)
    stem = f"{options.show}-{options.sample}"
    return several[0].title, CAPTIONS["image_chain"], figure, numbers, None, stem


def _query(networks: dict[str, Run], options: Any) -> Parts:
    several = _images(networks, options)
    row, column = pixel_of(options.pixel, *several[0].picture_YXC.shape[:2])
    rows = [
        {"network": name, "layer": layer + 1, "row": y, "column": x, "value": value}
        for name, image in zip(networks, several, strict=True)
        for layer in range(len(image.grids))
        for (y, x), value in np.ndenumerate(image.looks(layer, row, column))
    ]
    return (
        f"{several[0].title}: where pixel {row},{column} looks",
        CAPTIONS["image_query"],
        draw_looks(several, row, column),
        pd.DataFrame(rows),
        None,
        f"query-{options.sample}",
    )


#: Views that differ from those of series, by name.
IMAGE_VIEWS: dict[str, Callable[[dict[str, Run], Any], Parts]] = {
    "chain": _chain,
    "query": _query,
}
