"""Views: what ``evolving-attention inspect`` can show of a run, each a picture and its numbers."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from evolving_attention.errors import InputError
from evolving_attention.inspection.captions import CAPTIONS
from evolving_attention.inspection.chain import Chain
from evolving_attention.inspection.curves import draw_profile, draw_quality
from evolving_attention.inspection.entries import entries
from evolving_attention.inspection.image_views import IMAGE_VIEWS
from evolving_attention.inspection.kernel_pictures import draw_kernels
from evolving_attention.inspection.kernels import kernel_table, kernels_of
from evolving_attention.inspection.maps import (
    chain_of,
    chain_of_maps,
    examples_of,
    spread_over,
)
from evolving_attention.inspection.pictures import draw_chain, shared_title
from evolving_attention.inspection.profiles import MEASURES, profile, summary
from evolving_attention.inspection.quality import map_quality
from evolving_attention.inspection.query_pictures import draw_query
from evolving_attention.inspection.translation_views import TRANSLATION_VIEWS
from evolving_attention.runs import Run
from evolving_attention.tasks.contracts import Data
from evolving_attention.tasks.image_data import ImageData

__all__ = ["VIEWS", "View", "ViewOptions", "view"]


@dataclass(frozen=True)
class ViewOptions:
    """What to look at.

    Attributes
    ----------
    sample : int
        Number of the series of the chain and of the query, from 0.
    position : int, optional
        The query, from 0. Default: the middle of the series. Of an image, see ``pixel``.
    samples : int, optional
        How many series the measures are taken of, evenly spaced, 64 by default; how many at the
        most teach, and test, those that judge the quality of maps, 512 by default.
    input : str, optional
        A file of series. Default: the test part of the run's data.
    show : {"probabilities", "map"}
        After or before the softmax.
    heads : int, optional
        How many heads of a chain to draw. Default: all; of translation, their mean alone. Of an
        image their mean is drawn.
    pixel : str, optional
        Of an image, the query as ``ROW,COLUMN``, from 0. Default: the middle.
    chain : {"encoder", "decoder", "cross"}, optional
        Of translation, which chain of maps. Default: all of them; of a query the cross-attention,
        of measures and kernels the encoder.
    """

    sample: int = 0
    position: int | None = None
    samples: int | None = None
    input: str | None = None
    show: str = "probabilities"
    heads: int | None = None
    pixel: str | None = None
    chain: str | None = None


@dataclass
class View:
    """A picture, its numbers, and what is to be seen.

    Attributes
    ----------
    title, caption : str
        What it is; how to read it.
    figure : Figure
        The picture.
    numbers : DataFrame
        What it draws, or more of it: a row an observation.
    digest : DataFrame, optional
        A short table, to print.
    stem : str
        A name for its files.
    """

    title: str
    caption: str
    figure: Figure
    numbers: pd.DataFrame
    digest: pd.DataFrame | None
    stem: str


#: The networks of a view by name: one, or one and what it is held against.
Networks = dict[str, Run]


def view(
    name: str, run: Run, against: Run | None = None, options: ViewOptions | None = None
) -> View:
    """Make one of :data:`VIEWS`.

    Parameters
    ----------
    name : str
        Its name.
    run, against : Run
        The network, and one to put beside it, such as its twin: it is given the same series.
    options : ViewOptions, optional
        What to look at.

    Raises
    ------
    InputError
        There is no such view, or nothing for it to show.
    """
    if name not in VIEWS:
        raise InputError(f"there is no view {name!r}; there are {', '.join(VIEWS)}.")
    networks, options = _named(run, against), options or ViewOptions()
    for option, family in _FOR.items():
        if getattr(options, option) is not None and run.recipe.family != family:
            raise InputError(f"{option} is for {family} networks; this one is of another kind.")
    for option, instead in _NOT_FOR_IMAGES.items():
        if getattr(options, option) is not None and run.recipe.family == "image":
            raise InputError(f"{option} is not for image networks: {instead}.")
    if own := _OF_FAMILIES.get(run.recipe.family, {}).get(name):
        return View(*own(networks, options))
    return VIEWS[name](networks, options)


def _named(run: Run, against: Run | None) -> Networks:
    if against is None:
        return {run.folder.resolve().name: run}
    if run.recipe.task != against.recipe.task:
        raise InputError(
            f"{run.folder} learned {run.recipe.task} and {against.folder} {against.recipe.task}: "
            "put networks beside each other that learned the same task."
        )
    names = [each.folder.resolve().name for each in (run, against)]
    if names[0] == names[1]:
        names = [str(each.folder) for each in (run, against)]
    if names[0] == names[1]:
        raise InputError(f"{names[0]} cannot be held against itself; name another run.")
    return dict(zip(names, (run, against), strict=True))


def _chains(networks: Networks, options: ViewOptions) -> list[Chain]:
    """Take one series, of the first network's data, through each network."""
    name, run = next(iter(networks.items()))
    chain = replace(chain_of_maps(run, options.sample, options.input), network=name)
    example = chain.texts or chain.series
    others = [
        replace(chain_of(other, example, chain.title), network=name)
        for name, other in list(networks.items())[1:]
    ]
    return [chain, *others]


