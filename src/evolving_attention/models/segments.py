"""Recomputation in segments of layers: memory for a few maps, however deep the network.

The usual checkpoint of every layer keeps what the layer was given, and that is a map: one a layer.
Here a *segment* of layers keeps only what its first layer was given. The backward pass runs the
segment again, now with a checkpoint a layer, then each of its layers: of L layers in segments of s,
about L / s + s maps live at a time, and what one layer keeps. That costs up to two more forward
passes.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

__all__ = ["SegmentCheckpointing", "run_in_segments"]

#: A layer: from the state of a stack (its hidden states, the map...) to the next state.
Layer = Callable[..., tuple[Any, ...]]


class SegmentCheckpointing(PreTrainedModel):
    """Adds segments to a model whose base model runs its layers by :func:`run_in_segments`."""

    #: Of the base model: layers in a segment; None: nothing is recomputed in segments.
    segment_length: int | None = None

    def segment_checkpointing_enable(self, length: int | None = None) -> None:
        """Recompute segments of layers in the backward pass, to keep fewer maps in training.

        Gradients, statistics and dropout are those of a network that recomputes nothing, to the
        bit. Where maps, probabilities or hidden states are asked for, nothing is recomputed, as
        they are kept anyhow.

        Parameters
        ----------
        length : int, optional
            Layers in a segment. Default: about the square root of their number, which keeps the
            fewest maps.

        Raises
        ------
        ValueError
            ``length`` is below 1.
        """
        base: Any = self.base_model
        if length is None:
            length = max(1, round(math.sqrt(base.num_segment_layers)))
        if length < 1:
            raise ValueError(f"a segment must have at least 1 layer, got {length}.")
        base.segment_length = length

    def segment_checkpointing_disable(self) -> None:
        """Keep what every layer needs, and recompute nothing."""
        base: Any = self.base_model
        base.segment_length = None

    @property
    def num_segment_layers(self) -> int:
        """Layers that segments are made of."""
        raise NotImplementedError

    def _recomputes(self) -> bool:
        return self.segment_length is not None and self.training and torch.is_grad_enabled()


def run_in_segments(
    layers: Sequence[Layer], state: tuple[Any, ...], length: int
) -> tuple[Any, ...]:
    """Run layers one after the other, and again in the backward pass.

    Parameters
    ----------
    layers : sequence of callable
        Each takes the items of a state, tensors or None, and returns the next state.
    state : tuple
        What the first layer is given.
    length : int
        Layers in a segment.

    Returns
    -------
    tuple
        The state after the last layer.
    """
    starts = range(0, len(layers), length)
    for start in starts:
        segment = partial(_run, layers[start : start + length])
        if length == 1 or start == starts[-1]:  # the last one's turn comes at once
            state = segment(*state)
        else:
            state = _checkpoint(segment, *state)
    return state


def _run(layers: Sequence[Layer], *state: Any) -> tuple[Any, ...]:
    for layer in layers:
        state = _checkpoint(layer, *state)
    return state


def _checkpoint(layer: Layer, *state: Any) -> tuple[Any, ...]:
    return checkpoint(layer, *state, use_reentrant=False)  # type: ignore[no-any-return]
