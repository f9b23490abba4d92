"""Tokenizers for networks that are made from nothing, learned from the texts that train them."""

from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.trainers import WordPieceTrainer
from transformers import BertTokenizer, PreTrainedTokenizerBase, RobertaTokenizer

from evolving_attention.errors import InputError

__all__ = ["TEXT_IS_TEXT", "TOKENIZERS", "train_tokenizer"]

#: The architectures whose form of tokens can be learned.
TOKENIZERS = ("bert", "roberta")

#: Of every tokenizer: a special token that stands in a text, as "[SEP]", is text. It is saved.
TEXT_IS_TEXT: dict[str, Any] = {"split_special_tokens": True}


def train_tokenizer(
    texts: Sequence[str],
    architecture: str = "bert",
    *,
    vocab_size: int = 8000,
    lowercase: bool = True,
    max_length: int = 512,
) -> PreTrainedTokenizerBase:
    """Learn a tokenizer; the same texts give the same tokens with the same numbers.

    Parameters
    ----------
    texts : sequence of str
        The training texts.
    architecture : {"bert", "roberta"}
        WordPiece, as BERT's, or byte-level BPE, as RoBERTa's.
    vocab_size : int
        Most tokens; less text gives fewer.
    lowercase : bool
        WordPiece: whether upper and lower case are the same.
    max_length : int
        The longest input of the network, in tokens.
    """
    if architecture not in TOKENIZERS:
        raise InputError(
            f"no tokenizer can be learned for the architecture {architecture!r}: take one of "
            f"{', '.join(TOKENIZERS)}, or start from a pretrained network."
        )
    if vocab_size < 1:
        raise InputError(f"processing.vocab_size must be at least 1, got {vocab_size}.")
    if architecture == "roberta":
        plain = RobertaTokenizer(model_max_length=max_length, **TEXT_IS_TEXT)
        learned = plain.train_new_from_iterator(texts, vocab_size, show_progress=False)
    else:
        learned = _wordpiece(texts, vocab_size, lowercase, max_length)
    if len(learned) > vocab_size:
        raise InputError(
            f"processing.vocab_size is {vocab_size}, but the characters of the texts alone need "
            f"{len(learned)}."
        )
    return learned


def _wordpiece(
    texts: Sequence[str], vocab_size: int, lowercase: bool, max_length: int
) -> BertTokenizer:
    """Learn a WordPiece vocabulary.

    The trainer numbers the letters inside of words as a hash table that changes from process to
    process yields them, and breaks ties between pairs by these numbers. Handed to it as special
    tokens, in order, they have their numbers before; the tokenizer is then made of the vocabulary
    alone, in which they are ordinary pieces.
    """
    plain = BertTokenizer(do_lower_case=lowercase)
    backend = plain.backend_tokenizer
    learning = Tokenizer(WordPiece(unk_token=plain.unk_token))
    learning.normalizer, learning.pre_tokenizer = backend.normalizer, backend.pre_tokenizer
    letters = sorted(set().union(*(backend.normalizer.normalize_str(text) for text in texts)))
    inside = [f"##{letter}" for letter in letters if not letter.isspace()]
    special = [
        plain.pad_token,
        plain.unk_token,
        plain.cls_token,
        plain.sep_token,
        plain.mask_token,
    ]
    trainer = WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=[*special, *inside],
        show_progress=False,
    )
    learning.train_from_iterator(texts, trainer)
    vocabulary = learning.get_vocab()
    ordered = sorted(vocabulary, key=vocabulary.__getitem__)
    return BertTokenizer(
        vocab={token: number for number, token in enumerate(ordered)},
        do_lower_case=lowercase,
        model_max_length=max_length,
        **TEXT_IS_TEXT,
    )
