"""Evolving attention for PyTorch: attention maps that evolve from layer to layer.

Names are imported when first used, so that ``import evolving_attention`` is quick. ``import
evolving_attention.models`` registers the models with the Auto classes of transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evolving_attention.attention import EvolvingAttention as EvolvingAttention
    from evolving_attention.attention import evolving_attention as evolving_attention
    from evolving_attention.comparison import compare as compare
    from evolving_attention.encoder import EADCTransformerEncoder as EADCTransformerEncoder
    from evolving_attention.errors import InputError as InputError
    from evolving_attention.estimators import EADCTransformerClassifier as EADCTransformerClassifier
    from evolving_attention.estimators import EADCTransformerRegressor as EADCTransformerRegressor
    from evolving_attention.models.huggingface import evolve as evolve
    from evolving_attention.models.huggingface import load_evolved as load_evolved
    from evolving_attention.recipe import Recipe as Recipe
    from evolving_attention.recipe import TimeSeriesRecipe as TimeSeriesRecipe
    from evolving_attention.recipe import read_recipe as read_recipe
    from evolving_attention.runs import Run as Run
    from evolving_attention.runs import train as train
    from evolving_attention.tuning import tune as tune

__version__ = "0.1.0"

_HOMES = {
    "EvolvingAttention": "attention",
    "evolving_attention": "attention",
    "EADCTransformerEncoder": "encoder",
    "InputError": "errors",
    "EADCTransformerClassifier": "estimators",
    "EADCTransformerRegressor": "estimators",
    "evolve": "models.huggingface",
    "load_evolved": "models.huggingface",
    "Recipe": "recipe",
    "TimeSeriesRecipe": "recipe",
    "read_recipe": "recipe",
    "Run": "runs",
    "train": "runs",
    "compare": "comparison",
    "tune": "tuning",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
