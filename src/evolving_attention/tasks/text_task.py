"""What the tasks on texts have in common: tokens, a part held out, batches, a saved network."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from transformers import (
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from evolving_attention.errors import reading
from evolving_attention.recipe import TextProcessingOptions, TextRecipe
from evolving_attention.tasks.networks import load_model, read_by_length
from evolving_attention.tasks.splitting import split_at_random
from evolving_attention.tasks.text_data import LabelledTexts
from evolving_attention.tasks.text_encoding import EncodedTexts, collate_texts, encode, tell_cuts
from evolving_attention.tasks.text_networks import Start, TextHead, build_network, model_options

__all__ = ["TextTask"]


class TextTask:
    """A task on texts or pairs of texts.

    Parameters
    ----------
    processing : TextProcessingOptions
        How texts become tokens.
    start : Start
        What networks start from: a pretrained one with its tokenizer, or chance, and then a
        tokenizer is learned from the part that trains.
    """

    #: What kind of task it is.
    kind: str
    #: Name of the metric that may choose the epoch, and whether more of it is better.
    metric: str
    greater_is_better: bool
    #: What the network predicts.
    head: TextHead

    def __init__(self, processing: TextProcessingOptions, start: Start) -> None:
        self.processing = processing
        self.start = start
        self._tokenizer: PreTrainedTokenizerBase | None = None

    @property
    def processor(self) -> PreTrainedTokenizerBase:
        """The tokenizer, once there are data or a saved network."""
        assert self._tokenizer is not None
        return self._tokenizer

    @processor.setter
    def processor(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Take a tokenizer."""
        self._tokenizer = tokenizer

    def split(
        self, data: LabelledTexts, validation: float, seed: int
    ) -> tuple[EncodedTexts, EncodedTexts | None]:
        """Hold out a part to validate on, and encode both; the rest teaches a tokenizer."""
        train, held_out = self._indices(data, validation, seed)
        training = data.take(train)
        self.processor = self.start.tokenizer_for(training.texts, self.processing)
        examples = self.examples(training, "training texts")
        if not len(held_out):
            return examples, None
        return examples, self.validation_examples(data.take(held_out), seed)

    def validation_examples(self, data: LabelledTexts, seed: int) -> EncodedTexts:
        """Encode the part held out; a random choice about it is made once, by the seed."""
        return self.examples(data, "validation texts")

    def _indices(
        self, data: LabelledTexts, validation: float, seed: int
    ) -> tuple[NDArray, NDArray]:
        """Return indices that train and that validate, classes spread evenly over both."""
        strata = self._strata(data, round(validation * len(data)))
        return split_at_random(len(data), validation, seed, strata)

    def _strata(self, data: LabelledTexts, held_out: int) -> NDArray | None:
        return None

    def examples(self, data: LabelledTexts, what: str) -> EncodedTexts:
        """Encode texts and targets, and tell what had to be cut."""
        return EncodedTexts(self.inputs(data.texts, what), self.encode_targets(data))

    def inputs(self, texts: Sequence[tuple[str, ...]], what: str) -> list[dict[str, list[int]]]:
        """Encode texts alone."""
        limit = self.processing.max_length
        inputs, cut = encode(self.processor, texts, limit)
        tell_cuts(cut, len(texts), limit, what)
        return inputs

    def encode_targets(self, data: LabelledTexts) -> NDArray | None:
        """Return targets as the network learns them."""
        return None

    def build_model(self, options: dict[str, Any]) -> PreTrainedModel:
        """Make a network for the data last split; options are those of a recipe's ``model``."""
        return build_network(
            self.head,
            options,
            self.start,
            self.processor,
            self.processing.max_length,
            self.output_options(),
        )

    def output_options(self) -> dict[str, Any]:
        """Return the options of the configuration that say what the head predicts."""
        return {}

    def collate(self, examples: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Make a padded batch to learn from; see :func:`.text_encoding.collate_texts`."""
        return collate_texts(self.processor, examples)

    def embed(self, model: PreTrainedModel, data: LabelledTexts) -> NDArray[np.float32]:
        """Return a vector for every text ``(cases, D)``: the mean of its last hidden states."""
        return self.read_out(model, self.inputs(data.texts, "texts"), _mean_state)

    def read_out(
        self,
        model: PreTrainedModel,
        examples: list[dict[str, Any]],
        read: Callable[[PreTrainedModel, dict[str, Tensor]], Tensor],
        collate: Callable[[list[dict[str, Any]]], dict[str, Tensor]] | None = None,
    ) -> NDArray[np.float32]:
        """Return what a network says of each encoded text, in their order: ``(cases, ...)``.

        Texts of like length share a batch, which ``collate`` makes, or padding alone; see
        :func:`~evolving_attention.tasks.networks.read_by_length`.
        """
        lengths = [len(example["input_ids"]) for example in examples]
        collate = collate or partial(collate_texts, self.processor)
        return read_by_length(model, examples, lengths, read, collate, most_entries=2**20)

    def resolve(self, recipe: TextRecipe, model: PreTrainedModel) -> TextRecipe:
        """Return the recipe with every option of the network."""
        return replace(recipe, model=model_options(self.start, model.config))

    def report(self) -> dict[str, Any]:
        """Return nothing: there is no more to tell than the metrics."""
        return {}

    def load_network(self, folder: Path) -> PreTrainedModel:
        """Load a saved network, in evaluation mode, and its tokenizer.

        Raises
        ------
        InputError
            A file is missing or damaged; the message names it.
        """
        with reading(folder / "tokenizer.json"):
            self.processor = AutoTokenizer.from_pretrained(folder)
        return load_model(folder, self.head.auto_class)


def _mean_state(model: PreTrainedModel, batch: dict[str, Tensor]) -> Tensor:
    """Return the mean over a text's tokens of what the encoder says of them: ``[B, D]``."""
    encoder = model.get_encoder() if model.config.is_encoder_decoder else model.base_model
    state_BND = encoder(**batch).last_hidden_state
    real_BN1 = batch["attention_mask"][..., None].to(state_BND.dtype)
    return (state_BND * real_BN1).sum(1) / real_BN1.sum(1)
