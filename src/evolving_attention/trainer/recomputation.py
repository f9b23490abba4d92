"""Gradient checkpointing of a network, as a recipe asks for it."""

from transformers import PreTrainedModel

from evolving_attention.errors import InputError
from evolving_attention.models.segments import SegmentedModel

__all__ = ["recompute"]


def recompute(model: PreTrainedModel, segment: bool | int) -> None:
    """Let a network recompute its blocks in the backward pass.

    Parameters
    ----------
    model : PreTrainedModel
        Any that transformers can checkpoint.
    segment : bool or int
        Blocks in a segment; True: as the network has it.

    Raises
    ------
    InputError
        A number was given, and the network has no segments.
    """
    options: dict[str, bool | int] = {"use_reentrant": False}
    if not isinstance(segment, bool):
        if not isinstance(model, SegmentedModel):
            raise InputError(
                f"training.gradient_checkpointing must be true or false for {type(model).__name__}"
                f", which recomputes layer by layer, got {segment}."
            )
        options["segment"] = segment
    # transformers renamed it; the old name goes in version 6
    enable = getattr(model, "activation_checkpointing_enable", None)
    (enable or model.gradient_checkpointing_enable)(options)
