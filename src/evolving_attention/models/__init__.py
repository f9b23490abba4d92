"""The networks of the papers; importing this registers them with the Auto classes."""

from evolving_attention.models.augmented_convolution import AugmentedConv1d
from evolving_attention.models.ea_bert import (
    EABertConfig,
    EABertForMaskedLM,
    EABertForQuestionAnswering,
    EABertForSequenceClassification,
    EABertForTokenClassification,
    EABertModel,
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
    "EABertConfig",
    "EABertForMaskedLM",
    "EABertForQuestionAnswering",
    "EABertForSequenceClassification",
    "EABertForTokenClassification",
    "EABertModel",
    "EADCTransformerConfig",
    "EADCTransformerForClassification",
    "EADCTransformerForPretraining",
    "EADCTransformerForRegression",
    "EADCTransformerModel",
]
