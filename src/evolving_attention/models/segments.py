"""Recomputation in segments of blocks: memory for a few maps, however deep the network.

With gradient checkpointing a block keeps its input for the backward pass, the previous map too: a
map a block. Here a stretch of blocks, a segment, keeps one input. When the backward pass reaches
it, it runs again, its blocks keep theirs, and each of them runs again in its turn. That is three
forward passes instead of two, for the maps of about two square roots of the depth.
"""

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

__all__ = ["HasSegments", "SegmentedModel", "default_segment"]


#: Blocks of the deepest network that recomputes them one by one: with so few, what a block makes
#: while it runs again outweighs the maps that are kept, and a third forward pass saves little.
FEW_BLOCKS = 8


def default_segment(blocks: int) -> int:
    """Return how many blocks make a segment: the square root of the depth, 1 for a few blocks."""
    return math.isqrt(blocks) if blocks > FEW_BLOCKS else 1


class HasSegments(nn.Module):
    """A module with a stack of blocks that can run again in segments.

    Attributes
    ----------
    gradient_checkpointing : bool
        Whether blocks are run again; transformers sets it, on the blocks as well.
    segment : int or None
        Blocks in a segment; None: :func:`default_segment`.
    """

    gradient_checkpointing = False
    segment: int | None = None
    _gradient_checkpointing_func: Callable[..., Any] = staticmethod(checkpoint)

    def segments(self, blocks: Iterable[nn.Module]) -> Iterator[Sequence[nn.Module]]:
        """Cut a stack into the stretches that :meth:`run_segment` is to be given."""
        blocks = list(blocks)
        size = len(blocks)
        if self.gradient_checkpointing and self.training:
            size = self.segment or default_segment(len(blocks))
        for first in range(0, len(blocks), max(1, size)):
            yield blocks[first : first + size]

    def run_segment(
        self,
        run: Callable[..., tuple[Any, ...]],
        blocks: Sequence[nn.Module],
        *inputs: Any,
    ) -> tuple[Any, ...]:
        """Return ``run(blocks, *inputs)``, of which no more than the inputs is kept.

        A single block sees to that itself.
        """
        function = functools.partial(run, blocks)
        if self.gradient_checkpointing and self.training and len(blocks) > 1:
            return self._gradient_checkpointing_func(function, *inputs)
        return function(*inputs)


class SegmentedModel(PreTrainedModel):
    """A model of transformers whose gradient checkpointing takes ``segment``.

    ``model.gradient_checkpointing_enable({"use_reentrant": False, "segment": 4})``; without it, or
    with None, a segment has the default length.
    """

    def _set_gradient_checkpointing(  # type: ignore[override]
        self,
        enable: bool = True,
        gradient_checkpointing_func: Callable[..., Any] = checkpoint,
        **options: Any,
    ) -> None:
        given = dict(getattr(gradient_checkpointing_func, "keywords", {}))
        segment = given.pop("segment", None)
        if segment is not None and (not isinstance(segment, int) or segment < 1):
            raise ValueError(f"segment must be a number of blocks, at least 1, got {segment!r}.")
        if isinstance(gradient_checkpointing_func, functools.partial):
            gradient_checkpointing_func = functools.partial(
                gradient_checkpointing_func.func, **given
            )
        super()._set_gradient_checkpointing(enable, gradient_checkpointing_func, **options)
        for module in self.modules():
            if isinstance(module, HasSegments):
                module.segment = segment