def _chain(networks: Networks, options: ViewOptions) -> View:
    chains = _chains(networks, options)
    return View(
        shared_title(chains),
        CAPTIONS["chain"],
        draw_chain(
            chains[0],
            show=options.show,
            heads=options.heads,
            against=chains[1] if len(chains) > 1 else None,
        ),
        pd.concat(
            [
                entries(
                    chain.maps if options.show == "map" else chain.probabilities,
                    network=chain.network,
                )
                for chain in chains
            ]
        ),
        None,
        f"{options.show}-{options.sample}",
    )


def _query(networks: Networks, options: ViewOptions) -> View:
    chains = _chains(networks, options)
    position = options.position
    if position is None:
        position = chains[0].probabilities.shape[-1] // 2
    figure = draw_query(chains[0], position, against=chains[1] if len(chains) > 1 else None)
    numbers = pd.concat(entries(chain.probabilities, network=chain.network) for chain in chains)
    return View(
        f"{shared_title(chains)}: attention of position {position}",
        CAPTIONS["query"],
        figure,
        numbers[numbers["query"] == position],
        None,
        f"query-{options.sample}",
    )


def _measures(networks: Networks, options: ViewOptions) -> View:
    first = next(iter(networks.values()))
    data = spread_over(first.inputs(options.input), _count(options, 64))
    table = pd.concat(
        [
            profile(run.model, run.task.processor, examples_of(data)).assign(network=name)
            for name, run in networks.items()
        ]
    )
    title = f"maps through the layers, {len(data)} {first.family.inputs}"
    return View(
        title,
        CAPTIONS["measures"],
        draw_profile(table, title),
        table[["network", "series", "layer", "head", *MEASURES]].rename(
            columns={"series": "image"} if isinstance(data, ImageData) else {}
        ),
        summary(table).xs("mean", axis=1, level=1),
        "measures",
    )


def _kernels(networks: Networks, options: ViewOptions) -> View:
    if len(networks) > 1:
        raise InputError("kernels are those of one network: leave --against out.")
    ((name, run),) = networks.items()
    kernels = kernels_of(run.model)
    table, title = kernel_table(kernels), f"kernels of {name}"
    return View(
        title,
        CAPTIONS["kernels"],
        draw_kernels(kernels, title),
        table,
        table.set_index("layer"),
        "kernels",
    )


def _quality(networks: Networks, options: ViewOptions) -> View:
    count = _count(options, 512)
    first = next(iter(networks.values()))
    train, test = _parts(first, options)
    train, test = spread_over(train, count), spread_over(test, count)
    table = pd.concat(
        [
            map_quality(run.model, run.task.processor, train, test, show=options.show).assign(
                network=name
            )
            for name, run in networks.items()
        ]
    )
    score = "accuracy" if first.task.kind == "classification" else "R²"
    sees = "probabilities" if options.show == "probabilities" else "maps before the softmax"
    title = (
        f"{score} from the {sees} of one layer: {len(train)} {first.family.inputs} to learn from, "
        f"{len(test)} to be scored on"
    )
    return View(
        title,
        CAPTIONS["quality"],
        draw_quality(table, score, title),
        table[["network", "layer", "seed", "score", "chance"]],
        table.groupby(["network", "layer"], sort=False)["score"].agg(["mean", "std"]),
        "quality",
    )


def _parts(run: Run, options: ViewOptions) -> tuple[Data, Data]:
    """Return what teaches the readers of maps, and what tests them."""
    train, test = run.data()
    if run.recipe.family == "text":
        raise InputError("the quality of maps is not judged for texts, so far.")
    if options.input is not None:
        test = run.inputs(options.input)
    if test is not None and (options.input or test.targets is not None):
        return train, test
    raise InputError(
        f"{run.recipe.data.train} has no labelled test part to score readers of maps on; say "
        "--input FILE."
    )


def _count(options: ViewOptions, default: int) -> int:
    return default if options.samples is None else options.samples


#: Options that only one family's views take.
_FOR = {"pixel": "image", "chain": "translation"}

#: Options that the views of images do not take, and what there is instead.
_NOT_FOR_IMAGES = {"position": "name a pixel", "heads": "the mean of the heads is drawn"}

#: Views that differ from those of series, by family and name.
_OF_FAMILIES: dict[str, Any] = {"image": IMAGE_VIEWS, "translation": TRANSLATION_VIEWS}

#: What can be shown, by name.
VIEWS: dict[str, Callable[[Networks, ViewOptions], View]] = {
    "chain": _chain,
    "query": _query,
    "measures": _measures,
    "kernels": _kernels,
    "quality": _quality,
}
