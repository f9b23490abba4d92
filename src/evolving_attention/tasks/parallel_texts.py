"""Sentences and their translations."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from evolving_attention.tasks.text_data import LabelledTexts

__all__ = ["ParallelTexts"]


@dataclass
class ParallelTexts(LabelledTexts):
    """Sentences and, where known, their translations.

    Attributes
    ----------
    texts : list of tuple of str
        The sentence to translate, alone in a tuple.
    targets : array of shape (cases,), optional
        The translations.
    parts : array of shape (cases,), optional
        Names of the parts that are measured apart.
    validation : ParallelTexts, optional
        Of a training part: what the epoch may be chosen on.
    empty : int
        Pairs that were left out because a side is empty.
    """

    validation: "ParallelTexts | None" = None
    empty: int = 0

    @classmethod
    def of(
        cls, sources: Sequence[str], targets: Sequence[str] | None = None, empty: int = 0
    ) -> Self:
        """Return texts of two lists of sentences."""
        held = None if targets is None else np.array(targets, dtype=object)
        return cls([(source,) for source in sources], held, empty=empty)

    def by_part(self, default: str = "test") -> dict[str, "ParallelTexts"]:
        """Return the parts that are measured apart, by name."""
        if self.parts is None:
            return {default: self}
        names = dict.fromkeys(self.parts.tolist())
        return {name: self.take(np.flatnonzero(self.parts == name)) for name in names}

    def fingerprint(self) -> str:
        """Return a hash of sentences, translations and those to validate on."""
        found = hashlib.sha256()
        targets = self.targets if self.targets is not None else [""] * len(self)
        for (text,), target in zip(self.texts, targets, strict=True):
            for side in (text, target):
                found.update(side.encode() + b"\n")
        if self.validation is not None:
            found.update(self.validation.fingerprint().encode())
        return found.hexdigest()
