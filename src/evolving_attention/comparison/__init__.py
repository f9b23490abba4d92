"""Comparisons: a recipe's network against its twin, its ablations and peers, paired by seed."""

from evolving_attention.comparison.comparison import compare, report
from evolving_attention.comparison.variants import PEERS, VARIANTS

__all__ = ["PEERS", "VARIANTS", "compare", "report"]
