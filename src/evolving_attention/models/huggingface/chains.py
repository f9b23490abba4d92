"""Which attention layers of a model form chains.

An attention module goes through transformers' attention interface if its code names it. Modules
that differ in one number of their path, as ``encoder.layer.0.attention`` and
``encoder.layer.1.attention``, are the layers of a chain. What cannot be told from a model's
structure is refused rather than guessed.
"""

import inspect
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from torch import nn
from transformers import PreTrainedModel

__all__ = ["CHAINS", "Chain", "find_chains"]

#: What chains there are, by the windows of their convolutions.
CHAINS = {"encoder": "bidirectional", "decoder": "causal", "cross": "cross"}

_INTERFACE = "ALL_ATTENTION_FUNCTIONS"
_CROSS = re.compile(r"cross|enc_?dec|encoder_?attn|encoder_?attention", re.IGNORECASE)
_UNSUPPORTED = {"attn_logit_softcapping": "a soft cap of the logits", "sinks": "attention sinks"}
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

    @property
    def kind(self) -> str:
        """Its name in :data:`CHAINS`."""
        return next(name for name, window in CHAINS.items() if window == self.window)

    @property
    def attends_in_pieces(self) -> bool:
        """Whether one call may attend several times, to pieces of a packed input."""
        return "cu_seqlens" in inspect.signature(type(self.layers[0]).forward).parameters


def find_chains(model: nn.Module) -> list[Chain]:
    """Return the chains of a model: those of at least two layers.

    Raises
    ------
    ValueError
        There is none, or one whose maps cannot be handed on; the message says why.
    """
    paths = [name for name, module in model.named_modules() if _goes_through(module)]
    for reason in _obstacles(model, paths):
        raise ValueError(f"{type(model).__name__} cannot evolve: {reason}.")
    chains = [_chain(model, *group) for group in _groups(paths) if len(group[2]) > 1]
    if not chains:
        raise ValueError(
            f"{type(model).__name__} cannot evolve: it has no two attention layers one after the "
            "other (layers that share their weights count as one)."
        )
    return chains


def _obstacles(model: nn.Module, paths: list[str]) -> Iterator[str]:
    others = [module for module in model.modules() if _goes_its_own_way(module)]
    if others or not paths:
        what = type(others[0]).__name__ if others else "attention"
        yield f"its {what} does not go through the attention interface of transformers"
    if any(getattr(module, "shift_size", 0) for module in model.modules()):
        yield (
            "its windows shift from layer to layer, so that an entry of a map means another pair "
            "of positions in the next"
        )
    for name, what in _UNSUPPORTED.items():
        if any(getattr(model.get_submodule(path), name, None) is not None for path in paths):
            yield f"it attends with {what}, which evolving attention does not support"


def _goes_through(module: nn.Module) -> bool:
    own_code = not isinstance(module, PreTrainedModel)  # those only manage the interface
    return own_code and _INTERFACE in _names(type(module))  # type: ignore[arg-type]


def _goes_its_own_way(module: nn.Module) -> bool:
    """Whether this projects and attends by itself: it would get masks that it cannot read."""
    projects = any(isinstance(child, nn.Linear) for child in module.children())
    named = "Attention" in type(module).__name__ and not isinstance(module, nn.MultiheadAttention)
    return named and projects and not any(_goes_through(each) for each in module.modules())


@cache
def _names(kind: type) -> frozenset[str]:
    """Return the global names and attributes that a class uses in its own functions."""
    own = kind.__mro__[: kind.__mro__.index(nn.Module)]
    functions = [each for base in own for each in vars(base).values() if inspect.isfunction(each)]
    return frozenset(name for each in functions for name in inspect.unwrap(each).__code__.co_names)


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
    return Chain(name, stack, layers, heads.pop(), _window(model, stack, name, layers[0]))


def _num_heads(layer: nn.Module) -> int:
    for holder in (layer, getattr(layer, "config", None)):
        for name in _HEADS:
            if isinstance(number := getattr(holder, name, None), int):
                return number
    raise ValueError(f"{type(layer).__name__} does not tell its number of heads.")


def _window(model: nn.Module, stack: str, name: str, layer: nn.Module) -> str:
    attention = name[name.index("*") :] + type(layer).__name__
    if getattr(layer, "is_cross_attention", False) or _CROSS.search(attention):
        return "cross"
    if getattr(getattr(layer, "config", None), "is_causal", True) is False:
        return "bidirectional"
    causal = getattr(layer, "is_causal", True) or _makes_causal_masks(model, stack)
    return "causal" if causal else "bidirectional"


def _makes_causal_masks(model: nn.Module, stack: str) -> bool:
    """Whether the code around a stack makes masks, and only causal ones (as CLIP's text model)."""
    parts = stack.split(".") if stack else []
    for length in range(len(parts), -1, -1):
        names = _names(type(model.get_submodule(".".join(parts[:length]))))  # type: ignore[arg-type]
        if made := names & {"create_causal_mask", "create_bidirectional_mask"}:
            return made == {"create_causal_mask"}
    return False
