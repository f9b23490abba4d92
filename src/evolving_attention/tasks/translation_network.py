"""The network that translates: of a size, from nothing, or from a run that goes on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, PreTrainedConfig, PreTrainedTokenizerBase

from evolving_attention.errors import InputError, reading, reason
from evolving_attention.models.ea_transformer import (
    PRESETS,
    EATransformerConfig,
    EATransformerForConditionalGeneration,
)
from evolving_attention.models.huggingface.options import EvolutionOptions
from evolving_attention.tasks.networks import unknown_option
from evolving_attention.training import quiet

__all__ = ["build_network", "check_model_options", "model_options"]

_EVOLUTION = tuple(option.name for option in fields(EvolutionOptions))
_SIZES = (
    "d_model",
    "encoder_layers",
    "decoder_layers",
    "encoder_ffn_dim",
    "decoder_ffn_dim",
    "encoder_attention_heads",
    "decoder_attention_heads",
    "activation_function",
)
_DROPOUTS = ("dropout", "attention_dropout", "activation_dropout")
_DEFAULT = "lite"


def check_model_options(options: dict[str, Any], pretrained: Path | None = None) -> None:
    """Raise :class:`InputError` for an option that the network does not have, or has otherwise."""
    if (preset := options.get("preset", _DEFAULT)) not in PRESETS:
        raise InputError(f"model.preset must be one of {', '.join(PRESETS)}, got {preset!r}.")
    names = ("preset", *_EVOLUTION, *_SIZES, *_DROPOUTS)
    for name in options:
        if name not in names:
            raise unknown_option(name, names)
    if pretrained is not None:
        _check_sizes(options, pretrained)


def _check_sizes(options: dict[str, Any], pretrained: Path) -> None:
    """Refuse sizes, a preset's or those that are named, that are not the pretrained network's."""
    own, asked = _config_of(pretrained), dict(options)
    if "preset" in options:
        asked = EATransformerConfig.preset(options["preset"]).to_dict() | asked
    for name in _SIZES:
        if name in asked and asked[name] != getattr(own, name):
            raise InputError(
                f"{name} is {getattr(own, name)!r} in the pretrained network, {pretrained}, and "
                f"{asked[name]!r} by the recipe: set model.preset, and sizes, as they were there, "
                "or start from nothing."
            )


def _config_of(pretrained: Path) -> EATransformerConfig:
    with reading(pretrained / "config.json"):
        config = AutoConfig.from_pretrained(pretrained)
    if not isinstance(config, EATransformerConfig):
        raise InputError(
            f"{pretrained} holds a network of type {config.model_type}, and not one "
            "that translates."
        )
    return config


def model_options(
    options: dict[str, Any], config: PreTrainedConfig | None = None
) -> dict[str, Any]:
    """Return every option of a network that a recipe may set.

    Parameters
    ----------
    options : dict
        A recipe's ``model``.
    config : PreTrainedConfig, optional
        Of the network, as it was made. Default: what the options make.
    """
    preset = options.get("preset", _DEFAULT)
    config = config or make_config(options)
    own = {name: getattr(config, name) for name in (*_EVOLUTION, *_SIZES, *_DROPOUTS)}
    return {"preset": preset} | own


def make_config(options: dict[str, Any], **of_the_data: Any) -> EATransformerConfig:
    """Return the configuration that a recipe's options make.

    Raises
    ------
    InputError
        They do not work.
    """
    check_model_options(options)
    own = {name: value for name, value in options.items() if name != "preset"}
    with _options_that_work():
        return EATransformerConfig.preset(options.get("preset", _DEFAULT), **own | of_the_data)


@contextmanager
def _options_that_work() -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, StrictDataclassError) as error:
        raise InputError(f"the model's options do not work: {reason(error)}.") from error


def build_network(
    options: dict[str, Any],
    tokenizer: PreTrainedTokenizerBase,
    positions: int,
    pretrained: Path | None = None,
) -> EATransformerForConditionalGeneration:
    """Make a network that starts to learn.

    Parameters
    ----------
    options : dict
        A recipe's ``model``.
    tokenizer : PreTrainedTokenizerBase
        The vocabulary.
    positions : int
        Tokens of the longest sentence that the network must be able to read and write.
    pretrained : Path, optional
        The run folder to start from.

    Raises
    ------
    InputError
        The options do not work, or contradict the pretrained network.
    """
    if pretrained is not None:
        model = _loaded(options, pretrained, positions)
    else:
        config = make_config(
            options,
            vocab_size=len(tokenizer),
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            decoder_start_token_id=tokenizer.eos_token_id,
            max_position_embeddings=positions,
        )
        try:
            model = EATransformerForConditionalGeneration(config)
        except (ValueError, TypeError, RuntimeError) as error:
            raise InputError(f"the network cannot be made: {reason(error)}.") from error
    # Its loss is the mean of the batch's tokens, whatever else the batch is a piece of.
    model.accepts_loss_kwargs = False  # type: ignore[assignment]
    return model


def _loaded(
    options: dict[str, Any], folder: Path, positions: int
) -> EATransformerForConditionalGeneration:
    check_model_options(options, folder)
    own = {name: value for name, value in options.items() if name != "preset"}
    with _options_that_work():
        config = EATransformerConfig(**_config_of(folder).to_dict() | own)
    if config.max_position_embeddings < positions:
        raise InputError(
            f"the network in {folder} has positions for {config.max_position_embeddings} tokens, "
            f"and processing.max_length asks for {positions}: set it lower."
        )
    with reading(folder / "model.safetensors"), quiet():
        return EATransformerForConditionalGeneration.from_pretrained(folder, config=config)
