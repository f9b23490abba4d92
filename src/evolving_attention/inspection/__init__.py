"""Looking into networks: pictures and measures of their maps, and of their embeddings."""

from evolving_attention.inspection.chain import Chain
from evolving_attention.inspection.curves import draw_profile, draw_quality
from evolving_attention.inspection.embedding import draw_embedding
from evolving_attention.inspection.kernel_pictures import draw_kernels
from evolving_attention.inspection.kernels import Kernel, kernel_table, kernels_of
from evolving_attention.inspection.maps import chain_of_maps, chain_of_series
from evolving_attention.inspection.pictures import draw_chain
from evolving_attention.inspection.profiles import MEASURES, profile, summary
from evolving_attention.inspection.quality import map_quality
from evolving_attention.inspection.query_pictures import draw_query
from evolving_attention.inspection.report import report
from evolving_attention.inspection.steps import Steps, recorded_steps
from evolving_attention.inspection.views import VIEWS, View, ViewOptions, view

__all__ = [
    "MEASURES",
    "VIEWS",
    "Chain",
    "Kernel",
    "Steps",
    "View",
    "ViewOptions",
    "chain_of_maps",
    "chain_of_series",
    "draw_chain",
    "draw_embedding",
    "draw_kernels",
    "draw_profile",
    "draw_quality",
    "draw_query",
    "kernel_table",
    "kernels_of",
    "map_quality",
    "profile",
    "recorded_steps",
    "report",
    "summary",
    "view",
]
