"""Configuration of the EA-AA-ResNet: sizes, evolution, the papers' variants and every ablation."""

import copy
from typing import Any, Self

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from evolving_attention.attention.checks import check_choice
from evolving_attention.models.augmented_convolution import attention_channels, check_ratios
from evolving_attention.models.evolving_config import HasEvolution

__all__ = ["VARIANTS", "EAAAResNetConfig"]

LAYER_TYPES = ("basic", "bottleneck")
STEMS = ("imagenet", "small")

#: Options in [0, 1).
_CHANCES = (
    "hidden_dropout",
    "attention_dropout",
    "branch_dropout",
    "drop_path_rate",
    "label_smoothing",
)

_BOTTLENECK_RATIO = 4  # output channels of a bottleneck block over those of its 3x3 convolution

#: Options of the named networks: the papers' four, one for 32x32 images and a tiny one.
VARIANTS: dict[str, dict[str, Any]] = {
    "34": {
        "layer_type": "basic",
        "depths": [3, 4, 6, 3],
        "hidden_sizes": [64, 128, 256, 512],
        "value_ratio": 0.25,
    },
    "50": {},
    "101": {"depths": [3, 4, 23, 3]},
    "152": {"depths": [3, 8, 36, 3]},
    "cifar": {
        "layer_type": "basic",
        "image_size": 32,
        "stem": "small",
        "embedding_size": 32,
        "depths": [3, 3, 3],
        "hidden_sizes": [32, 64, 128],
        "attention_strides": [0, 2, 1],
        "augmented_convolutions": "both",
        "num_attention_heads": 4,
        "value_ratio": 0.25,
        "min_key_head_size": 0,
    },
    "tiny": {
        "layer_type": "basic",
        "image_size": 8,
        "stem": "small",
        "embedding_size": 16,
        "depths": [2, 2],
        "hidden_sizes": [16, 32],
        "attention_strides": [0, 1],
        "augmented_convolutions": "both",
        "num_attention_heads": 2,
        "value_ratio": 0.25,
        "min_key_head_size": 0,
    },
}


