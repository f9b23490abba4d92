"""EA-RoBERTa: RoBERTa whose attention maps evolve from layer to layer.

Source: Wang et al., "Evolving Attention with Residual Convolutions" (ICML 2021).
"""

from huggingface_hub.dataclasses import strict
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaForQuestionAnswering,
    RobertaForSequenceClassification,
    RobertaForTokenClassification,
    RobertaModel,
)

from evolving_attention.models.huggingface import EvolvingConfigMixin, EvolvingMixin

__all__ = [
    "EARobertaConfig",
    "EARobertaForMaskedLM",
    "EARobertaForQuestionAnswering",
    "EARobertaForSequenceClassification",
    "EARobertaForTokenClassification",
    "EARobertaModel",
]


@strict
class EARobertaConfig(EvolvingConfigMixin, RobertaConfig):
    """Options of RoBERTa, and of its evolution: see :class:`EvolutionOptions`."""

    model_type = "ea_roberta"


class EARobertaModel(EvolvingMixin, RobertaModel):
    """RoBERTa with evolving attention, without a head."""

    config_class = EARobertaConfig


class EARobertaForSequenceClassification(EvolvingMixin, RobertaForSequenceClassification):
    """EA-RoBERTa that sorts texts, and pairs of texts, into classes, or gives them a number."""

    config_class = EARobertaConfig


class EARobertaForMaskedLM(EvolvingMixin, RobertaForMaskedLM):
    """EA-RoBERTa that fills in masked words."""

    config_class = EARobertaConfig


class EARobertaForTokenClassification(EvolvingMixin, RobertaForTokenClassification):
    """EA-RoBERTa that sorts words into classes."""

    config_class = EARobertaConfig


class EARobertaForQuestionAnswering(EvolvingMixin, RobertaForQuestionAnswering):
    """EA-RoBERTa that finds the answer to a question in a text."""

    config_class = EARobertaConfig


AutoConfig.register(EARobertaConfig.model_type, EARobertaConfig)
AutoModel.register(EARobertaConfig, EARobertaModel)
AutoModelForSequenceClassification.register(EARobertaConfig, EARobertaForSequenceClassification)
AutoModelForMaskedLM.register(EARobertaConfig, EARobertaForMaskedLM)
AutoModelForTokenClassification.register(EARobertaConfig, EARobertaForTokenClassification)
AutoModelForQuestionAnswering.register(EARobertaConfig, EARobertaForQuestionAnswering)
