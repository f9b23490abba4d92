"""Networks for texts: from a pretrained checkpoint, which begins to evolve, or from nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

import evolving_attention.models  # noqa: F401  (transformers finds them by their types)
from evolving_attention.errors import InputError, reason
from evolving_attention.models.huggingface.options import EvolutionOptions, options_of
from evolving_attention.recipe import TextProcessingOptions
from evolving_attention.tasks.networks import unknown_option
from evolving_attention.tasks.text_tokenizer import TEXT_IS_TEXT, train_tokenizer
from evolving_attention.training import quiet

__all__ = [
    "CLASSIFICATION",
    "MASKED_LM",
    "Start",
    "TextHead",
    "build_network",
    "check_evolution_options",
    "check_model_options",
    "model_options",
]

#: Architectures that evolve, and the options of their sizes, which a network made from nothing has.
ARCHITECTURES = ("bert", "roberta", "t5")
_SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
_DROPOUTS = {
    "bert": ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"),
    "roberta": ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"),
    "t5": ("dropout_rate", "classifier_dropout"),
}
_EVOLUTION = tuple(option.name for option in fields(EvolutionOptions))


#: What a folder may hold its tokens in; older checkpoints have no more than a vocabulary.
_TOKENS = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model")


@dataclass(frozen=True)
class TextHead:
    """What a network predicts.

    Attributes
    ----------
    auto_class : type
        Finds the class of the network for a configuration.
    name : str
        What messages call it.
    """

    auto_class: Any
    name: str


CLASSIFICATION = TextHead(AutoModelForSequenceClassification, "sequence classification")
MASKED_LM = TextHead(AutoModelForMaskedLM, "masked language modelling")


@dataclass(frozen=True)
class Start:
    """What networks start from.

    Attributes
    ----------
    pretrained : str, optional
        A folder with a checkpoint, or its name on the Hub. Default: chance.
    architecture : str
        Of a network made from nothing.
    """

    pretrained: str | None = None
    architecture: str = "bert"

    @property
    def is_local(self) -> bool:
        """Whether the pretrained network lies in a folder."""
        return self.pretrained is not None and Path(self.pretrained).expanduser().is_dir()

    @cached_property
    def config(self) -> PreTrainedConfig | None:
        """The configuration of the pretrained network."""
        if self.pretrained is None:
            return None
        config = self._read(AutoConfig, "config.json")
        if config.model_type.removeprefix("ea_") not in ARCHITECTURES:
            raise InputError(
                f"{self.pretrained} is a network of the type {config.model_type!r}; those for "
                f"texts that can evolve here are {', '.join(ARCHITECTURES)}."
            )
        if getattr(config, "evolution", None) is not None:  # evolve made it
            return self._read(_evolving_class(config.model_type), "config.json")
        return config

    def tokenizer_for(
        self, texts: Sequence[tuple[str, ...]], processing: TextProcessingOptions
    ) -> PreTrainedTokenizerBase:
        """Return the tokenizer of the pretrained network, or learn one from texts."""
        if self.config is not None:
            tokenizer = self._read(AutoTokenizer, *_TOKENS, **TEXT_IS_TEXT)
            longest = _longest_input(self.config)
            tokenizer.model_max_length = min(tokenizer.model_max_length, longest)
            return tokenizer
        return train_tokenizer(
            [text for pair in texts for text in pair],
            self.architecture,
            vocab_size=processing.vocab_size,
            lowercase=processing.lowercase,
            max_length=processing.max_length,
        )

    def _read(self, auto_class: Any, *files: str, **options: Any) -> Any:
        """Read the first of the files that there is."""
        assert self.pretrained is not None
        folder = Path(self.pretrained).expanduser()
        file = next((file for file in files if (folder / file).is_file()), None)
        if folder.is_dir() and file is None:
            raise InputError(f"{folder} holds no pretrained network: {files[0]} is missing.")
        try:
            with quiet():
                return auto_class.from_pretrained(
                    folder if folder.is_dir() else self.pretrained, **options
                )
        except Exception as error:  # the Hub's, the network's, those of a damaged file
            raise InputError(
                f"{self.pretrained} is no folder with a pretrained network, and no network could "
                f"be had by this name from the Hub: {reason(error)}."
                if not folder.is_dir()
                else f"{folder / str(file)} is damaged: {reason(error)}."
            ) from error


def build_network(
    head: TextHead,
    options: dict[str, Any],
    start: Start,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    output: dict[str, Any],
) -> PreTrainedModel:
    """Make a network that starts to learn.

    Parameters
    ----------
    head : TextHead
        What it predicts.
    options : dict
        A recipe's ``model``.
    start : Start
        What it starts from.
    tokenizer : PreTrainedTokenizerBase
        Whose tokens it reads.
    max_length : int
        The longest input that a network made from nothing can read.
    output : dict
        Options of the configuration that say what the head predicts.

    Raises
    ------
    InputError
        The options do not work, or contradict the pretrained network.
    """
    check_model_options(options, start)
    config = _config(options, start, tokenizer, max_length)
    for name, value in output.items():
        setattr(config, name, value)
    try:
        model = _made(head, start, config)
    except Exception as error:  # those of options, of a missing or damaged file, of the Hub
        raise InputError(f"a network for {head.name} cannot be made: {reason(error)}.") from error
    # Its loss is the mean of the batch, whatever else the batch is a piece of.
    model.accepts_loss_kwargs = False  # type: ignore[assignment]
    return model


def _made(head: TextHead, start: Start, config: PreTrainedConfig) -> PreTrainedModel:
    if start.pretrained is None:
        return head.auto_class.from_config(config)
    folder = Path(start.pretrained).expanduser()
    with quiet():
        model, report = head.auto_class.from_pretrained(
            folder if folder.is_dir() else start.pretrained,
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
        )
    body = [
        f"{model.base_model_prefix}.{name}"
        for name, _ in model.base_model.named_parameters()
        if ".evolution." not in name and not name.startswith("pooler.")  # saved with few heads
    ]
    # what is missing would start from chance, without a word
    if missing := [name for name in body if name in report["missing_keys"]]:
        raise ValueError(
            f"{start.pretrained} lacks {len(missing)} of {len(body)} weights, such as {missing[0]}"
        )
    return model


def _config(
    options: dict[str, Any], start: Start, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> PreTrainedConfig:
    own = {name: value for name, value in options.items() if name != "architecture"}
    if start.config is None:
        own |= _of_the_tokenizer(start.architecture, tokenizer, max_length)
    else:
        architecture = start.config.model_type.removeprefix("ea_")
        for name in own:
            if name not in (names := (*_EVOLUTION, *_DROPOUTS[architecture])):
                raise unknown_option(name, names)
        known = start.config.to_dict()
        own = {name: known[name] for name in known if name not in _NOT_TAKEN} | own
    try:
        architecture = start.architecture if start.config is None else start.config.model_type
        config = _evolving_class(architecture)(**own)
    except (ValueError, TypeError, StrictDataclassError) as error:
        raise InputError(f"the model's options do not work: {reason(error)}.") from error
    _check_evolution_stays(start, config)
    return config


def _check_evolution_stays(start: Start, config: PreTrainedConfig) -> None:
    """Refuse options with which learned parameters of evolution would be lost; a twin has none."""
    if start.config is None or not start.config.model_type.startswith("ea_"):
        return
    before, now = options_of(start.config), options_of(config)
    if before.is_twin or now.is_twin:
        return
    for name in ("map_kernel_size", "learned_mixing"):
        was, asked = getattr(before, name), getattr(now, name)
        if was and was != asked:  # shares may begin to be learned
            raise InputError(
                f"{name} is {was!r} in the pretrained network, {start.pretrained}, and {asked!r} "
                f"by the recipe: leave model.{name} out."
            )


#: What a configuration says of another network's head, or of how it was saved.
_NOT_TAKEN = (
    "architectures",
    "model_type",
    "transformers_version",
    "_name_or_path",
    "id2label",
    "label2id",
    "problem_type",
    "dtype",
)


def _of_the_tokenizer(
    architecture: str, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> dict[str, Any]:
    """Return the options of a new network that follow from its tokens."""
    return {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "max_position_embeddings": max_length + _first(architecture, tokenizer.pad_token_id),
        "type_vocab_size": 1 if architecture == "roberta" else 2,
    }


def _first(architecture: str, padding: int) -> int:
    """Return the number of the first token's position: RoBERTa counts on from its padding."""
    return padding + 1 if architecture == "roberta" else 0


