"""The networks of the papers. Importing this package registers them with the Auto classes of transformers."""

from evolving_attention.models.augmented_convolution import AugmentedConv1d
from evolving_attention.models.ea_dc_transformer import (
    EADCTransformerConfig,
    EADCTransformerForClassification,
    EADCTransformerForRegression,
    EADCTransformerModel,
)

__all__ = [
    "AugmentedConv1d",
    "EADCTransformerConfig",
    "EADCTransformerForClassification",
    "EADCTransformerForRegression",
    "EADCTransformerModel",
]
