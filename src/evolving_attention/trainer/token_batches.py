"""Batches of pairs of texts that hold about as many tokens each, whatever the pairs' lengths."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from evolving_attention.errors import InputError
from evolving_attention.trainer.batches import Batches

__all__ = ["TokenBatches"]

#: Lengths that agree when they are rounded up to a multiple of this are alike.
_ALIKE = 4


class TokenBatches(Batches):
    """Batches of at most ``budget`` tokens, padding included, of pairs that are alike in length.

    The places of an epoch are cut into batches once: a place has a rounded length of source and
    target, as many places a length as there are pairs. Every epoch deals the pairs of a length anew
    to its places, and shuffles the batches. So all epochs have the same number of batches, which a
    schedule and a checkpoint count on, and what an epoch consists of follows from the state of the
    random generator at its beginning alone.

    Parameters
    ----------
    sizes : array of shape (cases, 2)
        Tokens of source and target.
    budget : int
        Most tokens of source and target of an update, padding included.
    accumulation, processes, process
        See :class:`~evolving_attention.trainer.batches.Batches`.
    generator : torch.Generator, optional
        Of the order. Default: PyTorch's global one.

    Raises
    ------
    InputError
        The longest pair alone has more tokens.
    """

    def __init__(
        self,
        sizes: NDArray,
        budget: int,
        accumulation: int = 1,
        processes: int = 1,
        process: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(accumulation, processes, process)
        self.generator = generator
        longest = int(sizes.sum(1).max())
        if longest > budget:
            raise InputError(
                f"training.batch_tokens is {budget}, but a pair has {longest} tokens: take more, "
                "or a smaller processing.max_length."
            )
        rounded = -(-sizes // _ALIKE) * _ALIKE
        lengths, kind = np.unique(rounded, axis=0, return_inverse=True)
        self.rank = _neighbours(lengths)[kind.ravel()]
        self.cuts = _cut(rounded[np.argsort(self.rank, kind="stable")], budget)

    def __len__(self) -> int:
        return (len(self.cuts) - 1) * self.accumulation

    def updates(self) -> Iterator[list[int]]:
        """Yield the pairs of each batch, in an order that is drawn now."""
        drawn = torch.randperm(len(self.rank), generator=self.generator).numpy()
        places = drawn[np.argsort(self.rank[drawn], kind="stable")]
        for batch in torch.randperm(len(self.cuts) - 1, generator=self.generator).tolist():
            yield places[self.cuts[batch] : self.cuts[batch + 1]].tolist()


def _neighbours(lengths: NDArray) -> NDArray[np.int64]:
    """Return the rank of each pair of lengths in an order in which neighbours are alike.

    It goes up through the targets; the sources go up and down in turn.
    """
    _, row = np.unique(lengths[:, 1], return_inverse=True)
    source = np.where(row % 2 == 0, lengths[:, 0], -lengths[:, 0])
    rank = np.empty(len(lengths), dtype=np.int64)
    rank[np.lexsort((source, row))] = np.arange(len(lengths))
    return rank


def _cut(places: NDArray, budget: int) -> NDArray[np.int64]:
    """Return where batches begin, and the end: each as large as the budget lets it be."""
    cuts, longest, other = [0], 0, 0
    for index, (source, target) in enumerate(places.tolist()):
        longest, other = max(longest, source), max(other, target)
        if index > cuts[-1] and (index + 1 - cuts[-1]) * (longest + other) > budget:
            cuts.append(index)
            longest, other = source, target
    return np.array([*cuts, len(places)])
