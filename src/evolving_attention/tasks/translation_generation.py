"""Translating: lines of text through a trained network, in their order, however many and long."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedModel, PreTrainedTokenizerBase

from evolving_attention.recipe import GenerationOptions
from evolving_attention.tasks.translation_batches import collate_pairs, in_blocks
from evolving_attention.trainer.processes import tell
from evolving_attention.training import quiet

__all__ = ["cut_sentence", "longest_translation", "translate", "translate_tokens"]

#: Characters after which a sentence is over: where a blank follows, and where languages have none.
_ENDS, _WIDE_ENDS = tuple(".!?;:…।؟۔"), tuple("。！？；：")
#: What belongs to the sentence before it.
_CLOSING = "\"')]}“”’»›」』）】"


def translate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    lines: Iterable[str],
    options: GenerationOptions,
    *,
    max_length: int,
    block: int,
) -> Iterator[str]:
    """Yield the translation of each line, as one line; that of a blank one is empty.

    Parameters
    ----------
    model : PreTrainedModel
        In evaluation mode.
    tokenizer : PreTrainedTokenizerBase
        Its vocabulary.
    lines : iterable of str
        They are taken as the translations are asked for, ``block`` at once.
    options : GenerationOptions
        How to translate.
    max_length : int
        Most tokens that are translated at once; see :func:`cut_sentence`.
    block : int
        Lines that are translated together, those of like length in one batch.
    """
    cut = 0
    for some in in_blocks(lines, block):
        pieces: list[NDArray[np.int32]] = []
        counts = []
        for line in some:
            parts: list[NDArray[np.int32]] = []
            if line.strip():
                parts = cut_sentence(tokenizer, line, max_length)
            pieces += parts
            counts.append(len(parts))
        cut += sum(count > 1 for count in counts)
        written = iter(translate_tokens(model, tokenizer, pieces, options))
        for count in counts:
            yield " ".join(filter(None, islice(written, count)))
    if cut:
        lines_are = "1 line is" if cut == 1 else f"{cut} lines are"
        tell(
            f"{lines_are} longer than {max_length} tokens and translated in parts "
            "(processing.max_length)"
        )


def cut_sentence(
    tokenizer: PreTrainedTokenizerBase, line: str, max_length: int
) -> list[NDArray[np.int32]]:
    """Cut a line into pieces of at most ``max_length`` tokens, each with its end mark.

    A cut is made where a sentence ends, else before a word, else before a letter, else where it
    must be; as late as it can be.
    """
    encoded = tokenizer(line, return_offsets_mapping=True, verbose=False)
    *tokens, end = encoded["input_ids"]
    pieces, first = [], 0
    while len(tokens) - first >= max_length:
        place = first + _last_cut(line, encoded["offset_mapping"][first : first + max_length])
        pieces.append(tokens[first:place])
        first = place
    pieces.append(tokens[first:])
    return [np.array([*piece, end], dtype=np.int32) for piece in pieces]


def _last_cut(line: str, spans: list[tuple[int, int]]) -> int:
    """Return where to cut tokens, of which the last is one too many, by where in the line they are.

    A letter may have several tokens, all with its place.
    """
    letters = [place for place in range(1, len(spans)) if spans[place][0] >= spans[place - 1][1]]
    words = [place for place in letters if line[spans[place][0]].isspace()]
    ends = [place for place in letters if _begins_sentence(line, spans[place][0])]
    return (ends or words or letters or [len(spans) - 1])[-1]


def _begins_sentence(line: str, place: int) -> bool:
    """Tell whether a sentence ends before a place of a line, with its quotation marks."""
    before = line[max(place - 4, 0) : place].rstrip().rstrip(_CLOSING)
    if before.endswith(_WIDE_ENDS):
        return line[place] not in _CLOSING
    return line[place].isspace() and before.endswith(_ENDS)


def longest_translation(length: int, options: GenerationOptions) -> int:
    """Return the most tokens of the translation of so many."""
    return max(1, int(length * options.max_length_ratio) + options.max_length_extra)


@torch.inference_mode()
def translate_tokens(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sources: Sequence[NDArray[np.int32]],
    options: GenerationOptions,
) -> list[str]:
    """Return the translation of each sentence, whose tokens are given with the end mark.

    Sentences of like length share a batch, which changes no translation: each has its own limit.
    """
    written = [""] * len(sources)
    order = sorted(range(len(sources)), key=lambda index: len(sources[index]))
    for some in in_blocks(order, options.batch_size):
        tokens = _generate(model, [sources[index] for index in some], options)
        texts = tokenizer.batch_decode(tokens, skip_special_tokens=True)
        for index, text in zip(some, texts, strict=True):
            written[index] = " ".join(text.split())
    return written


def _generate(
    model: PreTrainedModel, sources: list[NDArray[np.int32]], options: GenerationOptions
) -> Tensor:
    padding, end = model.config.pad_token_id, model.config.eos_token_id
    batch = collate_pairs([{"input_ids": each} for each in sources], padding)
    room = model.config.max_position_embeddings - 1
    limits = [min(longest_translation(len(each), options), room) for each in sources]
    with quiet():
        return model.generate(  # type: ignore[operator]
            **{name: tensor.to(model.device) for name, tensor in batch.items()},
            max_new_tokens=max(limits),
            num_beams=options.num_beams,
            length_penalty=options.length_penalty if options.num_beams > 1 else None,
            do_sample=False,
            suppress_tokens=[padding],
            logits_processor=[_EndAtLimit(limits, end, model.device)],
        )


class _EndAtLimit(LogitsProcessor):
    """Ends a translation at the limit of its own sentence, whoever shares the batch."""

    def __init__(self, limits: list[int], end: int, device: torch.device) -> None:
        self.limits_B = torch.tensor(limits, device=device)
        self.end = end

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Leave nothing but the end in the last place."""
        beams = len(input_ids) // len(self.limits_B)
        is_last = self.limits_B.repeat_interleave(beams) <= input_ids.shape[1]  # a start included
        only_end = torch.full_like(scores, -torch.inf)
        only_end[:, self.end] = scores[:, self.end]
        return torch.where(is_last[:, None], only_end, scores)
