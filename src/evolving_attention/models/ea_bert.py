"""EA-BERT: BERT whose attention maps evolve from layer to layer.

Source: Wang et al., "Evolving Attention with Residual Convolutions" (ICML 2021). The papers evolve
every self-attention layer of a pretrained BERT, start the convolutions at random and fine-tune all.
"""

from huggingface_hub.dataclasses import strict
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
)

from evolving_attention.models.huggingface import EvolvingConfigMixin, EvolvingMixin

__all__ = [
    "EABertConfig",
    "EABertForMaskedLM",
    "EABertForQuestionAnswering",
    "EABertForSequenceClassification",
    "EABertForTokenClassification",
    "EABertModel",
]


@strict
class EABertConfig(EvolvingConfigMixin, BertConfig):
    """Options of BERT, and of its evolution: see :class:`EvolutionOptions`."""

    model_type = "ea_bert"


class EABertModel(EvolvingMixin, BertModel):
    """BERT with evolving attention, without a head."""

    config_class = EABertConfig


class EABertForSequenceClassification(EvolvingMixin, BertForSequenceClassification):
    """EA-BERT that sorts texts, and pairs of texts, into classes, or gives them a number."""

    config_class = EABertConfig


class EABertForMaskedLM(EvolvingMixin, BertForMaskedLM):
    """EA-BERT that fills in masked words."""

    config_class = EABertConfig


class EABertForTokenClassification(EvolvingMixin, BertForTokenClassification):
    """EA-BERT that sorts words into classes."""

    config_class = EABertConfig


class EABertForQuestionAnswering(EvolvingMixin, BertForQuestionAnswering):
    """EA-BERT that finds the answer to a question in a text."""

    config_class = EABertConfig


AutoConfig.register(EABertConfig.model_type, EABertConfig)
AutoModel.register(EABertConfig, EABertModel)
AutoModelForSequenceClassification.register(EABertConfig, EABertForSequenceClassification)
AutoModelForMaskedLM.register(EABertConfig, EABertForMaskedLM)
AutoModelForTokenClassification.register(EABertConfig, EABertForTokenClassification)
AutoModelForQuestionAnswering.register(EABertConfig, EABertForQuestionAnswering)
