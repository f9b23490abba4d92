"""The networks of the papers; importing this registers them with the Auto classes."""

from evolving_attention.models.augmented_convolution import AugmentedConv1d, AugmentedConv2d
from evolving_attention.models.ea_aa_resnet import (
    EAAAResNetConfig,
    EAAAResNetForImageClassification,
    EAAAResNetModel,
)
from evolving_attention.models.ea_dc_transformer import (
    EADCTransformerConfig,
    EADCTransformerForClassification,
    EADCTransformerForRegression,
    EADCTransformerModel,
)
from evolving_attention.models.ea_dc_transformer_pretraining import EADCTransformerForPretraining

__all__ = [
    "AugmentedConv1d",
    "AugmentedConv2d",
    "EAAAResNetConfig",
    "EAAAResNetForImageClassification",
    "EAAAResNetModel",
    "EADCTransformerConfig",
    "EADCTransformerForClassification",
    "EADCTransformerForPretraining",
    "EADCTransformerForRegression",
    "EADCTransformerModel",
]
