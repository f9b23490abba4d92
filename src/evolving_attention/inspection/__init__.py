"""Looking into networks: pictures of their maps and of their embeddings."""

from evolving_attention.inspection.embedding import draw_embedding
from evolving_attention.inspection.maps import Chain, chain_of_maps, chain_of_series
from evolving_attention.inspection.pictures import draw_chain

__all__ = ["Chain", "chain_of_maps", "chain_of_series", "draw_chain", "draw_embedding"]
