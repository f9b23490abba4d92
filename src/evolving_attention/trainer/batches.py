"""Batches of a training: the same examples make an update, however many processes share it."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset, Sampler

__all__ = ["Batches", "FilledCollator", "SharedBatches"]


class Batches(Sampler[list[int]]):
    """The shares of one process in the batches of an epoch.

    A batch is one update. It is cut into ``accumulation * processes`` pieces that differ by one
    example at the most; process p computes pieces p, p + processes, ... one after the other. Pieces
    may be empty.

    Parameters
    ----------
    accumulation : int
        Pieces that a process computes one after the other.
    processes, process : int
        How many processes there are, and which this is.
    """

    def __init__(self, accumulation: int = 1, processes: int = 1, process: int = 0) -> None:
        self.accumulation = accumulation
        self.processes = processes
        self.process = process
        self._before: tuple[int, Callable[[], None]] | None = None

    def call_before(self, number: int, call: Callable[[], None]) -> None:
        """Call once before batch ``number`` of the coming epoch is made."""
        self._before = (number, call)

    def __iter__(self) -> Iterator[list[int]]:
        number = 0
        for update in self.updates():
            for share in self._shares(update):
                if self._before is not None and self._before[0] == number:
                    call, self._before = self._before[1], None
                    call()
                yield share
                number += 1

    @abstractmethod
    def updates(self) -> Iterator[list[int]]:
        """Yield the examples of each update of an epoch, the same in all processes."""

    def rounds(self, examples: int) -> int:
        """Return how many pieces of an update of so many examples a process computes."""
        return self.accumulation

    def _shares(self, update: list[int]) -> list[list[int]]:
        pieces = np.array_split(update, self.rounds(len(update)) * self.processes)
        return [piece.tolist() for piece in pieces[self.process :: self.processes]]


class SharedBatches(Batches):
    """Batches of ``batch_size`` series, shared as :class:`Batches` says.

    The last batch of an epoch may be smaller; it has as few rounds as do, and its last piece may be
    empty.

    Parameters
    ----------
    order : Sampler of int
        The order of the series, the same in all processes.
    batch_size : int
        Series in an update.
    accumulation, processes, process
        See :class:`Batches`.
    """

    def __init__(
        self,
        order: Sampler[int],
        batch_size: int,
        accumulation: int = 1,
        processes: int = 1,
        process: int = 0,
    ) -> None:
        super().__init__(accumulation, processes, process)
        self.order = order
        self.batch_size = batch_size

    def __len__(self) -> int:
        whole, rest = divmod(len(self.order), self.batch_size)  # type: ignore[arg-type]
        return whole * self.accumulation + self.rounds(rest)

    def updates(self) -> Iterator[list[int]]:
        """Yield so many series at once."""
        indices = list(self.order)
        for start in range(0, len(indices), self.batch_size):
            yield indices[start : start + self.batch_size]

    def rounds(self, series: int) -> int:
        """Return how many pieces are needed, that none be larger than others'."""
        most = self.batch_size // self.accumulation
        return -(-series // most)


class FilledCollator:
    """Makes batches, and for an empty share one of a single series, marked to count for nothing.

    Every process must compute as often as the others: they exchange gradients.
    """

    def __init__(
        self, collate: Callable[[list[Any]], dict[str, Any]], dataset: Dataset[Any]
    ) -> None:
        self.collate = collate
        self.dataset = dataset

    def __call__(self, examples: Sequence[Any]) -> dict[str, Any]:
        """Make a batch of a share."""
        if examples:
            return self.collate(list(examples))
        return self.collate([self.dataset[0]]) | {"counts": False}
