"""Pairs of sentences as inputs of a network.

Shape letters: B batch, N tokens of the longest source, M of the longest translation.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

__all__ = [
    "IGNORED",
    "EncodedPairs",
    "TokenLists",
    "collate_pairs",
    "encode_pairs",
    "encode_side",
    "in_blocks",
]

T = TypeVar("T")

#: The label that no loss counts.
IGNORED = -100

#: Sentences that the tokenizer is handed at once.
_AT_ONCE = 10_000


@dataclass
class TokenLists:
    """Many lists of token numbers in one array: Python's own would take ten times the memory.

    Attributes
    ----------
    tokens : array of shape (tokens,)
        The lists, one after the other.
    ends : array of shape (lists + 1,)
        Where each ends, and before that where the first begins, 0.
    """

    tokens: NDArray[np.int32]
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, lists: Iterable[Sequence[int] | NDArray]) -> "TokenLists":
        """Pack lists."""
        arrays = [np.asarray(each, dtype=np.int32) for each in lists]
        ends = np.cumsum([0, *map(len, arrays)])
        return cls(np.concatenate([*arrays, np.empty(0, np.int32)]), ends)

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, index: int) -> NDArray[np.int32]:
        return self.tokens[self.ends[index] : self.ends[index + 1]]

    def __iter__(self) -> Iterator[NDArray[np.int32]]:
        return (self[index] for index in range(len(self)))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The length of each list."""
        return np.diff(self.ends)

    def take(self, indices: NDArray) -> "TokenLists":
        """Return some of the lists, by number."""
        return TokenLists.of(self[index] for index in indices)


@dataclass
class EncodedPairs(Dataset[dict[str, Any]]):
    """Sentences and their translations as token numbers.

    Attributes
    ----------
    sources, targets : TokenLists
        Both with the mark of the end.
    """

    sources: TokenLists
    targets: TokenLists

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input_ids": self.sources[index], "labels": self.targets[index]}

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Tokens of source and translation, ``(cases, 2)``."""
        return np.stack([self.sources.lengths, self.targets.lengths], axis=1)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each pair."""
        return self.sizes.sum(1).tolist()

    def take(self, indices: NDArray) -> "EncodedPairs":
        """Return some of the pairs, by number."""
        return EncodedPairs(self.sources.take(indices), self.targets.take(indices))

    def by_length(self) -> "EncodedPairs":
        """Return the pairs from short to long, so that neighbours pad little."""
        return self.take(np.lexsort(self.sizes.T))


def in_blocks(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield so many values at once, the last time perhaps fewer; no more are asked for than that.

    ``itertools.batched`` came with Python 3.12.
    """
    rest = iter(values)
    while block := list(islice(rest, size)):
        yield block


def encode_side(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> TokenLists:
    """Turn sentences into token numbers, whatever their length."""
    return TokenLists.of(
        tokens
        for some in in_blocks(texts, _AT_ONCE)
        for tokens in tokenizer(some, verbose=False)["input_ids"]
    )


def encode_pairs(
    tokenizer: PreTrainedTokenizerBase, sources: Iterable[str], targets: Iterable[str]
) -> EncodedPairs:
    """Turn sentences and their translations into token numbers."""
    return EncodedPairs(encode_side(tokenizer, sources), encode_side(tokenizer, targets))


def collate_pairs(examples: Sequence[dict[str, Any]], padding: int = 0) -> dict[str, Tensor]:
    """Make a padded batch.

    Returns
    -------
    dict
        ``input_ids [B, N]`` and ``attention_mask [B, N]``; with translations, ``labels [B, M]``,
        :data:`IGNORED` where there is none.
    """
    input_ids = _padded([each["input_ids"] for each in examples], padding)
    lengths = torch.tensor([len(each["input_ids"]) for each in examples])
    mask = torch.arange(input_ids.shape[1]) < lengths[:, None]
    batch = {"input_ids": input_ids, "attention_mask": mask.long()}
    if "labels" in examples[0]:
        batch["labels"] = _padded([each["labels"] for each in examples], IGNORED)
    return batch


def _padded(lists: Sequence[NDArray], value: int) -> Tensor:
    tensors = [torch.as_tensor(np.asarray(each, dtype=np.int64)) for each in lists]
    return pad_sequence(tensors, batch_first=True, padding_value=value)
