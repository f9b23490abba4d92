"""Texts and pairs of texts, and what belongs to each."""

import hashlib
import json
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from evolving_attention.errors import InputError

__all__ = ["LabelledTexts"]


@dataclass
class LabelledTexts:
    """Texts and, where known, what belongs to each.

    Attributes
    ----------
    texts : list of tuple of str
        A text, or the two of a pair, a case.
    targets : array of shape (cases,), optional
        Class labels as text, or numbers.
    parts : array of shape (cases,), optional
        Names of the parts that are measured apart, such as ``matched`` and ``mismatched``.
    """

    texts: list[tuple[str, ...]]
    targets: NDArray | None = None
    parts: NDArray | None = None

    def __post_init__(self) -> None:
        """Check that every text has its target."""
        if self.targets is not None and len(self.targets) != len(self.texts):
            raise InputError(
                f"there are {len(self.texts)} texts but {len(self.targets)} targets; they must "
                "pair up."
            )

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, indices: NDArray) -> Self:
        """Return the cases of these numbers."""
        return type(self)(
            [self.texts[index] for index in indices],
            None if self.targets is None else self.targets[indices],
            None if self.parts is None else self.parts[indices],
        )

    def fingerprint(self) -> str:
        """Return a hash of texts and targets."""
        targets = None if self.targets is None else self.targets.tolist()
        return hashlib.sha256(json.dumps([self.texts, targets]).encode()).hexdigest()

    @classmethod
    def joined(cls, parts: dict[str, Self]) -> Self:
        """Return the cases of all parts, one part after the other."""
        each = list(parts.values())
        labelled = [part.targets for part in each if part.targets is not None]
        if 0 < len(labelled) < len(each):
            raise InputError("some parts have targets and others have none.")
        return cls(
            [text for part in each for text in part.texts],
            np.concatenate(labelled) if labelled else None,
            np.repeat(list(parts), [len(part) for part in each]) if len(each) > 1 else None,
        )
