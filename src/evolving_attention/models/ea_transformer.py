"""EA-Transformer: the encoder and decoder of translation, with evolving attention.

Encoder self-attention, decoder self-attention and cross-attention are chains of their own; in the
decoder a convolution looks back only, so decoding goes step by step from a cache.

Source: Wang et al., "Evolving Attention with Residual Convolutions" (ICML 2021); the network itself
is that of Vaswani et al., "Attention Is All You Need" (2017), in transformers' parts for Marian:
sinusoidal positions, norms after the residuals, one table of embeddings for encoder, decoder and
output.
"""

from dataclasses import dataclass
from functools import wraps
from inspect import signature
from typing import Any, Self

from huggingface_hub.dataclasses import strict
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSeq2SeqLM,
    MarianConfig,
    MarianModel,
    MarianMTModel,
)

from evolving_attention.models.huggingface import EvolvingConfigMixin, EvolvingMixin

__all__ = [
    "PRESETS",
    "EATransformerConfig",
    "EATransformerForConditionalGeneration",
    "EATransformerModel",
]


@dataclass(frozen=True)
class _Size:
    d_model: int
    ffn_dim: int
    heads: int
    layers: int
    dropout: float


#: Sizes by name. "base" and "big" are those of Vaswani et al.; "lite" has about 2.5 million
#: parameters beside the embeddings, as the papers', its proportions are ours; "small" is for some
#: ten thousands of sentences, "tiny" for tests.
PRESETS: dict[str, _Size] = {
    "tiny": _Size(32, 64, 2, 3, 0.1),
    "small": _Size(256, 512, 4, 3, 0.1),
    "lite": _Size(160, 160, 4, 6, 0.1),
    "base": _Size(512, 2048, 8, 6, 0.1),
    "big": _Size(1024, 4096, 16, 6, 0.3),
}

_PART_SIZES = ("layers", "attention_heads", "ffn_dim")


@strict
class EATransformerConfig(EvolvingConfigMixin, MarianConfig):
    """Options of the network, those of Marian, and of its evolution: see :class:`EvolutionOptions`.

    The defaults are the size ``"lite"`` and the papers' evolution; :meth:`preset` makes others.

    Parameters
    ----------
    init_std : float, optional
        Spread of the weights at the start. Default: ``d_model ** -0.5``, with which embeddings have
        variance 1 after they are scaled, and projections that of Glorot and Bengio.

    Raises
    ------
    ValueError
        Options contradict each other.
    """

    model_type = "ea_transformer"

    alpha: float | int = 0.1
    beta: float | int = 0.1
    vocab_size: int = 10000
    d_model: int = 160
    encoder_layers: int = 6
    decoder_layers: int = 6
    encoder_ffn_dim: int = 160
    decoder_ffn_dim: int = 160
    encoder_attention_heads: int = 4
    decoder_attention_heads: int = 4
    activation_function: str = "relu"
    scale_embedding: bool = True
    init_std: float | None = None  # type: ignore[assignment]
    pad_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 1
    decoder_start_token_id: int = 1
    forced_eos_token_id: int | list[int] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        """Check the sizes, and fill in what follows from them."""
        self._check_sizes()
        if self.init_std is None:
            self.init_std = self.d_model**-0.5
        super().__post_init__(**kwargs)

    def _check_sizes(self) -> None:
        parts = [f"{part}_{what}" for part in ("encoder", "decoder") for what in _PART_SIZES]
        for name in ("d_model", *parts):
            if (size := getattr(self, name)) < 1:
                raise ValueError(f"{name} must be at least 1, got {size}.")
        for name in ("encoder_attention_heads", "decoder_attention_heads"):
            if self.d_model % (heads := getattr(self, name)):
                raise ValueError(
                    f"d_model must be a multiple of {name}, got {self.d_model} and {heads}."
                )
        for name in ("dropout", "attention_dropout", "activation_dropout"):
            if not 0 <= (share := getattr(self, name)) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {share}.")

    @classmethod
    def preset(cls, name: str, **options: Any) -> Self:
        """Return the configuration of a size of :data:`PRESETS`.

        Parameters
        ----------
        name : {"tiny", "small", "lite", "base", "big"}
            The size.
        **options
            Other options, which may be those of the size too.

        Examples
        --------
        >>> config = EATransformerConfig.preset("base", vocab_size=32000, alpha=0.2)
        >>> config.d_model, config.encoder_layers, config.alpha
        (512, 6, 0.2)
        """
        if name not in PRESETS:
            raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {name!r}.")
        size = PRESETS[name]
        own: dict[str, Any] = {"d_model": size.d_model, "dropout": size.dropout}
        for part in ("encoder", "decoder"):
            own[f"{part}_layers"] = size.layers
            own[f"{part}_ffn_dim"] = size.ffn_dim
            own[f"{part}_attention_heads"] = size.heads
        return cls(**own | options)


#: Of the forward pass, in their order.
_ARGUMENTS = tuple(signature(MarianMTModel.forward).parameters)[1:]


class EATransformerModel(EvolvingMixin, MarianModel):
    """Encoder and decoder with evolving attention, without a head."""

    config_class = EATransformerConfig


class EATransformerForConditionalGeneration(EvolvingMixin, MarianMTModel):
    """EA-Transformer that writes a text, given a text.

    Examples
    --------
    >>> import torch
    >>> config = EATransformerConfig.preset("tiny", vocab_size=50)
    >>> model = EATransformerForConditionalGeneration(config).eval()
    >>> source = torch.tensor([[5, 6, 7, 1], [8, 9, 1, 0]])
    >>> written = model.generate(
    ...     source, attention_mask=source != 0, num_beams=2, max_new_tokens=5
    ... )
    >>> written.shape[0]
    2
    """

    config_class = EATransformerConfig

    #: Share of the target that is spread evenly over the vocabulary while the network trains; it
    #: belongs to the training and is not saved with the network.
    label_smoothing: float = 0.0

    @wraps(MarianMTModel.forward)  # whose arguments others look up
    def forward(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """Return logits and, with labels, the loss: a mean over tokens, padding left out."""
        kwargs |= zip(_ARGUMENTS, args, strict=False)  # seldom all of them
        labels = kwargs.get("labels")
        if labels is None or not (self.training and self.label_smoothing):
            return super().forward(**kwargs)
        kwargs |= {"labels": None, "use_cache": False}
        if all(kwargs.get(name) is None for name in ("decoder_input_ids", "decoder_inputs_embeds")):
            kwargs["decoder_input_ids"] = self.prepare_decoder_input_ids_from_labels(labels)
        output = super().forward(**kwargs)
        logits_BNV = output[0]
        loss = cross_entropy(
            logits_BNV.flatten(0, 1), labels.flatten(), label_smoothing=self.label_smoothing
        )
        if isinstance(output, tuple):
            return loss, *output
        return type(output)(**{**output, "loss": loss})

    def loss_weight(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the tokens that a batch's loss is the mean of."""
        return (batch["labels"] != -100).sum()


AutoConfig.register(EATransformerConfig.model_type, EATransformerConfig)
AutoModel.register(EATransformerConfig, EATransformerModel)
AutoModelForSeq2SeqLM.register(EATransformerConfig, EATransformerForConditionalGeneration)
