"""Views of networks that translate: what ``evolving-attention inspect`` shows of their runs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from evolving_attention.errors import InputError
from evolving_attention.inspection.captions import CAPTIONS
from evolving_attention.inspection.chain import with_prediction
from evolving_attention.inspection.curves import draw_profile
from evolving_attention.inspection.entries import entries
from evolving_attention.inspection.kernel_pictures import draw_kernels
from evolving_attention.inspection.kernels import kernel_table, kernels_of
from evolving_attention.inspection.maps import sample_of, spread_over
from evolving_attention.inspection.profiles import MEASURES, summary
from evolving_attention.inspection.translation_maps import (
    TranslationMaps,
    chain_layers,
    check_chain,
    maps_of_translation,
    profile_of_translations,
)
from evolving_attention.inspection.translation_pictures import draw_looks, draw_translation
from evolving_attention.runs import Run

__all__ = ["TRANSLATION_VIEWS"]

#: What a view needs of the options, and returns: those of :mod:`views`, which imports this.
Parts = tuple[str, str, Any, pd.DataFrame, pd.DataFrame | None, str]
Networks = dict[str, Run]


def _maps(networks: Networks, options: Any) -> tuple[list[TranslationMaps], str]:
    """Take one sentence, of the first network's data, through each network.

    The decoder is given the translation that the data have, else what the first network writes.
    """
    check_chain(options.chain)
    data = next(iter(networks.values())).inputs(options.input)
    (source,), title = sample_of(data, options.sample)
    target = None if data.targets is None else str(data.targets[options.sample])
    several: list[TranslationMaps] = []
    for name, run in networks.items():
        given = target or (several[0].written if several else None)
        maps = maps_of_translation(run, source, given, name)
        maps.chains = [chain for chain in maps.chains if options.chain in (None, chain.name)]
        several.append(maps)
    if len(several) == 1:
        title = with_prediction(title, several[0].written)
    return several, title


def _chain(networks: Networks, options: Any) -> Parts:
    several, title = _maps(networks, options)
    rows = [_entries(maps, options.show) for maps in several]
    figure = draw_translation(several, title, show=options.show, heads=options.heads or 0)
    stem = f"{options.show}-{options.chain or 'chains'}-{options.sample}"
    return title, CAPTIONS["translation_chain"], figure, pd.concat(rows), None, stem


def _entries(maps: TranslationMaps, show: str) -> pd.DataFrame:
    """Return a row an entry of every chain."""
    return pd.concat(
        entries(chain.images(show), network=maps.network, chain=chain.name) for chain in maps.chains
    )


def _query(networks: Networks, options: Any) -> Parts:
    several, title = _maps(networks, options)
    wanted = options.chain or "cross"
    chains = [
        (maps.network, chain) for maps in several for chain in maps.chains if chain.name == wanted
    ]
    tokens = chains[0][1].rows
    position = len(tokens) // 2 if options.position is None else options.position
    if not 0 <= position < len(tokens):
        raise InputError(
            f"there is no position {position}; this sentence's are numbered from 0 to "
            f"{len(tokens) - 1}."
        )
    title = f"{title}: where position {position}, {tokens[position]!r}, looks ({wanted})"
    rows = pd.concat([_entries(maps, "probabilities") for maps in several])
    rows = rows[(rows["chain"] == wanted) & (rows["query"] == position)]
    figure = draw_looks(chains, position, title)
    stem = f"query-{wanted}-{options.sample}"
    return title, CAPTIONS["translation_query"], figure, rows, None, stem


def _measures(networks: Networks, options: Any) -> Parts:
    check_chain(options.chain)
    first, name = next(iter(networks.values())), options.chain or "encoder"
    count = 64 if options.samples is None else options.samples
    data = spread_over(first.inputs(options.input), count)
    sources = [text for (text,) in data.texts]  # type: ignore[attr-defined]
    targets = data.targets
    if targets is None:
        targets = np.array(list(first.task.translate(first.model, sources)), dtype=object)  # type: ignore[attr-defined]
    table = pd.concat(
        [
            profile_of_translations(run, sources, targets.tolist(), name).assign(network=network)
            for network, run in networks.items()
        ]
    )
    title = f"maps through the layers of the {name} chain, {len(sources)} sentences"
    kept = table[["network", "series", "layer", "head", *MEASURES]]
    return (
        title,
        CAPTIONS["measures"],
        draw_profile(table, title),
        kept.rename(columns={"series": "sentence"}),
        summary(table).xs("mean", axis=1, level=1),
        f"measures-{name}",
    )


def _kernels(networks: Networks, options: Any) -> Parts:
    check_chain(options.chain)
    if len(networks) > 1:
        raise InputError("kernels are those of one network: leave --against out.")
    ((network, run),) = networks.items()
    name = options.chain or "encoder"
    kernels = kernels_of(chain_layers(run.model, name))
    table, title = kernel_table(kernels), f"kernels of {network}, {name} chain"
    figure = draw_kernels(kernels, title)
    return title, CAPTIONS["kernels"], figure, table, table.set_index("layer"), f"kernels-{name}"


def _quality(networks: Networks, options: Any) -> Parts:
    raise InputError("the quality of maps is judged by classes or numbers, not by translations.")


#: Views that differ from those of series, by name.
TRANSLATION_VIEWS: dict[str, Callable[[Networks, Any], Parts]] = {
    "chain": _chain,
    "query": _query,
    "measures": _measures,
    "kernels": _kernels,
    "quality": _quality,
}
