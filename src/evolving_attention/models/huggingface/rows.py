"""Mixed rows beside cached keys and values, for decoding step by step.

A layer whose window looks back needs the last rows of its mixed map. They are kept in the layers of
transformers' own cache, so that they are reordered with the beams, repeated, selected, cropped
and reset together with the keys. Any cache of plain ``DynamicLayer`` is made to keep rows, wherever
it comes from: generation, the model itself, or the user.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache, EncoderDecoderCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer

from evolving_attention.attention import append_rows
from evolving_attention.models.huggingface.frames import Stack, frame_of

__all__ = ["ChainRows", "FindCache", "RowsLayer", "can_keep_rows", "keep_rows_in"]


@dataclass
class ChainRows:
    """The mixed rows that one layer keeps of one chain.

    Attributes
    ----------
    reach : int
        How many rows a step reads.
    grows : bool
        Whether a row has a key for every token: self-attention.
    mixed : Tensor of shape [B, H, R, M], optional
        The last rows.
    seen : int
        How many tokens there were so far.
    keep : int, optional
        How many rows are kept; None: all.
    """

    reach: int
    grows: bool
    mixed: Tensor | None = None
    seen: int = 0
    keep: int | None = None

    def append(self, mixed_BHNM: Tensor, num_queries: int) -> None:
        """Keep new rows: the last of so many queries."""
        self.mixed = append_rows(self.mixed, mixed_BHNM, self.keep)
        self.seen += num_queries

    def select(self, batch: Tensor) -> None:
        """Keep the rows of some sequences, by number."""
        if self.mixed is not None:
            self.mixed = self.mixed.index_select(0, batch.to(self.mixed.device))

    def crop(self, removed: int) -> None:
        """Remove the last tokens, and rows that no step needs."""
        assert self.mixed is not None
        held = self.mixed.shape[-2] - removed
        if removed and held < min(self.reach, self.seen - removed):
            raise RuntimeError(
                f"{removed} tokens cannot be removed from this cache: of the maps before only the "
                "rows needed to go on are kept; call activate_past_recording() on the cache after "
                "its first forward pass."
            )
        first = max(held - self.reach, 0)
        width = self.mixed.shape[-1] - (removed if self.grows else 0)
        self.mixed = self.mixed[..., first:held, :width].clone()
        self.seen -= removed


class RowsLayer(DynamicLayer):
    """A layer of a cache that keeps the last mixed rows of its chains, beside keys and values.

    One of a decoder keeps the rows of its self-attention and of its cross-attention.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rows: dict[str, ChainRows] = {}
        self.record_past = False

    @classmethod
    def of(cls, layer: Any) -> "RowsLayer":
        """Return the layer, with room for rows; raise ``ValueError`` where that cannot be."""
        if isinstance(layer, cls):
            return layer
        if type(layer) is not DynamicLayer:
            raise ValueError(
                "evolving attention keeps rows of maps in a DynamicCache, got layers of "
                f"{type(layer).__name__}; pass no other and no cache_implementation, or "
                "use_cache=False."
            )
        made = cls()
        made.__dict__.update(layer.__dict__)
        return made

    def rows_of(self, chain: str, reach: int, grows: bool, num_queries: int) -> ChainRows:
        """Return the rows of a chain before the queries that come now.

        Raises
        ------
        ValueError
            The cache holds tokens whose rows it does not have.
        """
        rows = self.rows.setdefault(chain, ChainRows(reach, grows))
        if rows.seen + num_queries != (length := self.get_seq_length()):
            raise ValueError(
                f"this cache holds the keys of {length - num_queries} tokens and the rows of maps "
                f"of {rows.seen}: it was filled without evolution; start with an empty one."
            )
        rows.keep = None if self.record_past else reach
        return rows

    def activate_past_recording(self) -> None:
        """Keep all rows until :meth:`crop` is called, which may then go back as far."""
        self.record_past = True

    def crop(self, tokens_to_remove: int) -> None:
        """Remove the last tokens (a negative number), and rows that no step needs."""
        super().crop(tokens_to_remove)
        for rows in self.rows.values():
            rows.crop(-tokens_to_remove)

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self.rows.clear()

    def reorder_cache(self, beam_idx: Tensor) -> None:  # type: ignore[override]
        """Follow the beams."""
        super().reorder_cache(beam_idx)  # type: ignore[arg-type]
        self.batch_select_rows(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every sequence of the batch."""
        length = 0 if self.keys is None else self.keys.shape[0]
        super().batch_repeat_interleave(repeats)
        self.batch_select_rows(torch.arange(length).repeat_interleave(repeats))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some sequences of the batch, by number or by a boolean mask."""
        super().batch_select_indices(indices)
        self.batch_select_rows(indices.nonzero()[:, 0] if indices.dtype is torch.bool else indices)

    def batch_select_rows(self, batch: Tensor) -> None:
        """Keep the rows of some sequences, by number."""
        for rows in self.rows.values():
            rows.select(batch)


def keep_rows_in(cache: Cache) -> Cache:
    """Give a cache room for rows, in place; return the part of it that counts decoded tokens.

    Raises
    ------
    ValueError
        Its layers cannot keep rows.
    """
    decoded = cache.self_attention_cache if isinstance(cache, EncoderDecoderCache) else cache
    decoded.layers[:] = [RowsLayer.of(layer) for layer in decoded.layers]
    if decoded.layer_class_to_replicate is DynamicLayer:
        decoded.layer_class_to_replicate = RowsLayer
    return decoded


def can_keep_rows(config: PreTrainedConfig) -> bool:
    """Tell whether the cache of a model is one that can."""
    layers = DynamicCache(config=config.get_text_config(decoder=True)).layers
    return all(type(layer) is DynamicLayer for layer in layers)


class FindCache:
    """Forward pre-hook of an attention layer: shows the open frame the cache that it is given."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Find it among the arguments, whatever its name."""
        frame = frame_of(self.stack)
        given = (each for each in (*kwargs.values(), *args) if isinstance(each, Cache))
        cache = next(given, None)
        frame.cache = None if cache is None else keep_rows_in(cache)
