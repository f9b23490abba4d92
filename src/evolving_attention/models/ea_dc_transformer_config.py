"""Configuration of the EA-DC-Transformer: sizes, evolution, and every ablation of the papers.

Shape letters: T steps of the series, F input features (its channels), N positions after the stem, D
model width, H heads.
"""

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from evolving_attention.attention.checks import check_choice
from evolving_attention.models.augmented_convolution import attention_channels, check_ratios
from evolving_attention.models.evolving_config import HasEvolution
from evolving_attention.models.pooling import POOLINGS

__all__ = ["EADCTransformerConfig"]


@strict
class EADCTransformerConfig(HasEvolution, PreTrainedConfig):
    """Configuration of an EA-DC-Transformer.

    Parameters
    ----------
    input_size : int
        F, channels of the series.
    max_length : int
        T, steps of the longest series with positions of its own. Longer series share the last
        position, except with the ``flatten`` head, which cannot take them.
    patch_size : int
        Steps in a position: the strided stem that keeps N low for long series. 1: none, as the
        papers.
    hidden_size : int
        D.
    intermediate_size : int
        Width inside the feed-forward networks.
    num_blocks : int
        Blocks of two augmented convolutions each; block b has dilation 2^b.
    num_attention_heads : int
        H.
    key_ratio, value_ratio : float in [0, 1]
        The papers' k and v: key and value channels as shares of D. Both 0: the pure dilated
        convolution. Both 1: attention alone.
    kernel_size : int
        Of the convolutions over steps.
    dilated : bool
        False: dilation 1 everywhere.
    alpha, beta : float in [0, 1]
        Share of the previous map and of the convolved map; both 0 is the twin (see :meth:`twin`).
    map_kernel_size : int, odd
        Kernel of the convolution over maps.
    map_activation : {"relu", "leaky_relu", "identity"}
        Applied to the convolved map.
    learned_mixing : bool
        Learn alpha and beta in every layer.
    map_initialization : {"random", "identity"}
        See :class:`~evolving_attention.attention.EvolvingAttention`.
    normalize_maps : bool
        Mix with the previous map after every row of it got mean 0 and variance 1, so that it
        cannot fade along the chain. The papers do not.
    evolve_first_block : bool
        Evolve between the two augmented convolutions of the first block too.
    hidden_dropout, attention_dropout : float in [0, 1)
        Dropout of hidden states and of attention probabilities.
    branch_dropout : float in [0, 1)
        Chance that a series goes without a layer's attention branch in a step of training.
    pooling : {"flatten", "mean", "max", "attention"}
        How the head reads the positions: all of them, laid out side by side as in the papers, or
        pooled over the real ones.
    class_weights : list of float, optional
        Weight of each class in the loss.
    label_smoothing : float in [0, 1)
        Of the classification loss.
    """

    model_type = "ea_dc_transformer"
    attribute_map = {"num_hidden_layers": "num_blocks"}

    input_size: int = 1
    max_length: int = 512
    patch_size: int = 1
    hidden_size: int = 64
    intermediate_size: int = 128
    num_blocks: int = 4
    num_attention_heads: int = 4
    key_ratio: float | int = 0.25
    value_ratio: float | int = 0.25
    kernel_size: int = 3
    dilated: bool = True
    alpha: float | int = 0.5
    beta: float | int = 0.5
    map_kernel_size: int = 3
    map_activation: str = "relu"
    learned_mixing: bool = False
    map_initialization: str = "random"
    normalize_maps: bool = True
    evolve_first_block: bool = True
    hidden_dropout: float | int = 0.1
    attention_dropout: float | int = 0.0
    branch_dropout: float | int = 0.3
    pooling: str = "mean"
    class_weights: list[float | int] | None = None
    label_smoothing: float | int = 0.0

    def __post_init__(self, **kwargs: Any) -> None:
        """Check every option; raise ``ValueError`` in one sentence."""
        super().__post_init__(**kwargs)
        sizes = (
            "input_size",
            "max_length",
            "patch_size",
            "hidden_size",
            "intermediate_size",
            "num_blocks",
        )
        for name in (*sizes, "num_attention_heads", "kernel_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("hidden_dropout", "attention_dropout", "branch_dropout", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}.")
        check_choice("pooling", self.pooling, POOLINGS)
        self.check_evolution()
        for name in ("key_ratio", "value_ratio"):
            attention_channels(
                self.hidden_size, getattr(self, name), self.num_attention_heads, name
            )
        check_ratios(self.key_ratio, self.value_ratio)
        if self.class_weights is not None and len(self.class_weights) != self.num_labels:
            raise ValueError(
                f"class_weights must be as many as the {self.num_labels} classes, got "
                f"{len(self.class_weights)}."
            )

    @property
    def max_positions(self) -> int:
        """N of the longest series: patches in ``max_length`` steps."""
        return -(-self.max_length // self.patch_size)
