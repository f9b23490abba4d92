"""Tuning: search a recipe's options on held-out parts of TRAIN, with Optuna."""

from evolving_attention.tuning.study import tune

__all__ = ["tune"]
