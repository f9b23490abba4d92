"""Which examples are held out to validate on."""

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

__all__ = ["split_at_random", "split_by_class"]


def split_at_random(
    cases: int, validation: float, seed: int, strata: NDArray | None = None
) -> tuple[NDArray, NDArray]:
    """Return numbers that train and that validate, drawn at random, evenly from any strata."""
    everything = np.arange(cases)
    held_out = round(validation * cases)
    if not 0 < held_out < cases:
        return everything, everything[:0]
    train, validate = train_test_split(
        everything, test_size=held_out, random_state=seed, stratify=strata
    )
    return train, validate


def split_by_class(targets: NDArray, validation: float, seed: int) -> tuple[NDArray, NDArray]:
    """Return indices that train and that validate, stratified by class.

    Every class trains: one with a single example does not validate, and where too few are held out
    to stratify, one of each class is set aside for training first.

    Parameters
    ----------
    targets : array of shape (cases,)
        Class labels.
    validation : float
        Share to hold out.
    seed : int
        Of the choice.
    """
    everything = np.arange(len(targets))
    _, inverse, counts = np.unique(targets, return_inverse=True, return_counts=True)
    apart, divisible = everything[counts[inverse] == 1], everything[counts[inverse] > 1]
    strata = inverse[divisible]
    stratify: NDArray | None = strata
    held_out = round(validation * len(divisible))
    if min(held_out, len(divisible) - held_out) < len(np.unique(strata)):
        shuffled = np.random.default_rng(seed).permutation(everything)
        apart = shuffled[np.unique(inverse[shuffled], return_index=True)[1]]
        divisible, stratify = np.setdiff1d(everything, apart), None
    if not 0 < held_out < len(divisible):
        return everything, everything[:0]
    train, validate = train_test_split(
        divisible, test_size=held_out, random_state=seed, stratify=stratify
    )
    return np.concatenate([train, apart]), validate
