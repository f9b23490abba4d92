"""The mechanism: attention whose maps evolve from layer to layer."""

from evolving_attention.attention.backends import attention_backend
from evolving_attention.attention.functional import (
    evolve_map,
    evolving_attention,
    explain_backend,
    normalize_map,
    probabilities,
)
from evolving_attention.attention.incremental import (
    append_rows,
    evolving_attention_rows,
    last_mixed_rows,
)
from evolving_attention.attention.masks import causal_mask, padding_mask
from evolving_attention.attention.modules import (
    EvolvingAttention,
    MultiHeadCrossAttention,
    MultiHeadSelfAttention,
)
from evolving_attention.attention.overwriting import overwriting_maps
from evolving_attention.attention.relative_position import (
    RelativePositionLogits1d,
    RelativePositionLogits2d,
    resize_distances,
)

__all__ = [
    "EvolvingAttention",
    "MultiHeadCrossAttention",
    "MultiHeadSelfAttention",
    "RelativePositionLogits1d",
    "RelativePositionLogits2d",
    "append_rows",
    "attention_backend",
    "causal_mask",
    "evolve_map",
    "evolving_attention",
    "evolving_attention_rows",
    "explain_backend",
    "last_mixed_rows",
    "normalize_map",
    "overwriting_maps",
    "padding_mask",
    "probabilities",
    "resize_distances",
]
