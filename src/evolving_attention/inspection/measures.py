"""Measures of maps and probabilities: what one layer attends to, and what it did to a map.

Shape letters: H heads, N queries, M keys. Every measure takes the arrays ``[H, N, M]`` of one layer
and one series and returns a number for each head, ``[H]``; NaN where there is nothing to measure. A
row without attendable keys (padding) is left out of every mean. ``mask_NM`` is true where a query
may attend to a key; without it, everywhere.

The softmax does not see a constant added to a row of a map. Nor do measures of maps: they compare
maps whose rows have their means taken away, see :func:`centred`.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon
from scipy.special import entr

__all__ = [
    "agreement",
    "attended_distance",
    "centred",
    "change",
    "changed_share",
    "divergence",
    "entropy",
    "likeness",
    "scale",
    "share",
]

Array = NDArray[np.floating]
Mask = NDArray[np.bool_]


def centred(map_HNM: Array, mask_NM: Mask | None = None) -> Array:
    """Take the mean over its attendable keys from every row; other entries become 0."""
    map_HNM = np.asarray(map_HNM, dtype=np.float64)
    mask_NM = _everywhere(map_HNM) if mask_NM is None else mask_NM
    count_N1 = np.maximum(mask_NM.sum(-1, keepdims=True), 1)
    mean_HN1 = np.where(mask_NM, map_HNM, 0.0).sum(-1, keepdims=True) / count_N1
    return np.where(mask_NM, map_HNM - mean_HN1, 0.0)


def entropy(probabilities_HNM: Array, mask_NM: Mask | None = None) -> Array:
    """Return how spread the attention is: 0, one key; 1, all attendable keys alike.

    The mean over rows of ``-sum_j p_ij log p_ij / log(attendable keys of row i)``. Rows with a
    single attendable key have no choice and are left out.
    """
    mask_NM = _everywhere(probabilities_HNM) if mask_NM is None else mask_NM
    count_N = mask_NM.sum(-1)
    free_N = count_N > 1
    entropy_HN = entr(probabilities_HNM.astype(np.float64)).sum(-1)
    return _mean(entropy_HN[:, free_N] / np.log(count_N[free_N]))


def scale(map_HNM: Array, mask_NM: Mask | None = None) -> Array:
    """Return the standard deviation of a map within its rows: the contrast the softmax sees."""
    mask_NM = _everywhere(map_HNM) if mask_NM is None else mask_NM
    square_HNM = np.square(centred(map_HNM, mask_NM))
    return np.sqrt(_mean(square_HNM[:, mask_NM]))


def attended_distance(probabilities_HNM: Array, mask_NM: Mask | None = None) -> Array:
    """Return how far attention reaches: the mean of ``|i - j|`` under the probabilities.

    It is told in units of what even attention over the attendable keys has, so that series of
    different lengths compare. 0: every position attends to itself; 1: as far as by chance.
    """
    mask_NM = _everywhere(probabilities_HNM) if mask_NM is None else mask_NM
    queries, keys = mask_NM.shape
    distance_NM = np.abs(np.arange(queries)[:, None] - np.arange(keys))
    even_NM = mask_NM / np.maximum(mask_NM.sum(-1, keepdims=True), 1)
    reached_H = (probabilities_HNM * distance_NM).sum((-2, -1))
    return _ratio(reached_H, np.full(len(reached_H), (even_NM * distance_NM).sum()))


def agreement(probabilities_HNM: Array) -> Array:
    """Return how alike each head is to the others: the mean cosine of their probabilities.

    1: all heads attend alike; 0: no two heads share a key. NaN with a single head.
    """
    heads = len(probabilities_HNM)
    if heads == 1:
        return np.full(1, np.nan)
    flat_HX = probabilities_HNM.reshape(heads, -1).astype(np.float64)
    flat_HX = flat_HX / np.linalg.norm(flat_HX, axis=1, keepdims=True)
    return ((flat_HX @ flat_HX.T).sum(1) - 1) / (heads - 1)


def change(map_HNM: Array, before_HNM: Array, mask_NM: Mask | None = None) -> Array:
    """Return the relative distance of a map from an earlier one, ``|map - before| / |before|``.

    Norms are Frobenius norms of centred maps.
    """
    before_HNM = centred(before_HNM, mask_NM)
    return _ratio(_norm(centred(map_HNM, mask_NM) - before_HNM), _norm(before_HNM))


def likeness(map_HNM: Array, before_HNM: Array, mask_NM: Mask | None = None) -> Array:
    """Return the cosine of two centred maps: 1, one is a multiple of the other; 0, unrelated.

    It is the correlation of their entries within rows.
    """
    one_HNM, other_HNM = centred(map_HNM, mask_NM), centred(before_HNM, mask_NM)
    product_H = (one_HNM * other_HNM).sum((-2, -1))
    return _ratio(product_H, _norm(one_HNM) * _norm(other_HNM))


def divergence(probabilities_HNM: Array, before_HNM: Array) -> Array:
    """Return the Jensen-Shannon divergence of two layers' rows, in bits: 0, alike; 1, disjoint."""
    real_N = _real_rows(probabilities_HNM) & _real_rows(before_HNM)
    one_HNM, other_HNM = (
        probabilities[:, real_N].astype(np.float64)
        for probabilities in (probabilities_HNM, before_HNM)
    )
    with np.errstate(invalid="ignore"):  # rounding below 0 under scipy's root: rows that are alike
        distance_HN = jensenshannon(one_HNM, other_HNM, base=2, axis=-1)
    return _mean(np.square(np.nan_to_num(distance_HN)))


def share(part_HNM: Array, other_HNM: Array, mask_NM: Mask | None = None) -> Array:
    """Return one part's share of a sum of two maps, ``|part| / (|part| + |other|)``, centred."""
    part_H, other_H = (_norm(centred(part, mask_NM)) for part in (part_HNM, other_HNM))
    return _ratio(part_H, part_H + other_H)


def changed_share(before_HNM: Array, after_HNM: Array, mask_NM: Mask | None = None) -> Array:
    """Return the share of attendable entries that differ: for ReLU, those it sets to 0."""
    mask_NM = _everywhere(before_HNM) if mask_NM is None else mask_NM
    return _mean((before_HNM != after_HNM)[:, mask_NM])


def _everywhere(map_HNM: Array) -> Mask:
    return np.ones(map_HNM.shape[-2:], dtype=bool)


def _real_rows(probabilities_HNM: Array) -> Mask:
    """Return which rows attend to anything: padded ones are all 0, in every head."""
    return np.asarray((probabilities_HNM > 0).any((0, 2)))


def _norm(map_HNM: Array) -> Array:
    return np.sqrt(np.square(map_HNM).sum((-2, -1)))


def _ratio(upper_H: Array, lower_H: Array) -> Array:
    return np.divide(upper_H, lower_H, out=np.full(len(upper_H), np.nan), where=lower_H > 0)


def _mean(values_HX: Array) -> Array:
    return values_HX.mean(1) if values_HX.shape[1] else np.full(len(values_HX), np.nan)
