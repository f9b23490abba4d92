"""The network that translates: of a size, from nothing, or from a run that goes on."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

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


def check_model_options(options: dict[str, Any]) -> None:
    """Raise :class:`InputError` for an option that the network does not have."""
    if (preset := options.get("preset", _DEFAULT)) not in PRESETS:
        raise InputError(f"model.preset must be one of {', '.join(PRESETS)}, got {preset!r}.")
    names = ("preset", *_EVOLUTION, *_SIZES, *_DROPOUTS)
    for name in options:
        if name not in names:
            raise unknown_option(name, names)


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
    try:
        return EATransformerConfig.preset(options.get("preset", _DEFAULT), **own | of_the_data)
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
    check_model_options(options)
    own = {name: value for name, value in options.items() if name not in ("preset", *_SIZES)}
    with reading(folder / "config.json"):
        config = EATransformerConfig.from_pretrained(folder, **own)
    _check_sizes(options, config, folder)
    if config.max_position_embeddings < positions:
        raise InputError(
            f"the network in {folder} has positions for {config.max_position_embeddings} tokens, "
            f"and processing.max_length asks for {positions}: set it lower."
        )
    with reading(folder / "model.safetensors"), quiet():
        return EATransformerForConditionalGeneration.from_pretrained(folder, config=config)


def _check_sizes(options: dict[str, Any], config: EATransformerConfig, folder: Path) -> None:
    """Raise :class:`InputError` for a size, or a preset's, that is not the pretrained network's."""
    preset = options.get("preset")
    made = config if preset is None else EATransformerConfig.preset(preset)
    for name in _SIZES:
        asked, own = options.get(name, getattr(made, name)), getattr(config, name)
        if asked != own:
            raise InputError(
                f"{name} is that of the pretrained network, {folder}, which is {own} and not "
                f"{asked}: give model.preset, and sizes, as they are there."
            )
