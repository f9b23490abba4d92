"""EA-T5: T5 whose attention maps evolve from layer to layer.

Encoder self-attention, decoder self-attention and cross-attention are chains of their own; in the
decoder a convolution looks back only.

Source: Wang et al., "Evolving Attention with Residual Convolutions" (ICML 2021).
"""

from huggingface_hub.dataclasses import strict
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTextEncoding,
    AutoModelForTokenClassification,
    T5Config,
    T5EncoderModel,
    T5ForConditionalGeneration,
    T5ForSequenceClassification,
    T5ForTokenClassification,
    T5Model,
)

from evolving_attention.models.huggingface import EvolvingConfigMixin, EvolvingMixin

__all__ = [
    "EAT5Config",
    "EAT5EncoderModel",
    "EAT5ForConditionalGeneration",
    "EAT5ForSequenceClassification",
    "EAT5ForTokenClassification",
    "EAT5Model",
]


@strict
class EAT5Config(EvolvingConfigMixin, T5Config):
    """Options of T5, and of its evolution: see :class:`EvolutionOptions`."""

    model_type = "ea_t5"


class EAT5Model(EvolvingMixin, T5Model):
    """T5, encoder and decoder, with evolving attention, without a head."""

    config_class = EAT5Config


class EAT5EncoderModel(EvolvingMixin, T5EncoderModel):
    """The encoder of T5 with evolving attention."""

    config_class = EAT5Config


class EAT5ForConditionalGeneration(EvolvingMixin, T5ForConditionalGeneration):
    """EA-T5 that writes a text, given a text."""

    config_class = EAT5Config


class EAT5ForSequenceClassification(EvolvingMixin, T5ForSequenceClassification):
    """EA-T5 that sorts texts, and pairs of texts, into classes, or gives them a number."""

    config_class = EAT5Config


class EAT5ForTokenClassification(EvolvingMixin, T5ForTokenClassification):
    """The encoder of EA-T5 that sorts words into classes."""

    config_class = EAT5Config


AutoConfig.register(EAT5Config.model_type, EAT5Config)
AutoModel.register(EAT5Config, EAT5Model)
AutoModelForTextEncoding.register(EAT5Config, EAT5EncoderModel)
AutoModelForSeq2SeqLM.register(EAT5Config, EAT5ForConditionalGeneration)
AutoModelForSequenceClassification.register(EAT5Config, EAT5ForSequenceClassification)
AutoModelForTokenClassification.register(EAT5Config, EAT5ForTokenClassification)
