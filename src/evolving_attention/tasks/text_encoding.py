"""Texts as a network's inputs: tokens, cut where they are too long, padded batch by batch.

Shape letters: B batch, N tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from transformers import BatchEncoding, DataCollatorWithPadding, PreTrainedTokenizerBase

from evolving_attention.errors import InputError
from evolving_attention.trainer.processes import tell

__all__ = ["EncodedTexts", "by_text", "check_length", "collate_texts", "encode", "tell_cuts"]


@dataclass
class EncodedTexts(Dataset[dict[str, Any]]):
    """Texts as lists of token numbers, and their targets.

    Attributes
    ----------
    inputs : list of dict
        What the network takes of each text: ``input_ids``, ``attention_mask``, ...
    targets : array of shape (cases,), optional
        Class numbers, or numbers.
    """

    inputs: list[dict[str, list[int]]]
    targets: NDArray | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        example: dict[str, Any] = dict(self.inputs[index])
        return example if self.targets is None else example | {"labels": self.targets[index]}


def encode(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[tuple[str, ...]], max_length: int
) -> tuple[list[dict[str, list[int]]], list[int]]:
    """Turn texts, or pairs, into tokens.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
        Any of Hugging Face's; it puts a pair together as its networks were trained to read one.
    texts : sequence of tuple of str
        One text, or the two of a pair, each.
    max_length : int
        Most tokens of a text or pair, those that the tokenizer adds included. Of a pair, the longer
        text is cut, token by token, until both fit.

    Returns
    -------
    inputs : list of dict
        An entry a text; see :class:`EncodedTexts`.
    cut : list of int
        How long those were that had to be cut.
    """
    check_length(tokenizer, max_length)
    # without a limit first, so that it is known what a limit takes away
    inputs = _encoded(tokenizer, texts, truncation=False, verbose=False)
    long = [index for index, one in enumerate(inputs) if len(one["input_ids"]) > max_length]
    cut = [len(inputs[index]["input_ids"]) for index in long]
    shortened = _encoded(
        tokenizer, [texts[index] for index in long], truncation=True, max_length=max_length
    )
    for index, one in zip(long, shortened, strict=True):
        inputs[index] = one
    return inputs, cut


def check_length(tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
    """Raise :class:`InputError` for a length that the network cannot read, or that holds nothing.

    Tokenizers tell the longest input of their networks, or a number beyond all lengths.
    """
    least = tokenizer.num_special_tokens_to_add(pair=True) + 2
    if max_length < least:
        raise InputError(
            f"processing.max_length must be at least {least}, the tokens that mark the ends of a "
            f"pair and one of each text, got {max_length}."
        )
    if max_length > tokenizer.model_max_length:
        raise InputError(
            f"processing.max_length is {max_length}, but the network reads no more than "
            f"{tokenizer.model_max_length} tokens."
        )


def _encoded(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[tuple[str, ...]], **options: Any
) -> list[dict[str, list[int]]]:
    if not texts:
        return []
    columns: list[list[str]] = [list(column) for column in zip(*texts, strict=True)]
    encoded: BatchEncoding = tokenizer(
        *columns, padding=False, return_special_tokens_mask=True, **options
    )
    marks, end = encoded.pop("special_tokens_mask"), tokenizer.eos_token_id
    if end is not None:
        unknown = tokenizer.unk_token_id
        for ids, is_mark in zip(encoded["input_ids"], marks, strict=True):
            _forget_ends(ids, is_mark, end, unknown)
    return by_text(encoded)


def _forget_ends(ids: list[int], is_mark: Sequence[int], end: int, unknown: int) -> None:
    """Make end marks that stand in a text itself unknown pieces, in place.

    T5's vocabulary has its end mark among the pieces of texts, and its head counts end marks.
    """
    for place, token in enumerate(ids):
        if token == end and not is_mark[place]:
            ids[place] = unknown


def by_text(encoded: BatchEncoding) -> list[dict[str, list[int]]]:
    """Turn what a tokenizer returns, a list for each name, into an entry for each text."""
    names = list(encoded)
    return [
        dict(zip(names, values, strict=True))
        for values in zip(*(encoded[name] for name in names), strict=True)
    ]


def tell_cuts(cut: Sequence[int], count: int, max_length: int, what: str) -> None:
    """Tell, on standard error, how many texts were cut; nothing where none was."""
    if cut:
        tell(
            f"{len(cut)} of {count} {what} are longer than {max_length} tokens and were cut; the "
            f"longest has {max(cut)} (processing.max_length)"
        )


def collate_texts(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[dict[str, Any]]
) -> dict[str, Tensor]:
    """Pad encoded texts to the longest of the batch.

    Returns
    -------
    dict
        ``input_ids [B, N]``, ``attention_mask [B, N]`` and what else the network takes, as the
        tokenizer pads it; ``labels [B]`` where there are any: whole numbers for classes, else
        float32.
    """
    batch = dict(DataCollatorWithPadding(tokenizer)(list(examples)))
    if "labels" in batch and batch["labels"].is_floating_point():
        batch["labels"] = batch["labels"].float()
    return batch
