"""What a network computes again in the backward pass, to keep less."""

from typing import Any

from transformers import PreTrainedModel

from evolving_attention.errors import InputError

__all__ = ["check_recomputation", "recompute"]


def check_recomputation(value: Any) -> None:
    """Raise :class:`InputError` unless this is a value of ``training.gradient_checkpointing``."""
    is_length = isinstance(value, int) and value >= 1
    if not (isinstance(value, bool) or value == "segments" or is_length):
        raise InputError(
            "training.gradient_checkpointing must be true, false, 'segments' or the whole number "
            f"of a segment's layers, at least 1, got {value!r}."
        )


def recompute(model: PreTrainedModel, value: bool | int | str) -> None:
    """Make a network recompute as ``training.gradient_checkpointing`` says.

    Raises
    ------
    InputError
        It cannot do so in segments.
    """
    if value is False:
        return
    if value is True:
        # transformers renamed it; the old name goes in version 6
        enable = getattr(model, "activation_checkpointing_enable", None)
        (enable or model.gradient_checkpointing_enable)()
        return
    enable = getattr(model, "segment_checkpointing_enable", None)
    if enable is None:
        raise InputError(
            f"training.gradient_checkpointing={value!r} needs a network that recomputes segments "
            f"of its layers, and {type(model).__name__} does not; true recomputes layer by layer."
        )
    enable(None if value == "segments" else value)
