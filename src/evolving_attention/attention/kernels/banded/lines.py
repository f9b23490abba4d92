"""What is done to one line of a map: mixing, activation, softmax, and their gradients.

A line is one head's row. Each function below says what happens to 16 neighbouring entries; see
:mod:`~evolving_attention.attention.kernels.banded.vectors`. ``opened`` tells where a query may
attend.
"""

import numpy as np

from evolving_attention.attention.kernels.banded.jit import jit
from evolving_attention.attention.kernels.banded.vectors import (
    Lanes,
    Largest,
    Stream,
    Sum,
    exponential,
    over_line,
    where,
)

__all__ = [
    "drop",
    "evolve",
    "exponentiate",
    "hand_on",
    "mix",
    "start_gradient",
    "through_map",
    "through_softmax",
]

LOWEST = -3e38


def _blend(own: Lanes, other: Lanes, share: Lanes) -> Lanes:
    """``share * other + (1 - share) * own``: exactly ``own`` or ``other`` for shares of 0 and 1."""
    change = other - own
    near_other = other - change * (1.0 - share)
    return where(share < 0.5, own + change * share, near_other)


@over_line()
def mix(line: Stream, added: Stream, previous: Stream, opened: Stream, *, alpha: Lanes) -> None:
    """Add the bias to logits, mix them with the previous map."""
    mixed = _blend(line.get() + added.get(), previous.get(), alpha)
    line.set(where(opened.get(), mixed, 0.0))


@over_line(Largest, Largest)
def evolve(
    convolved: Stream,
    mixed: Stream,
    opened: Stream,
    own_map: Stream,
    line: Stream,
    signs: Stream,
    *,
    bias: Lanes,
    slope: Lanes,
    beta: Lanes,
) -> tuple[Lanes, Lanes]:
    """Activate and mix: the map, and the line for the softmax.

    Returns its largest entry, and 1 if one is open.
    """
    before = convolved.get() + bias
    positive = before > 0.0
    signs.set(positive)
    # Not a number times 0 is none either, but infinity would become one.
    scaled = where(slope > 0.0, before * slope, where(before < 0.0, 0.0, before))
    evolved = _blend(mixed.get(), where(positive, before, scaled), beta)
    attendable = opened.get()
    own_map.set(where(attendable, evolved, 0.0))
    logits = where(attendable, evolved, LOWEST)
    line.set(logits)
    return logits, where(attendable, 1.0, 0.0)


@over_line(Sum)
def exponentiate(line: Stream, *, largest: Lanes) -> tuple[Lanes]:
    """Take a line's exponentials, and their sum."""
    powers = exponential(line.get() - largest)
    line.set(powers)
    return (powers,)


@over_line(Sum)
def through_softmax(
    line: Stream,
    own_map: Stream,
    opened: Stream,
    gradient: Stream,
    *,
    largest: Lanes,
    inverse: Lanes,
) -> tuple[Lanes]:
    """Make the probabilities of a line again; return the sum of them times their gradients."""
    logits = where(opened.get(), own_map.get(), LOWEST)
    shares = exponential(logits - largest) * inverse
    line.set(shares)
    return (shares * gradient.get(),)


@over_line(Sum)
def through_map(
    gradient: Stream,
    line: Stream,
    given: Stream,
    opened: Stream,
    signs: Stream,
    own: Stream,
    *,
    total: Lanes,
    slope: Lanes,
) -> tuple[Lanes]:
    """Take gradients of probabilities to those of the map (``own``) and of the convolved map.

    Returns the sum of the latter.
    """
    of_map = line.get() * (gradient.get() - total) + given.get()
    of_map = where(opened.get(), of_map, 0.0)
    own.set(of_map)
    convolved = where(signs.get(), of_map, of_map * slope)
    gradient.set(convolved)
    return (convolved,)


@over_line(Sum)
def start_gradient(gradient: Stream, own: Stream, mixed: Stream, *, share: Lanes) -> tuple[Lanes]:
    """Begin the mixed map's gradient with its share of the map's; return that times the mixed."""
    of_map = own.get()
    gradient.set(of_map * share)
    return (of_map * mixed.get(),)


@over_line(Sum)
def hand_on(
    gradient: Stream,
    opened: Stream,
    previous: Stream,
    added: Stream,
    to_previous: Stream,
    to_added: Stream,
    *,
    alpha: Lanes,
    own_share: Lanes,
) -> tuple[Lanes]:
    """Divide the mixed map's gradient between the previous map and this layer's logits.

    Returns the sum of the gradient times what alpha weighs against another, but for the products
    of queries and keys.
    """
    attendable = opened.get()
    of_mixed = where(attendable, gradient.get(), 0.0)
    gradient.set(of_mixed)
    to_previous.set(of_mixed * alpha)
    to_added.set(of_mixed * own_share)
    return (where(attendable, of_mixed * (previous.get() - added.get()), 0.0),)


@jit
def drop(line, start, length, seed, row, threshold, scale):
    """Drop probabilities (or their gradients): the same ones for the same seed and row.

    A counter is hashed for each entry (MurmurHash3's last steps), so any row can be made again.
    """
    state = np.uint64(seed) ^ (np.uint64(row) * np.uint64(0x9E3779B97F4A7C15))
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    first = np.uint32((state ^ (state >> np.uint64(31))) & np.uint64(0xFFFFFFFF))
    zero = line.dtype.type(0)
    for j in range(length):
        x = np.uint32(first + np.uint32(j) * np.uint32(0x9E3779B9))
        x = np.uint32((x ^ (x >> np.uint32(16))) * np.uint32(0x85EBCA6B))
        x = np.uint32((x ^ (x >> np.uint32(13))) * np.uint32(0xC2B2AE35))
        x = np.uint32(x ^ (x >> np.uint32(16)))
        line[start + j] = line[start + j] * scale if x >= threshold else zero
