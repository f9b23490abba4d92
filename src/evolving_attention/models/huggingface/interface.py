"""The attention function and the mask function that transformers calls, under ``"evolving"``.

Shape letters: B batch, H heads, N queries, M keys, E and V head widths.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv
from transformers.masking_utils import sdpa_mask

from evolving_attention.attention import (
    EvolvingAttention,
    causal_mask,
    evolving_attention,
    probabilities,
)
from evolving_attention.models.huggingface.frames import IMPLEMENTATION, Frame, Link, frame_of
from evolving_attention.models.huggingface.rows import ChainRows, RowsLayer

__all__ = ["LayerEvolution", "evolving_attention_forward", "evolving_mask"]

#: Additive masks forbid with a large negative number: the smallest of their type, or -10000.
_FORBIDDEN = -1e4

#: What an attention function may be given that would change its logits in ways not supported here.
_UNSUPPORTED = {
    "softcap": "a soft cap of the logits",
    "s_aux": "attention sinks",
    "head_mask": "a mask of heads",
    "cache": "a paged cache",
}


_WRONG_DIRECTION = (
    "this model was evolved as an encoder and cannot attend causally: its convolutions see later "
    "positions."
)


class LayerEvolution(EvolvingAttention):
    """The evolution of one attention layer of a model of transformers, and its place in a chain.

    Parameters
    ----------
    num_heads : int
        H.
    link : Link
        The layer's place.
    **options
        Of :class:`~evolving_attention.attention.EvolvingAttention`.
    """

    def __init__(self, num_heads: int, link: Link, **options: Any) -> None:
        super().__init__(num_heads, **options)
        self.link = link
        # It initialises itself: the generic initialisation of transformers shall pass it over.
        for module in self.modules():
            module._is_hf_initialized = True  # type: ignore[assignment]

    def forward(  # type: ignore[override]
        self,
        query_BHNE: Tensor,
        key_BHME: Tensor,
        value_BHMV: Tensor,
        previous_map: Tensor | None = None,
        *,
        rows: ChainRows | None = None,
        dropout: float | None = None,
        **options: Any,
    ) -> tuple[Tensor, Tensor]:
        """Return output and map, as the class above; with ``rows`` go on from those, and keep more.

        What starts a sequence is a full pass, whose last rows are made once more.
        """
        arguments = (query_BHNE, key_BHME, value_BHMV, previous_map)
        if rows is not None and rows.mixed is not None:
            output_BHNV, map_BHNM, mixed_BHNM = self.forward_rows(
                *arguments, rows_before=rows.mixed, dropout=dropout, **options
            )
            rows.append(mixed_BHNM, query_BHNE.shape[-2])
            return output_BHNV, map_BHNM
        if rows is not None:
            mixed_BHNM = self.last_mixed_rows(
                query_BHNE, key_BHME, previous_map, count=rows.keep, **options
            )
            rows.append(mixed_BHNM, query_BHNE.shape[-2])
        return super().forward(*arguments, dropout=dropout, **options)

    @property
    def evolves(self) -> bool:
        """Whether this layer does more than attend."""
        return self.convolution is not None or isinstance(self.alpha, Tensor) or self.alpha > 0

    @property
    def needs_rows(self) -> bool:
        """Whether a step of decoding reads rows of the steps before."""
        return self.window != "bidirectional" and self.reach > 0


def evolving_mask(*args: Any, **kwargs: Any) -> Tensor | None:
    """Make the boolean mask ``[B, 1, N, M]``; a causal mask is always made, never implied."""
    kwargs["allow_is_causal_skip"] = False
    return sdpa_mask(*args, **kwargs)


def evolving_attention_forward(
    module: nn.Module,
    query_BHNE: Tensor,
    key_BHME: Tensor,
    value_BHMV: Tensor,
    attention_mask: Tensor | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    position_bias: Tensor | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attend with the evolution of ``module``: what transformers calls in every layer.

    Returns
    -------
    output : Tensor of shape [B, N, H, V]
    probabilities : Tensor of shape [B, H, N, M], optional
        When asked for with ``output_attentions``.
    """
    for name, what in _UNSUPPORTED.items():
        if kwargs.get(name) is not None:
            raise ValueError(
                f"{type(module).__name__} attends with {what} ({name}), which evolving attention "
                "does not support."
            )
    groups = getattr(module, "num_key_value_groups", 1)
    key_BHME, value_BHMV = repeat_kv(key_BHME, groups), repeat_kv(value_BHMV, groups)
    N, M = query_BHNE.shape[2], key_BHME.shape[2]
    evolution = getattr(module, "evolution", None)
    place = evolution if isinstance(evolution, LayerEvolution) else None  # None: no chain
    mask, map_bias = _read_mask(attention_mask, position_bias)
    if mask is None and _looks_back(module, place, is_causal):
        mask = causal_mask(N, M, query_BHNE.device)
    options: dict[str, Any] = {"map_bias": map_bias, "scale": scaling, "dropout": dropout}
    if place is None:
        output_BHNV, map_BHNM = evolving_attention(
            query_BHNE, key_BHME, value_BHMV, mask=mask, training=module.training, **options
        )
    else:
        frame = frame_of(place.link.stack)
        rows = _rows(module, place, frame, N)
        _check_lengths(place, rows, N, M, is_causal)
        mask = _mask_queries(mask, frame, place.window, N, M)
        _check_direction(place, mask)
        previous_map = frame.previous_map(place.link, query_BHNE.device)
        arguments = (query_BHNE, key_BHME, value_BHMV, previous_map)
        output_BHNV, map_BHNM = place(*arguments, mask=mask, rows=rows, **options)
        frame.hand_on(place.link, map_BHNM)
    weights = probabilities(map_BHNM, mask) if _wants_weights(kwargs) else None
    return output_BHNV.transpose(1, 2).contiguous(), weights


