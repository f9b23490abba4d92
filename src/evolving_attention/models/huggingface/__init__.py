"""Evolving attention in every model of transformers that goes through its attention interface."""

from evolving_attention.models.huggingface.evolving import EvolvingMixin, evolve, load_evolved
from evolving_attention.models.huggingface.options import EvolvingConfigMixin

__all__ = ["EvolvingConfigMixin", "EvolvingMixin", "evolve", "load_evolved"]