@strict
class EAAAResNetConfig(HasEvolution, PreTrainedConfig):
    """Configuration of an EA-AA-ResNet; the defaults are the papers' EA-AA-ResNet-50.

    Parameters
    ----------
    num_channels : int
        Of the image: 3 for colour, 1 for grey.
    image_size : int or list of int
        Height and width for which relative positions are learned, in pixels. Images of any other
        size are taken too; the positions are then interpolated.
    stem : {"imagenet", "small"}
        A 7 x 7 convolution with stride 2 and a max pooling with stride 2; or a 3 x 3 convolution
        without stride, for images of some ten pixels.
    embedding_size : int
        Channels after the stem.
    layer_type : {"bottleneck", "basic"}
        Blocks of a 1 x 1, a 3 x 3 and a 1 x 1 convolution, or of two 3 x 3 convolutions.
    depths : list of int
        Blocks of each stage.
    hidden_sizes : list of int
        Output channels of each stage; every stage after the first halves the resolution.
    attention_strides : list of int
        For each stage: 0 for plain convolutions, 1 for attention at the stage's own resolution, 2
        at half of it. The papers augment stages 2, 3 and 4 and let stage 2 attend at half
        resolution, that of stage 3, so that one chain runs through both.
    augmented_convolutions : {"first", "both"}
        Which of the two 3 x 3 convolutions of a basic block attend; a bottleneck has one.
    num_attention_heads : int
        H.
    key_ratio, value_ratio : float in [0, 1]
        The papers' k and v: key and value channels as shares of those of the 3 x 3 convolution.
        Both 0: the plain ResNet.
    min_key_head_size : int
        Least key channels of a head, as in attention-augmented convolution; 0: what ``key_ratio``
        gives, as in the authors' code.
    alpha, beta : float in [0, 1]
        Share of the previous map and of the convolved map; both 0 is the twin, an AA-ResNet.
    map_kernel_size : int, odd
        Kernel of the convolution over maps.
    map_activation : {"relu", "leaky_relu", "identity"}
        Applied to the convolved map.
    learned_mixing : bool
        Learn alpha and beta in every layer.
    map_initialization : {"random", "identity"}
        See :class:`~evolving_attention.attention.EvolvingAttention`.
    normalize_maps : bool
        Mix with the previous map after every row of it got mean 0 and variance 1.
    hidden_dropout, attention_dropout : float in [0, 1)
        Dropout before the classifier and of attention probabilities.
    branch_dropout : float in [0, 1)
        Chance that an image goes without a layer's attention branch in a step of training.
    drop_path_rate : float in [0, 1)
        Chance that an image goes without the convolutions of the last block, all but its shortcut,
        in a step of training; from the first block, which all images pass, it rises evenly.
    class_weights : list of float, optional
        Weight of each class in the loss.
    label_smoothing : float in [0, 1)
        Of the classification loss.
    """

    model_type = "ea_aa_resnet"

    num_channels: int = 3
    image_size: int | list[int] | tuple[int, ...] = 224
    stem: str = "imagenet"
    embedding_size: int = 64
    layer_type: str = "bottleneck"
    depths: list[int] | tuple[int, ...] = (3, 4, 6, 3)
    hidden_sizes: list[int] | tuple[int, ...] = (256, 512, 1024, 2048)
    attention_strides: list[int] | tuple[int, ...] = (0, 2, 1, 1)
    augmented_convolutions: str = "first"
    num_attention_heads: int = 8
    key_ratio: float | int = 0.25
    value_ratio: float | int = 0.125
    min_key_head_size: int = 20
    alpha: float | int = 0.5
    beta: float | int = 1.0
    map_kernel_size: int = 3
    map_activation: str = "relu"
    learned_mixing: bool = False
    map_initialization: str = "random"
    normalize_maps: bool = False
    hidden_dropout: float | int = 0.0
    attention_dropout: float | int = 0.0
    branch_dropout: float | int = 0.0
    drop_path_rate: float | int = 0.0
    class_weights: list[float | int] | None = None
    label_smoothing: float | int = 0.0

    def __post_init__(self, **kwargs: Any) -> None:
        """Check every option; raise ``ValueError`` in one sentence."""
        for name in ("depths", "hidden_sizes", "attention_strides"):
            setattr(self, name, list(getattr(self, name)))
        super().__post_init__(**kwargs)
        self._check_sizes()
        check_choice("stem", self.stem, STEMS)
        check_choice("layer_type", self.layer_type, LAYER_TYPES)
        check_choice("augmented_convolutions", self.augmented_convolutions, ("first", "both"))
        for name in _CHANCES:
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}.")
        self.check_evolution()
        self._check_attention()
        if self.class_weights is not None and len(self.class_weights) != self.num_labels:
            raise ValueError(
                f"class_weights must be as many as the {self.num_labels} classes, got "
                f"{len(self.class_weights)}."
            )

    def _check_sizes(self) -> None:
        for name in ("num_channels", "embedding_size", "num_attention_heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        stages = len(self.depths)
        if not stages:
            raise ValueError("depths must name the blocks of at least one stage.")
        for name in ("hidden_sizes", "attention_strides"):
            if len(getattr(self, name)) != stages:
                raise ValueError(
                    f"{name} must have an entry for each of the {stages} stages in depths, got "
                    f"{getattr(self, name)}."
                )
        for name in ("depths", "hidden_sizes"):
            if min(getattr(self, name)) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}.")
        if self.layer_type == "bottleneck" and any(
            size % _BOTTLENECK_RATIO for size in self.hidden_sizes
        ):
            raise ValueError(
                f"hidden_sizes of bottlenecks must be multiples of {_BOTTLENECK_RATIO}, got "
                f"{self.hidden_sizes}."
            )
        if len(self.image_height_and_width) != 2 or min(self.image_height_and_width) < 1:
            raise ValueError(
                f"image_size must be a side or a height and a width, got {self.image_size}."
            )

    def _check_attention(self) -> None:
        for stride in self.attention_strides:
            if stride < 0 or stride & (stride - 1):
                raise ValueError(
                    "attention_strides must be 0 (no attention) or a power of 2, got "
                    f"{self.attention_strides}."
                )
        if self.min_key_head_size < 0:
            raise ValueError(
                f"min_key_head_size must not be negative, got {self.min_key_head_size}."
            )
        heads = self.num_attention_heads
        for stage in self.augmented_stages:
            for name in ("key_ratio", "value_ratio"):
                attention_channels(
                    self.convolution_channels(stage), getattr(self, name), heads, name
                )
        check_ratios(self.key_ratio, self.value_ratio)

    @classmethod
    def variant(cls, name: str, **options: Any) -> Self:
        """Return the configuration of a named network, one of ``VARIANTS``, with changes."""
        check_choice("the variant", str(name), VARIANTS)
        return cls(**{**copy.deepcopy(VARIANTS[str(name)]), **options})

    @property
    def image_height_and_width(self) -> tuple[int, ...]:
        """``image_size`` as height and width."""
        size = self.image_size
        return (size, size) if isinstance(size, int) else tuple(size)

    @property
    def augmented_stages(self) -> list[int]:
        """Numbers of the stages that attend, from 0."""
        if self.value_ratio == 0:
            return []
        return [stage for stage, stride in enumerate(self.attention_strides) if stride]

    def convolution_channels(self, stage: int) -> int:
        """Return the output channels of a stage's 3 x 3 convolutions."""
        size = self.hidden_sizes[stage]
        return size if self.layer_type == "basic" else size // _BOTTLENECK_RATIO

    def attention_reduction(self, stage: int) -> int:
        """Return how many pixels of the image a pixel of a stage's attention spans."""
        stem = 4 if self.stem == "imagenet" else 1
        return int(stem * 2**stage * self.attention_strides[stage])

    def attention_grid(self, stage: int) -> tuple[int, int]:
        """Return height and width of a stage's attention for images of ``image_size``."""
        reduction = self.attention_reduction(stage)
        height, width = (-(-side // reduction) for side in self.image_height_and_width)
        return height, width