def _looks_back(module: nn.Module, place: LayerEvolution | None, is_causal: bool | None) -> bool:
    """Tell whether no mask means a causal one."""
    if place is not None and place.window == "cross":
        return False
    if is_causal is not None:
        return is_causal
    return place.window == "causal" if place else bool(getattr(module, "is_causal", True))


def _read_mask(
    attention_mask: Tensor | None, position_bias: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """Return the boolean mask and what is added to the logits."""
    if attention_mask is None:
        return None, position_bias
    if attention_mask.dim() != 4:
        raise ValueError(
            "evolving attention takes masks of the shape [B, 1 or H, N, M], got "
            f"{list(attention_mask.shape)}."
        )
    if attention_mask.dtype is torch.bool:
        return attention_mask, position_bias
    allowed = attention_mask > _FORBIDDEN
    bias = attention_mask.masked_fill(~allowed, 0.0)
    return allowed, bias if position_bias is None else position_bias + bias


def _rows(
    module: nn.Module, place: LayerEvolution, frame: Frame, num_queries: int
) -> ChainRows | None:
    """Return the rows that a layer keeps, if it needs any and decoding goes step by step."""
    if frame.cache is None or not place.needs_rows:
        return None
    index = getattr(module, "layer_idx", None)
    if not isinstance(index, int):
        raise ValueError(
            f"{type(module).__name__} does not tell which layer of a cache is its own; pass "
            "use_cache=False."
        )
    layer: RowsLayer = frame.cache.layers[index]  # type: ignore[assignment]
    return layer.rows_of(place.link.chain, place.reach, place.window == "causal", num_queries)


def _check_lengths(
    evolution: LayerEvolution,
    rows: ChainRows | None,
    num_queries: int,
    num_keys: int,
    is_causal: bool | None,
) -> None:
    if not evolution.link.hands_on and not evolution.evolves:
        return
    misses_rows = evolution.needs_rows and rows is None
    if evolution.window == "causal" and misses_rows and num_queries != num_keys:
        raise ValueError(
            f"evolving attention cannot continue from cached keys ({num_queries} queries, "
            f"{num_keys} keys) without the rows of the maps before; pass the cache itself."
        )
    if evolution.window == "bidirectional" and is_causal:
        raise ValueError(_WRONG_DIRECTION)


def _check_direction(evolution: LayerEvolution, mask: Tensor | None) -> None:
    """Refuse a causal mask where the window is not causal, by the first mask that can tell.

    Whether a layer looks back only is read off its module, which might be wrong for a model that
    we do not know; then a convolution would silently leak what comes later.
    """
    stack = evolution.link.stack
    if stack.is_checked or mask is None or torch.compiler.is_compiling():
        return
    if evolution.window == "bidirectional" and evolution.evolves and mask.tril(-1).any():
        if not mask.triu(1).any():
            raise ValueError(_WRONG_DIRECTION)
        stack.is_checked = True


def _mask_queries(
    mask: Tensor | None, frame: Frame, window: str, num_queries: int, num_keys: int
) -> Tensor | None:
    """Mask the rows of padded queries too: a convolution over the map would read them.

    In self-attention a query is a key as well, and one that nobody attends to is padding.
    """
    if window != "cross":
        if mask is None:
            return None
        frame.query_mask = mask.any(-2)
        if num_queries != num_keys:  # the queries are the last of the keys
            frame.query_mask = frame.query_mask[..., num_keys - num_queries :]
        return mask & frame.query_mask[..., None]
    if frame.query_mask is None:
        return mask
    rows = frame.query_mask[..., None]
    return rows.expand(*rows.shape[:-1], num_keys) if mask is None else mask & rows


def _wants_weights(kwargs: dict[str, Any]) -> bool:
    """Tell whether the model will return attention probabilities, which cost another softmax."""
    if kwargs.get("output_attentions") or _active_collector is None:
        return True
    if torch.compiler.is_compiling():  # cannot look, and drops what is not used
        return True
    collected = _active_collector.get()
    return collected is not None and any("attentions" in key for key in collected)


try:  # what hooks are about to collect; private, so its absence must not matter
    from transformers.utils.output_capturing import _active_collector
except ImportError:
    _active_collector = None  # type: ignore[assignment]

AttentionInterface.register(IMPLEMENTATION, evolving_attention_forward)
AttentionMaskInterface.register(IMPLEMENTATION, evolving_mask)