def _longest_input(config: PreTrainedConfig) -> float:
    """Return how many tokens a network reads: as many as it has positions, where it has any."""
    if not hasattr(config, "max_position_embeddings"):
        return float("inf")
    return config.max_position_embeddings - _first(
        config.model_type.removeprefix("ea_"), config.pad_token_id
    )


def _evolving_class(architecture: str) -> type[PreTrainedConfig]:
    """Return the class of configurations of an architecture that evolves, plain or not."""
    return CONFIG_MAPPING[f"ea_{architecture.removeprefix('ea_')}"]


def _names(start: Start) -> tuple[str, ...]:
    """Return the options that a recipe may set."""
    architecture = start.architecture
    if start.pretrained is not None:
        dropouts = dict.fromkeys(name for names in _DROPOUTS.values() for name in names)
        return (*_EVOLUTION, *dropouts)
    return ("architecture", *_EVOLUTION, *_SIZES, *_DROPOUTS[architecture])


def check_model_options(options: dict[str, Any], start: Start) -> None:
    """Raise :class:`InputError` for an option that the network does not have, or has otherwise."""
    if start.architecture not in ARCHITECTURES:
        raise InputError(
            f"there is no architecture {start.architecture!r}: take one of "
            f"{', '.join(ARCHITECTURES)}."
        )
    names = _names(start)
    for name in options:
        if name in names:
            continue
        if start.pretrained is not None and name in ("architecture", *_SIZES):
            raise InputError(
                f"{name} is that of the pretrained network, {start.pretrained}: leave model.{name} "
                "out, or start from nothing."
            )
        raise unknown_option(name, names)


def check_evolution_options(options: dict[str, Any]) -> None:
    """Raise ``ValueError`` for values of the options of evolution that do not work together."""
    options_of(EvolutionOptions(**{name: options[name] for name in options if name in _EVOLUTION}))


def model_options(start: Start, config: PreTrainedConfig | None = None) -> dict[str, Any]:
    """Return every option of a network that a recipe may set.

    Without a configuration, these are the defaults. Of a pretrained network that evolves they are
    its own, if it lies in a folder: the Hub is not asked. Its dropout is left out.
    """
    names = _names(start)
    if config is None:
        names = names if start.pretrained is None else _EVOLUTION
        evolves = start.is_local and getattr(start.config, "model_type", "").startswith("ea_")
        config = start.config if evolves else _evolving_class(start.architecture)()
    own = {name: getattr(config, name) for name in names if hasattr(config, name)}
    return own if start.pretrained is not None else {"architecture": start.architecture} | own
