"""Views of networks for images: what ``evolving-attention inspect`` shows of their runs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from evolving_attention.errors import InputError
from evolving_attention.inspection.captions import CAPTIONS
from evolving_attention.inspection.curves import draw_profile, draw_quality
from evolving_attention.inspection.image_maps import (
    ImageMaps,
    image_inputs,
    maps_of_image,
    pixel_of,
)
from evolving_attention.inspection.image_pictures import draw_image_chain, draw_looks
from evolving_attention.inspection.profiles import MEASURES, profile, summary
from evolving_attention.inspection.quality import map_quality
from evolving_attention.runs import Run
from evolving_attention.tasks.image_data import ImageData

__all__ = ["IMAGE_VIEWS"]

#: What a view needs of the options, and returns: those of :mod:`views`, which imports this.
Parts = tuple[str, str, Any, pd.DataFrame, pd.DataFrame | None, str]


def _images(networks: dict[str, Run], options: Any) -> list[ImageMaps]:
    """Take one image, of the first network's data, through each network."""
    data: Any = next(iter(networks.values())).inputs(options.input)
    if not 0 <= options.sample < len(data):
        raise InputError(
            f"there is no image {options.sample}; they are numbered from 0 to {len(data) - 1}."
        )
    target = "" if data.targets is None else f", target {data.targets[options.sample]}"
    image, title = data.images[options.sample], f"image {options.sample}{target}"
    named = len(networks) > 1
    return [
        maps_of_image(run, image, title, name if named else "") for name, run in networks.items()
    ]


def _chain(networks: dict[str, Run], options: Any) -> Parts:
    several = _images(networks, options)
    rows = [
        {"network": name, "layer": layer, "head": head, "query": query, "key": key, "value": value}
        for name, image in zip(networks, several, strict=True)
        for layer, map_HNN in enumerate(
            image.maps if options.show == "map" else image.probabilities, start=1
        )
        for (head, query, key), value in np.ndenumerate(map_HNN)
    ]
    figure = draw_image_chain(several, options.show)
    stem = f"{options.show}-{options.sample}"
    return several[0].title, CAPTIONS["image_chain"], figure, pd.DataFrame(rows), None, stem


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


def _measures(networks: dict[str, Run], options: Any) -> Parts:
    data = _spread(next(iter(networks.values())).inputs(options.input), options.samples or 64)
    images: Any = data.images
    table = pd.concat(
        [
            profile(run.model, run.task.processor, images, inputs=image_inputs).assign(network=name)
            for name, run in networks.items()
        ]
    )
    title = f"maps through the layers, {len(data)} images"
    return (
        title,
        CAPTIONS["measures"],
        draw_profile(table, title),
        table[["network", "series", "layer", "head", *MEASURES]].rename(
            columns={"series": "image"}
        ),
        summary(table).xs("mean", axis=1, level=1),
        "measures",
    )


def _quality(networks: dict[str, Run], options: Any) -> Parts:
    first = next(iter(networks.values()))
    train, test = first.data()
    if options.input is not None:
        test = first.inputs(options.input)
    if test is None or test.targets is None:
        raise InputError(
            f"{first.recipe.data.train} has no labelled test part to score readers of maps on; say "
            "--input FILE."
        )
    train, test = (_spread(part, options.samples or 512) for part in (train, test))
    table = pd.concat(
        [
            map_quality(
                run.model,
                run.task.processor,
                train,
                test,
                show=options.show,
                inputs=image_inputs,
            ).assign(network=name)
            for name, run in networks.items()
        ]
    )
    sees = "probabilities" if options.show == "probabilities" else "maps before the softmax"
    title = (
        f"accuracy from the {sees} of one layer: {len(train)} images to learn from, {len(test)} to "
        "be scored on"
    )
    return (
        title,
        CAPTIONS["quality"],
        draw_quality(table, "accuracy", title),
        table[["network", "layer", "seed", "score", "chance"]],
        table.groupby(["network", "layer"], sort=False)["score"].agg(["mean", "std"]),
        "quality",
    )


def _spread(data: Any, count: int) -> ImageData:
    """Return so many images, evenly spaced: files are often sorted by class."""
    if count < 1:
        raise InputError(f"samples must be at least 1, got {count}.")
    return data.take(np.unique(np.linspace(0, len(data) - 1, count).round().astype(int)))


#: Views that differ from those of series, by name.
IMAGE_VIEWS: dict[str, Callable[[dict[str, Run], Any], Parts]] = {
    "chain": _chain,
    "query": _query,
    "measures": _measures,
    "quality": _quality,
}
