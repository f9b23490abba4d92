"""The vocabulary that two languages share: byte-level BPE, learned from the training part.

Bytes are the letters, so every Unicode text has tokens, none is unknown, and what a network writes
is text again without rules of any language.
"""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from evolving_attention.errors import InputError
from evolving_attention.tasks.text_tokenizer import TEXT_IS_TEXT

__all__ = ["END", "PADDING", "learn_vocabulary"]

#: The marks of a network's inputs; texts that contain them are texts all the same.
PADDING, END = "<pad>", "</s>"

#: The marks, and a token for each byte.
_FEWEST = 258


def learn_vocabulary(
    texts: Iterable[str], vocab_size: int, *, lowercase: bool = False
) -> PreTrainedTokenizerBase:
    """Learn a tokenizer; the same texts give the same tokens with the same numbers.

    Different forms of the same letters (NFC) and different blanks are one; a sentence's end is
    marked.

    Parameters
    ----------
    texts : iterable of str
        The sentences of both languages.
    vocab_size : int
        Most tokens; less text gives fewer.
    lowercase : bool
        Whether upper and lower case are the same.
    """
    if vocab_size < _FEWEST:
        raise InputError(
            f"processing.vocab_size must be at least {_FEWEST}, the bytes and the marks of a "
            f"sentence, got {vocab_size}."
        )
    tokenizer = Tokenizer(models.BPE())
    alike = [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    tokenizer.normalizer = normalizers.Sequence(
        [*alike, normalizers.Lowercase()] if lowercase else alike
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[PADDING, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    end = (END, tokenizer.token_to_id(END))
    tokenizer.post_processor = TemplateProcessing(single=f"$A {END}", special_tokens=[end])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PADDING,
        eos_token=END,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        **TEXT_IS_TEXT,
    )
