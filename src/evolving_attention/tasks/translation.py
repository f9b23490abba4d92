"""The task of translation: pairs of sentences to batches, networks to translations, and figures.

Shape letters: B batch, N tokens of a source, M of its translation, V vocabulary.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoTokenizer, EvalPrediction, PreTrainedModel, PreTrainedTokenizerBase

from evolving_attention.errors import InputError, reading
from evolving_attention.models.ea_transformer import EATransformerForConditionalGeneration
from evolving_attention.recipe import (
    GenerationOptions,
    TranslationProcessingOptions,
    TranslationRecipe,
)
from evolving_attention.tasks.networks import load_model, read_by_length
from evolving_attention.tasks.parallel_texts import ParallelTexts
from evolving_attention.tasks.splitting import split_at_random
from evolving_attention.tasks.translation_batches import (
    IGNORED,
    EncodedPairs,
    collate_pairs,
    encode_pairs,
    encode_side,
)
from evolving_attention.tasks.translation_generation import translate
from evolving_attention.tasks.translation_metrics import TranslationMetrics
from evolving_attention.tasks.translation_network import build_network, model_options
from evolving_attention.tasks.translation_tokenizer import learn_vocabulary
from evolving_attention.trainer.processes import tell

__all__ = ["TranslationTask"]

#: Lines that are sorted by length before they are translated, where nobody waits for the first.
_BLOCK = 2048


class TranslationTask:
    """Sentences in, translations out.

    Parameters
    ----------
    processing : TranslationProcessingOptions, optional
        How sentences become tokens.
    generation : GenerationOptions, optional
        How a trained network translates.
    label_smoothing : float
        Share of the target that is spread over the vocabulary while a network trains.
    languages : tuple of str, optional
        Of the sentences, and of their translations, for the metrics.
    pretrained : Path, optional
        A run folder whose network and vocabulary to start from. Default: chance, and a vocabulary
        is learned.
    """

    kind, metric, greater_is_better = "translation", "perplexity", False

    def __init__(
        self,
        processing: TranslationProcessingOptions | None = None,
        generation: GenerationOptions | None = None,
        *,
        label_smoothing: float = 0.0,
        languages: tuple[str, str] | None = None,
        pretrained: Path | None = None,
    ) -> None:
        self.processing = processing or TranslationProcessingOptions()
        self.generation = generation or GenerationOptions()
        self.label_smoothing = label_smoothing
        self.languages = languages
        self.pretrained = pretrained
        self.counts: dict[str, int] = {}
        self._tokenizer: PreTrainedTokenizerBase | None = None

    @property
    def processor(self) -> PreTrainedTokenizerBase:
        """The vocabulary, once there are data or a saved network."""
        assert self._tokenizer is not None
        return self._tokenizer

    @processor.setter
    def processor(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Take a vocabulary."""
        self._tokenizer = tokenizer

    @cached_property
    def metrics(self) -> TranslationMetrics:
        """What measures translations."""
        language = self.languages[1] if self.languages else None
        return TranslationMetrics(language, self.processing.lowercase)

    # Training

    def split(
        self, data: ParallelTexts, validation: float, seed: int
    ) -> tuple[EncodedPairs, EncodedPairs | None]:
        """Learn a vocabulary from the part that trains, and encode it and the part that validates.

        With ``validation`` above 0 that is the data's own validation part, or, where they have
        none, such a share of the training part.
        """
        _check_targets(data)
        training, held_out = data, data.validation if validation else None
        if validation and held_out is None:
            train, rest = split_at_random(len(data), validation, seed)
            training, held_out = data.take(train), data.take(rest) if len(rest) else None
        self.processor = self._vocabulary(training)
        self.counts = {"pairs": len(training), "empty": data.empty}
        examples = self._trainable(self._encoded(training))
        return examples, None if held_out is None else self._readable(self._encoded(held_out))

    def _vocabulary(self, data: ParallelTexts) -> PreTrainedTokenizerBase:
        if self.pretrained is not None:
            return self._vocabulary_of(self.pretrained)
        assert data.targets is not None
        sides = (text for pair in zip(_sources(data), data.targets, strict=True) for text in pair)
        return learn_vocabulary(
            sides, self.processing.vocab_size, lowercase=self.processing.lowercase
        )

    def _vocabulary_of(self, pretrained: Path) -> PreTrainedTokenizerBase:
        tokenizer = _load_vocabulary(pretrained)
        lowercase = tokenizer("A")["input_ids"] == tokenizer("a")["input_ids"]
        if lowercase != self.processing.lowercase:
            raise InputError(
                f"the vocabulary of {pretrained} {'has no' if lowercase else 'has'} capitals: set "
                f"processing.lowercase to {str(lowercase).lower()}."
            )
        return tokenizer

    def _encoded(self, data: ParallelTexts) -> EncodedPairs:
        _check_targets(data)
        assert data.targets is not None
        return encode_pairs(self.processor, _sources(data), data.targets)

    def _trainable(self, pairs: EncodedPairs) -> EncodedPairs:
        """Leave out, and count, pairs with a side that is too long."""
        limit, longest = self.processing.max_length, pairs.sizes.max(1)
        fits = longest <= limit
        self.counts["overlong"] = int((~fits).sum())
        if not fits.any():
            raise InputError(
                f"every pair has a sentence of more than {limit} tokens: set "
                "processing.max_length higher."
            )
        if self.counts["overlong"]:
            tell(
                f"{self.counts['overlong']} of {len(pairs)} training pairs were left out: a "
                f"sentence is longer than {limit} tokens (processing.max_length)"
            )
        return pairs.take(np.flatnonzero(fits)) if self.counts["overlong"] else pairs

    def _readable(self, pairs: EncodedPairs) -> EncodedPairs:
        """Sort pairs by length; leave out those that no network of this task reads."""
        fits = pairs.sizes.max(1) <= self.positions
        if not fits.any():
            raise InputError(
                f"every pair to measure has a sentence of more than {self.positions} tokens, more "
                "than the network has positions for."
            )
        return pairs.take(np.flatnonzero(fits)).by_length()

    @property
    def positions(self) -> int:
        """How many tokens a network has positions for."""
        return max(1024, 4 * self.processing.max_length)

    def build_model(self, options: dict[str, Any]) -> EATransformerForConditionalGeneration:
        """Make a network for the data last split; options are those of a recipe's ``model``."""
        model = build_network(options, self.processor, self.positions, self.pretrained)
        model.label_smoothing = self.label_smoothing
        return model

    def collate(self, examples: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Make a padded batch; see :func:`.translation_batches.collate_pairs`."""
        return collate_pairs(examples, self.processor.pad_token_id)

    def reduce_outputs(self, outputs: Any, labels_BM: Tensor) -> Tensor:
        """Return the loss of each translation, summed over its tokens, and their number: [B, 2]."""
        logits_BMV = outputs[0] if isinstance(outputs, tuple) else outputs
        return _losses(logits_BMV, labels_BM)

    def compute_metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        """Return the mean loss of a token, without smoothing, and its exponential."""
        return _loss_figures(np.asarray(prediction.predictions))

    # A trained network

    def translate(
        self, model: PreTrainedModel, lines: Iterable[str], block: int | None = None
    ) -> Iterator[str]:
        """Yield the translation of each line, in their order.

        Parameters
        ----------
        model : PreTrainedModel
            The network.
        lines : iterable of str
            Any number of any length; blank ones stay empty.
        block : int, optional
            Lines that are taken before the first translation is there. Default: as many as make
            full batches of sentences of like length.
        """
        return translate(
            model,
            self.processor,
            lines,
            self.generation,
            max_length=self.processing.max_length,
            block=block or _BLOCK,
        )

    def can_evaluate(self, data: ParallelTexts) -> bool:
        """Tell whether there are translations to compare with."""
        return data.targets is not None

    def evaluate(self, model: PreTrainedModel, data: ParallelTexts) -> dict[str, float]:
        """Measure a network: translate, and compare.

        Returns
        -------
        dict
            ``bleu``, ``chrf`` and ``loss``, the cross entropy of a token of the translation in
            nats; of several parts the means, and the figures of each, such as ``bleu_test_2016``.
        """
        _check_targets(data)
        parts = {name: self._measure(model, part) for name, part in data.by_part().items()}
        figures = pd.DataFrame(parts).T
        means = {str(name): float(mean) for name, mean in figures.mean().items()}
        if len(parts) == 1:
            return means
        return means | {
            f"{metric}_{name}": part[metric] for name, part in parts.items() for metric in means
        }

    def _measure(self, model: PreTrainedModel, data: ParallelTexts) -> dict[str, float]:
        assert data.targets is not None
        written = list(self.translate(model, _sources(data)))
        return self.metrics.measure(written, data.targets.tolist()) | {
            "loss": self.loss(model, data)["loss"]
        }

    def loss(self, model: PreTrainedModel, data: ParallelTexts) -> dict[str, float]:
        """Return the mean loss of a token of the translations, and its exponential."""
        pairs = self._readable(self._encoded(data))
        examples = [pairs[index] for index in range(len(pairs))]
        lengths = pairs.sizes.max(1).tolist()
        table = read_by_length(
            model, examples, lengths, _teacher_forced, self.collate, most_entries=2**20
        )
        return _loss_figures(table)

    def predict(self, model: PreTrainedModel, data: ParallelTexts) -> pd.DataFrame:
        """Translate every sentence: a row each, with its ``source``."""
        sources = _sources(data)
        return pd.DataFrame({"prediction": list(self.translate(model, sources)), "source": sources})

    def embed(self, model: PreTrainedModel, data: ParallelTexts) -> NDArray[np.float32]:
        """Return a vector for every sentence ``(cases, D)``: the mean of its encoder's states."""
        tokens = encode_side(self.processor, _sources(data))
        examples = [{"input_ids": each[: self.positions]} for each in tokens]
        lengths = [len(each["input_ids"]) for each in examples]
        return read_by_length(
            model, examples, lengths, _mean_state, self.collate, most_entries=2**20
        )

    def resolve(self, recipe: TranslationRecipe, model: PreTrainedModel) -> TranslationRecipe:
        """Return the recipe with every option of the network, and with the languages."""
        if self.languages:
            source, target = self.languages
            recipe = replace(recipe, data=replace(recipe.data, source=source, target=target))
        return replace(recipe, model=model_options(recipe.model, model.config))

    def report(self) -> dict[str, Any]:
        """Return how many pairs there were and were left out, and the metrics' signatures."""
        return {"training_pairs": self.counts, "signatures": self.metrics.signatures()}

    def load_network(self, folder: Path) -> PreTrainedModel:
        """Load a saved network, in evaluation mode, and its vocabulary.

        Raises
        ------
        InputError
            A file is missing or damaged; the message names it.
        """
        self.processor = _load_vocabulary(folder)
        return load_model(folder, EATransformerForConditionalGeneration)


def _load_vocabulary(folder: Path) -> PreTrainedTokenizerBase:
    with reading(folder / "tokenizer.json"):
        return AutoTokenizer.from_pretrained(folder)


def _sources(data: ParallelTexts) -> list[str]:
    return [text for (text,) in data.texts]


def _check_targets(data: ParallelTexts) -> None:
    if data.targets is None:
        raise InputError("the sentences have no translations; each needs one.")


def _losses(logits_BMV: Tensor, labels_BM: Tensor) -> Tensor:
    losses_BM = torch.nn.functional.cross_entropy(
        logits_BMV.float().transpose(1, 2), labels_BM, reduction="none", ignore_index=IGNORED
    )
    return torch.stack([losses_BM.sum(1), (labels_BM != IGNORED).sum(1)], dim=1)


def _teacher_forced(model: PreTrainedModel, batch: dict[str, Tensor]) -> Tensor:
    return _losses(model(**batch).logits, batch["labels"])


def _loss_figures(table: NDArray) -> dict[str, float]:
    total, tokens = table.sum(0, dtype=np.float64)
    return {"loss": float(total / tokens), "perplexity": float(np.exp(total / tokens))}


def _mean_state(model: PreTrainedModel, batch: dict[str, Tensor]) -> Tensor:
    state_BND = model.get_encoder()(**batch).last_hidden_state
    real_BN1 = batch["attention_mask"][..., None].to(state_BND.dtype)
    return (state_BND * real_BN1).sum(1) / real_BN1.sum(1)
