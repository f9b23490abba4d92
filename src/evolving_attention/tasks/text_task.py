"""What the tasks on texts have in common: tokens, a part held out, batches, a saved network."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from evolving_attention.errors import reading
from evolving_attention.recipe import TextProcessingOptions, TextRecipe
from evolving_attention.tasks.text_data import LabelledTexts
from evolving_attention.tasks.text_encoding import EncodedTexts, collate_texts, encode, tell_cuts
from evolving_attention.tasks.text_networks import Start, TextHead, build_network, model_options
from evolving_attention.tasks.text_predictions import read_texts_out
from evolving_attention.training import quiet

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
        return examples, self.examples(data.take(held_out), "validation texts")

    def _indices(
        self, data: LabelledTexts, validation: float, seed: int
    ) -> tuple[NDArray, NDArray]:
        """Return indices that train and that validate, classes spread evenly over both."""
        everything = np.arange(len(data))
        held_out = round(validation * len(data))
        if not 0 < held_out < len(data):
            return everything, everything[:0]
        train, validate = train_test_split(
            everything, test_size=held_out, random_state=seed, stratify=self._strata(data, held_out)
        )
        return train, validate

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
        """Make a padded batch; see :func:`.text_encoding.collate_texts`."""
        return collate_texts(self.processor, examples)

    def embed(self, model: PreTrainedModel, data: LabelledTexts) -> NDArray[np.float32]:
        """Return a vector for every text ``(cases, D)``: the mean of its last hidden states."""
        return read_texts_out(self.collate, model, self.inputs(data.texts, "texts"), _mean_state)

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
        with reading(folder / "config.json"):
            config: PreTrainedConfig = AutoConfig.from_pretrained(folder)
        with reading(folder / "model.safetensors"), quiet():
            model = self.head.auto_class.from_pretrained(folder, config=config)
        device = torch.accelerator.current_accelerator()  # None without one
        return model.to(device or "cpu").eval()


def _mean_state(model: PreTrainedModel, batch: dict[str, Tensor]) -> Tensor:
    """Return the mean over a text's tokens of what the encoder says of them: ``[B, D]``."""
    encoder = model.get_encoder() if model.config.is_encoder_decoder else model.base_model
    state_BND = encoder(**batch).last_hidden_state
    real_BN1 = batch["attention_mask"][..., None].to(state_BND.dtype)
    return (state_BND * real_BN1).sum(1) / real_BN1.sum(1)
