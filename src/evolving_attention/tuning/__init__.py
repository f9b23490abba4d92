"""Tuning: search a recipe's options on held-out parts of TRAIN, with Optuna."""

from evolving_attention.tuning.space import DEFAULT_SPACE
from evolving_attention.tuning.study import tune

__all__ = ["DEFAULT_SPACE", "tune"]
