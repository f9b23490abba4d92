"""The networks of the papers; importing this registers them with the Auto classes."""

from evolving_attention.models.augmented_convolution import AugmentedConv1d, AugmentedConv2d
from evolving_attention.models.ea_aa_resnet import (
    EAAAResNetConfig,
    EAAAResNetForImageClassification,
    EAAAResNetModel,
)
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
from evolving_attention.models.ea_roberta import (
    EARobertaConfig,
    EARobertaForMaskedLM,
    EARobertaForQuestionAnswering,
    EARobertaForSequenceClassification,
    EARobertaForTokenClassification,
    EARobertaModel,
)
from evolving_attention.models.ea_t5 import (
    EAT5Config,
    EAT5EncoderModel,
    EAT5ForConditionalGeneration,
    EAT5ForSequenceClassification,
    EAT5ForTokenClassification,
    EAT5Model,
)
from evolving_attention.models.ea_transformer import (
    EATransformerConfig,
    EATransformerForConditionalGeneration,
    EATransformerModel,
)

__all__ = [
    "AugmentedConv1d",
    "AugmentedConv2d",
    "EAAAResNetConfig",
    "EAAAResNetForImageClassification",
    "EAAAResNetModel",
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
    "EARobertaConfig",
    "EARobertaForMaskedLM",
    "EARobertaForQuestionAnswering",
    "EARobertaForSequenceClassification",
    "EARobertaForTokenClassification",
    "EARobertaModel",
    "EAT5Config",
    "EAT5EncoderModel",
    "EAT5ForConditionalGeneration",
    "EAT5ForSequenceClassification",
    "EAT5ForTokenClassification",
    "EAT5Model",
    "EATransformerConfig",
    "EATransformerForConditionalGeneration",
    "EATransformerModel",
]
