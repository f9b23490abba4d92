"""What a recipe's network is compared with: named variants, variants written out, and peers."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import yaml

from evolving_attention.errors import InputError, close_to
from evolving_attention.recipe import Recipe, change_recipe

__all__ = [
    "PEERS",
    "VARIANTS",
    "Variant",
    "is_name",
    "parse_variant",
    "parse_variants",
    "split_variants",
]

_IDENTITY = {
    "model.learned_mixing": True,
    "model.map_initialization": "identity",
    "model.map_activation": "identity",
}
_PLAIN_MIX = {"model.learned_mixing": False, "model.map_initialization": "random"}

#: Named variants, as what they change in a recipe.
VARIANTS: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "twin": {"model.alpha": 0.0, "model.beta": 0.0, **_PLAIN_MIX},
        "residual_only": {"model.beta": 0.0, **_PLAIN_MIX},
        "convolution_only": {"model.alpha": 0.0, **_PLAIN_MIX},
        "learned_mixing": {"model.learned_mixing": True},
        "identity_start": _IDENTITY,
        "papers_form": {"model.normalize_maps": False},
        "kernel_1": {"model.map_kernel_size": 1},
        "kernel_5": {"model.map_kernel_size": 5},
        "leaky_relu": {"model.map_activation": "leaky_relu"},
        "linear_maps": {"model.map_activation": "identity"},
        "encoder_chain": {"model.chains": ["encoder"]},
        "decoder_chain": {"model.chains": ["decoder"]},
        "cross_chain": {"model.chains": ["cross"]},
        "plain_first_block": {"model.evolve_first_block": False},
        "dilated_only": {"model.key_ratio": 0.0, "model.value_ratio": 0.0},
        "attention_only": {"model.key_ratio": 1.0, "model.value_ratio": 1.0},
        "undilated": {"model.dilated": False},
        "flatten_head": {"model.pooling": "flatten"},
        "max_head": {"model.pooling": "max"},
        "attention_head": {"model.pooling": "attention"},
    }
)

#: Estimators of aeon, fitted on the same splits; :mod:`~evolving_attention.comparison.peers`.
PEERS = ("rocket", "multirocket_hydra", "quant")

_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*", re.ASCII)


@dataclass(frozen=True)
class Variant:
    """A network beside the recipe's own, or a peer.

    Attributes
    ----------
    name : str
        In the report, and of its folder.
    changes : dict
        Values by dotted name, such as ``{"model.alpha": 0.2}``.
    """

    name: str
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def is_peer(self) -> bool:
        """Whether it is an estimator of aeon, and none of our networks."""
        return not self.changes and self.name in PEERS

    def apply(self, recipe: Recipe) -> Recipe:
        """Return the recipe with this variant's changes."""
        _check_changeable(self, recipe)
        try:
            return change_recipe(recipe, self.changes)
        except InputError as error:
            raise InputError(f"variant {self.name!r} does not work: {error}") from error


def is_name(text: str) -> bool:
    """Tell whether a text can be the name of a variant or data set, and of a folder."""
    return _NAME.fullmatch(text) is not None


def split_variants(text: str) -> list[str]:
    """Split at commas, but for those in brackets: ``twin,mine:model.depths=[1, 1]`` are two."""
    parts = re.split(r",(?![^\[\]]*\])", text)
    return [part.strip() for part in parts if part.strip()]


def parse_variants(texts: Sequence[str], name: str) -> list[Variant]:
    """Read variants; the recipe's own network comes first, called ``name``."""
    variants = [Variant(name), *map(parse_variant, texts)]
    if name in PEERS or not is_name(name):
        raise InputError(f"the recipe's network cannot be called {name!r}; choose another name.")
    names = [variant.name for variant in variants]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise InputError(f"two variants are called {min(repeated)!r}; give them different names.")
    return variants


def parse_variant(text: str) -> Variant:
    """Read ``twin``, ``rocket``, or ``name:model.alpha=0.2;training.epochs=30``.

    After the colon, named variants may stand among the changes: ``wide_twin:twin;
    model.hidden_size=256``.

    Raises
    ------
    InputError
        It is no variant or peer that there is, or a change is none.
    """
    name, colon, written = (part.strip() for part in text.partition(":"))
    if not colon:
        return Variant(name, {} if name in PEERS else _named(name))
    if not is_name(name) or name in VARIANTS or name in PEERS:
        raise InputError(
            f"a variant of your own cannot be called {name!r}; take letters, digits, '_' and '-', "
            "and none of the names there are."
        )
    changes: dict[str, Any] = {}
    for part in filter(None, map(str.strip, written.split(";"))):
        changes |= _change(name, part) if "=" in part else _named(part)
    if not changes:
        raise InputError(f"variant {name!r} changes nothing; write {name}:model.alpha=0.2.")
    return Variant(name, changes)


def _named(name: str) -> dict[str, Any]:
    if name not in VARIANTS:
        names = [*VARIANTS, *PEERS]
        hint = close_to(name, names) or (
            f": take {', '.join(names)}, or write one, such as "
            "mine:model.alpha=0.2;training.epochs=30"
        )
        raise InputError(f"there is no variant {name!r}{hint}.")
    return VARIANTS[name]


def _change(variant: str, text: str) -> dict[str, Any]:
    option, _, value = (part.strip() for part in text.partition("="))
    try:
        return {option: yaml.safe_load(value)}
    except yaml.YAMLError:
        raise InputError(f"variant {variant!r}: {value!r} is no value for {option}.") from None


def _check_changeable(variant: Variant, recipe: Recipe) -> None:
    for option in variant.changes:
        if option.partition(".")[0] not in recipe.changeable:
            raise InputError(
                f"variant {variant.name!r} cannot change {option!r}: a comparison keeps data and "
                f"seeds alike; what may differ begins with {', '.join(recipe.changeable)}."
            )
