"""The three chains of a network that translates: encoder, decoder and cross-attention.

Shape letters: L layers, H heads, N tokens that look, M tokens looked at.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from evolving_attention.attention import EvolvingAttention, probabilities
from evolving_attention.errors import InputError
from evolving_attention.inspection.profiles import profile_of_steps
from evolving_attention.inspection.steps import Steps, recorded_steps
from evolving_attention.models.huggingface.chains import CHAINS
from evolving_attention.runs import Run

__all__ = [
    "TranslationChain",
    "TranslationMaps",
    "chain_layers",
    "check_chain",
    "maps_of_translation",
    "profile_of_translations",
]

#: How a letter is decoded that is not whole, and the most bytes of one.
_TORN, _BYTES = "\ufffd", 4


@dataclass
class TranslationChain:
    """The maps of one chain.

    Attributes
    ----------
    name : str
        One of :data:`CHAINS`.
    maps, probabilities : array of shape (L, H, N, M)
        Logits before the softmax, and what comes after it.
    rows, columns : list of str
        The tokens that look, of the decoder those it writes, and the tokens looked at.
    """

    name: str
    maps: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    rows: list[str]
    columns: list[str]

    def images(self, show: str) -> NDArray[np.float32]:
        """Return maps or probabilities."""
        if show not in ("probabilities", "map"):
            raise InputError(f"show must be 'probabilities' or 'map', got {show!r}.")
        return self.probabilities if show == "probabilities" else self.maps


@dataclass
class TranslationMaps:
    """What one network makes of a sentence.

    Attributes
    ----------
    network : str
        What the network is called.
    written : str
        Its translation.
    chains : list of TranslationChain
        In the order of :data:`CHAINS`.
    """

    network: str
    written: str
    chains: list[TranslationChain]


def check_chain(name: str | None) -> None:
    """Raise :class:`InputError` unless there is a chain of this name."""
    if name is not None and name not in CHAINS:
        raise InputError(f"there is no chain {name!r}; there are {', '.join(CHAINS)}.")


@torch.inference_mode()
def maps_of_translation(
    run: Run, source: str, target: str | None = None, network: str = ""
) -> TranslationMaps:
    """Take a sentence and its translation through a network and keep the maps.

    Parameters
    ----------
    run : Run
        The network.
    source : str
        The sentence.
    target : str, optional
        The translation that the decoder is given. Default: what the network writes.
    network : str
        What to call it.
    """
    (written,) = run.task.translate(run.model, [source])  # type: ignore[attr-defined]
    tokenizer, target = run.task.processor, written if target is None else target
    with recorded_steps(run.model) as layers:
        batch = inputs_of_pair(run, source, target)
        run.model(**batch)
    read = _tokens(tokenizer, batch["input_ids"][0])
    out = _tokens(tokenizer, batch["labels"][0])
    axes = {"encoder": (read, read), "decoder": (out, ["start", *out[:-1]]), "cross": (out, read)}
    chains = [_chain(name, _of_chain(layers, name), *axes[name]) for name in CHAINS]
    return TranslationMaps(network, written, chains)


def inputs_of_pair(run: Run, source: str, target: str) -> dict[str, Tensor]:
    """Return a sentence and its translation as a batch, cut at what the network can read."""
    room = run.model.config.max_position_embeddings
    tokens = [
        run.task.processor(text, verbose=False)["input_ids"][:room] for text in (source, target)
    ]
    batch = run.task.collate([{"input_ids": tokens[0], "labels": tokens[1]}])
    return {name: tensor.to(run.model.device) for name, tensor in batch.items()}


def _tokens(tokenizer: PreTrainedTokenizerBase, ids: Tensor) -> list[str]:
    """Return what stands at each position, as it is read.

    A letter of several bytes may be several tokens: it stands at the last, and dots before it.
    """
    shown, pending = [], []
    for each in ids.tolist():
        pending.append(each)
        text = str(tokenizer.decode(pending)).strip()
        if text.endswith(_TORN) and len(pending) < _BYTES:
            shown.append("·")
            continue
        shown.append("end" if each == tokenizer.eos_token_id else text)
        pending = []
    return shown


def _of_chain(layers: Sequence[Steps], name: str) -> list[Steps]:
    return [steps for steps in layers if steps.window == CHAINS[name]]


def _chain(name: str, layers: list[Steps], rows: list[str], columns: list[str]) -> TranslationChain:
    maps = torch.cat([steps.map_BHNM for steps in layers])
    after = torch.cat([probabilities(steps.map_BHNM, steps.mask) for steps in layers])
    return TranslationChain(
        name, maps.float().cpu().numpy(), after.float().cpu().numpy(), rows, columns
    )


@torch.inference_mode()
def profile_of_translations(
    run: Run, sources: Iterable[str], targets: Iterable[str], name: str
) -> pd.DataFrame:
    """Measure every layer and head of a chain on each of many sentences.

    The table is that of :func:`~evolving_attention.inspection.profiles.profile`.
    """
    tables = []
    for number, (source, target) in enumerate(zip(sources, targets, strict=True)):
        with recorded_steps(run.model) as layers:
            run.model(**inputs_of_pair(run, source, target))
        for layer, steps in enumerate(_of_chain(layers, name), start=1):
            table = pd.DataFrame(profile_of_steps(steps))
            places: dict[str, Any] = {"series": number, "layer": layer}
            tables.append(table.assign(**places, head=range(1, len(table) + 1)))
    return pd.concat(tables, ignore_index=True)


def chain_layers(model: nn.Module, name: str) -> nn.ModuleList:
    """Return the evolving layers of a chain, in their order."""
    return nn.ModuleList(
        module
        for module in model.modules()
        if isinstance(module, EvolvingAttention) and module.window == CHAINS[name]
    )
