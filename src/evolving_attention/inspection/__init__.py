"""Looking into networks: pictures and measures of their maps."""

from evolving_attention.inspection.maps import Chain, chain_of_maps
from evolving_attention.inspection.pictures import draw_chain

__all__ = ["Chain", "chain_of_maps", "draw_chain"]
