"""Which attention layers of a model form chains.

An attention module goes through transformers' attention interface if its code names it. Modules
that differ in one number of their path, as ``encoder.layer.0.attention`` and
``encoder.layer.1.attention``, are the layers of a chain.
"""

import inspect
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from torch import nn

__all__ = ["Chain", "find_chains"]

_INTERFACE = "ALL_ATTENTION_FUNCTIONS"
_CROSS = re.compile(r"cross|enc_?dec|encoder_?attn|encoder_?attention", re.IGNORECASE)
_HEADS = ("num_attention_heads", "num_heads", "n_heads", "n_head")


@dataclass(frozen=True)
class Chain:
    """Attention layers in the order of the network.

    Attributes
    ----------
    name : str
        Path of the layers, their number as ``*``.
    stack : str
        Path of the module that runs the layers.
    layers : tuple of nn.Module
        The attention modules.
    num_heads : int
        H.
    window : {"bidirectional", "causal", "cross"}
        Which neighbours a convolution over the maps may read.
    """

    name: str
    stack: str
    layers: tuple[nn.Module, ...]
    num_heads: int
    window: str


def find_chains(model: nn.Module) -> list[Chain]:
    """Return the chains of a model: those of at least two layers.

    Raises
    ------
    ValueError
        There is none, or one whose maps cannot be handed on; the message says why.
    """
    paths = [name for name, module in model.named_modules() if _uses_interface(type(module))]  # type: ignore[arg-type]
    if not paths:
        raise ValueError(
            f"{type(model).__name__} cannot evolve: its attention does not go through the "
            "attention interface of transformers."
        )
    chains = [_chain(model, *group) for group in _groups(paths) if len(group[2]) > 1]
    if not chains:
        raise ValueError(
            f"{type(model).__name__} cannot evolve: it has no two attention layers one after the "
            "other (layers that share their weights count as one)."
        )
    return chains


@cache
def _uses_interface(kind: type) -> bool:
    own = kind.__mro__[: kind.__mro__.index(nn.Module)]
    functions = (each for base in own for each in vars(base).values() if inspect.isfunction(each))
    return any(_INTERFACE in inspect.unwrap(each).__code__.co_names for each in functions)


def _groups(paths: list[str]) -> Iterator[tuple[str, str, list[str]]]:
    """Yield name, path of the list of layers, and paths of each group of attention modules."""
    patterns = {path: list(_patterns(path)) for path in paths}
    members: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in paths:
        for pattern in patterns[path]:
            members[pattern].append(path)
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in paths:  # the innermost number that varies counts layers
        several = [pattern for pattern in patterns[path] if len(members[pattern]) > 1]
        groups[several[-1] if several else (path, path)].append(path)
    for (name, parent), layers in groups.items():
        yield name, parent, layers


def _patterns(path: str) -> Iterator[tuple[str, str]]:
    parts = path.split(".")
    for position, part in enumerate(parts):
        if part.isdigit():
            name = ".".join([*parts[:position], "*", *parts[position + 1 :]])
            yield name, ".".join(parts[:position])


def _chain(model: nn.Module, name: str, parent: str, paths: list[str]) -> Chain:
    position = name.split(".").index("*")
    paths = sorted(paths, key=lambda path: int(path.split(".")[position]))
    layers = tuple(model.get_submodule(path) for path in paths)
    heads = {_num_heads(layer) for layer in layers}
    if len(heads) > 1:
        raise ValueError(
            f"{type(model).__name__} cannot evolve: the layers of {name} have {sorted(heads)} "
            "heads, and a map cannot be handed on from one number to another."
        )
    stack = parent
    while isinstance(model.get_submodule(stack), nn.ModuleList | nn.ModuleDict | nn.Sequential):
        stack = stack.rpartition(".")[0]
    return Chain(name, stack, layers, heads.pop(), _window(name, layers[0]))


def _num_heads(layer: nn.Module) -> int:
    for holder in (layer, getattr(layer, "config", None)):
        for name in _HEADS:
            if isinstance(number := getattr(holder, name, None), int):
                return number
    raise ValueError(f"{type(layer).__name__} does not tell its number of heads.")


def _window(name: str, layer: nn.Module) -> str:
    attention = name[name.index("*") :] + type(layer).__name__
    if getattr(layer, "is_cross_attention", False) or _CROSS.search(attention):
        return "cross"
    causal = getattr(layer, "is_causal", True)
    if causal and getattr(getattr(layer, "config", None), "is_causal", True) is not False:
        return "causal"
    return "bidirectional"
