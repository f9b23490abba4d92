"""EA-AA-ResNet: evolving attention beside the 3 x 3 convolutions of a ResNet, for images.

Shape letters: B batch, C channels, Y rows and X columns of an image, D channels of the last stage,
H heads, N pixels that attention sees.

Source: "Evolving Attention with Residual Convolutions" (ICML 2021), without the defects of its
release.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForImageClassification
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from evolving_attention.attention import EvolvingAttention, probabilities
from evolving_attention.models.augmented_convolution import AugmentedConv2d, BranchDropout
from evolving_attention.models.class_loss import ClassLoss
from evolving_attention.models.counted_batch_norm import CountedBatchNorm2d
from evolving_attention.models.ea_aa_resnet_config import EAAAResNetConfig
from evolving_attention.models.segments import Layer, SegmentCheckpointing, run_in_segments

__all__ = [
    "EAAAResNetConfig",
    "EAAAResNetForImageClassification",
    "EAAAResNetModel",
    "EAAAResNetModelOutput",
    "EAAAResNetOutput",
]


_HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "revision", "subfolder", "token")


@dataclass
class EAAAResNetModelOutput(ModelOutput):
    """What :class:`EAAAResNetModel` returns.

    Attributes
    ----------
    last_hidden_state : Tensor of shape [B, D, Y, X]
        Features of the last stage.
    pooler_output : Tensor of shape [B, D]
        Their mean over the pixels.
    hidden_states : tuple of Tensor of shape [B, C, Y, X], optional
        After the stem and after each stage.
    attentions : tuple of Tensor of shape [B, H, N, N], optional
        Probabilities of each attention layer.
    maps : tuple of Tensor of shape [B, H, N, N], optional
        Maps (logits) of each attention layer; where N changes, a new chain starts.
    """

    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    maps: tuple[Tensor, ...] | None = None


@dataclass
class EAAAResNetOutput(ModelOutput):
    """What :class:`EAAAResNetForImageClassification` returns.

    Attributes
    ----------
    loss : 0-dim Tensor, optional
        When labels were given.
    logits : Tensor of shape [B, num_labels]
        Scores of the classes.
    hidden_states, attentions, maps
        As in :class:`EAAAResNetModelOutput`.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    maps: tuple[Tensor, ...] | None = None


class EAAAResNetLayer(nn.Module):
    """A convolution, augmented or not, and its batch norm; a ReLU unless the block ends here."""

    def __init__(self, convolution: nn.Module, channels: int, activates: bool = True) -> None:
        super().__init__()
        self.convolution = convolution
        self.normalization = CountedBatchNorm2d(channels)
        self.activates = activates

    def forward(
        self, hidden_BCYX: Tensor, previous_map: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the hidden states and this layer's map, None without attention."""
        map_BHNN = None
        if isinstance(self.convolution, AugmentedConv2d):
            hidden_BCYX, map_BHNN = self.convolution(hidden_BCYX, previous_map)
        else:
            hidden_BCYX = self.convolution(hidden_BCYX)
        hidden_BCYX = self.normalization(hidden_BCYX)
        return (F.relu(hidden_BCYX) if self.activates else hidden_BCYX), map_BHNN


class EAAAResNetStem(nn.Module):
    """The first convolution, and the max pooling of large images."""

    def __init__(self, config: EAAAResNetConfig) -> None:
        super().__init__()
        large = config.stem == "imagenet"
        size, stride = (7, 2) if large else (3, 1)
        self.convolution = nn.Conv2d(
            config.num_channels, config.embedding_size, size, stride, size // 2, bias=False
        )
        self.normalization = CountedBatchNorm2d(config.embedding_size)
        self.pooling = nn.MaxPool2d(3, 2, padding=1) if large else nn.Identity()

    def forward(self, pixel_values_BCYX: Tensor) -> Tensor:
        """Return ``[B, embedding_size, Y', X']``."""
        pooled_BCYX: Tensor = self.pooling(self.convolve(pixel_values_BCYX))
        return pooled_BCYX

    def convolve(self, pixel_values_BCYX: Tensor) -> Tensor:
        """Return what the pooling reads."""
        return F.relu(self.normalization(self.convolution(pixel_values_BCYX)))


class EAAAResNetShortcut(nn.Module):
    """1 x 1 convolution and batch norm, where a block changes the size."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
        self.normalization = CountedBatchNorm2d(out_channels)

    def forward(self, hidden_BCYX: Tensor) -> Tensor:
        """Return the residual in the block's size."""
        residual_BCYX: Tensor = self.normalization(self.convolution(hidden_BCYX))
        return residual_BCYX


class EAAAResNetBlock(GradientCheckpointingLayer):
    """Two or three convolutions, a residual around them; the maps pass through.

    Parameters
    ----------
    config : EAAAResNetConfig
        Of the network.
    stage : int
        From 0.
    in_channels, stride : int
        Channels of the input, and how much the block shrinks it.
    starts_chain : bool
        Whether the first attention of the block has no predecessor at its resolution.
    drop_path : float in [0, 1)
        Chance that an image goes without the convolutions in a step of training. The maps are made
        and passed on all the same.
    """

    def __init__(
        self,
        config: EAAAResNetConfig,
        stage: int,
        in_channels: int,
        stride: int,
        starts_chain: bool,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        width, out_channels = config.convolution_channels(stage), config.hidden_sizes[stage]

        def augmented(inputs: int, stride: int, starts_chain: bool) -> nn.Module:
            if stage not in config.augmented_stages:
                return nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
            return _augmented_convolution(config, stage, inputs, stride, starts_chain)

        if config.layer_type == "bottleneck":
            self.layers = nn.ModuleList(
                [
                    EAAAResNetLayer(nn.Conv2d(in_channels, width, 1, bias=False), width),
                    EAAAResNetLayer(augmented(width, stride, starts_chain), width),
                    EAAAResNetLayer(
                        nn.Conv2d(width, out_channels, 1, bias=False), out_channels, activates=False
                    ),
                ]
            )
        else:
            first = augmented(in_channels, stride, starts_chain)
            second: nn.Module = nn.Conv2d(width, width, 3, 1, 1, bias=False)
            if config.augmented_convolutions == "both":
                second = augmented(width, 1, False)
            self.layers = nn.ModuleList(
                [EAAAResNetLayer(first, width), EAAAResNetLayer(second, width, activates=False)]
            )
        self.drop_path = BranchDropout(drop_path)
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels or stride != 1:
            self.shortcut = EAAAResNetShortcut(in_channels, out_channels, stride)

    def forward(
        self, hidden_BCYX: Tensor, previous_map: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the hidden states and the maps of the block's attention layers."""
        residual_BCYX = self.shortcut(hidden_BCYX)
        maps: tuple[Tensor, ...] = ()
        for layer in self.layers:
            hidden_BCYX, map_BHNN = layer(hidden_BCYX, previous_map)
            if map_BHNN is not None:
                previous_map, maps = map_BHNN, (*maps, map_BHNN)
        return F.relu(self.drop_path(hidden_BCYX) + residual_BCYX), maps


def _augmented_convolution(
    config: EAAAResNetConfig, stage: int, in_channels: int, stride: int, starts_chain: bool
) -> AugmentedConv2d:
    evolution = EvolvingAttention(
        config.num_attention_heads,
        dropout=config.attention_dropout,
        **config.evolution_options(evolves=not starts_chain),
    )
    return AugmentedConv2d(
        in_channels,
        config.convolution_channels(stage),
        config.num_attention_heads,
        key_ratio=config.key_ratio,
        value_ratio=config.value_ratio,
        min_key_head_size=config.min_key_head_size,
        stride=stride,
        attention_stride=config.attention_strides[stage],
        grid=config.attention_grid(stage),
        branch_dropout=config.branch_dropout,
        evolution=evolution,
    )


def _stages(config: EAAAResNetConfig) -> Iterator[nn.ModuleList]:
    """Make the stages; a chain starts where attention changes its resolution."""
    in_channels, reduction = config.embedding_size, None
    drop_paths = iter(np.linspace(0, config.drop_path_rate, sum(config.depths)).tolist())
    for stage, depth in enumerate(config.depths):
        starts_chain = False
        if stage in config.augmented_stages:
            starts_chain = config.attention_reduction(stage) != reduction
            reduction = config.attention_reduction(stage)
        blocks = nn.ModuleList()
        for index in range(depth):
            first = index == 0
            stride = 2 if first and stage > 0 else 1
            blocks.append(
                EAAAResNetBlock(
                    config, stage, in_channels, stride, first and starts_chain, next(drop_paths)
                )
            )
            in_channels = config.hidden_sizes[stage]
        yield blocks


class EAAAResNetPreTrainedModel(SegmentCheckpointing):
    """Initialisation, saving and loading."""

    config: EAAAResNetConfig
    config_class = EAAAResNetConfig
    base_model_prefix = "model"
    main_input_name = "pixel_values"
    supports_gradient_checkpointing = True
    _no_split_modules = ["EAAAResNetBlock"]
    #: Parameters that weight decay spares, beside biases and norms.
    no_weight_decay = ("alpha", "beta")

    def _init_weights(self, module: nn.Module) -> None:
        # Every module knows its own initialisation, but ResNets draw kernels of images by fan-out;
        # what was loaded from a checkpoint stays.
        if all(getattr(tensor, "_is_hf_initialized", False) for tensor in module.parameters()):
            return
        if type(module) is nn.Conv2d:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif callable(reset := getattr(module, "reset_parameters", None)):
            reset()

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, path: Any, *args: Any, image_size: Any = None, config: Any = None, **kwargs: Any
    ) -> Any:
        """Load as transformers does; another ``image_size``, also one in ``config``, is fitted.

        The relative positions are loaded at the size they were saved in, then resized.
        """
        if isinstance(config, EAAAResNetConfig) and path is not None:
            given = {name: kwargs[name] for name in _HUB_OPTIONS if name in kwargs}
            saved = EAAAResNetConfig.from_pretrained(path, **given)
            image_size = config.image_size if image_size is None else image_size
            config = copy.deepcopy(config)
            config.image_size = saved.image_size
        loaded = super().from_pretrained(path, *args, config=config, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        if image_size is not None and image_size != model.config.image_size:
            model.resize_positions(image_size)
        return loaded

    @torch.no_grad()
    def resize_positions(self, image_size: int | list[int] | tuple[int, int]) -> Self:
        """Interpolate the relative positions to images of another size, and remember the size.

        A network takes images of any size without this; afterwards it can also learn positions
        of its own for the new one.

        Parameters
        ----------
        image_size : int or pair of int
            Side, or height and width, in pixels.
        """
        size = image_size if isinstance(image_size, int) else list(image_size)
        self.config = type(self.config).from_dict({**self.config.to_dict(), "image_size": size})
        base: Any = self.base_model
        base.config = self.config
        for stage, blocks in enumerate(base.stages):
            for module in blocks.modules():
                if isinstance(module, AugmentedConv2d):
                    module.resize_positions(self.config.attention_grid(stage))
        return self


class EAAAResNetModel(EAAAResNetPreTrainedModel):
    """The EA-AA-ResNet without a head."""

    def __init__(self, config: EAAAResNetConfig) -> None:
        super().__init__(config)
        self.stem = EAAAResNetStem(config)
        self.stages = nn.ModuleList(_stages(config))
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        pixel_values: Tensor,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        output_maps: bool | None = None,
    ) -> EAAAResNetModelOutput:
        """Encode a batch of images.

        Parameters
        ----------
        pixel_values : Tensor of shape [B, C, Y, X]
            Normalised images of any one size.
        output_attentions, output_hidden_states, output_maps : bool, optional
            Whether to return probabilities, hidden states and maps.
        """
        _check_images(pixel_values, self.config)
        wants_attentions = self._asked(output_attentions, "output_attentions")
        wants_maps = self._asked(output_maps, "output_maps")
        wants_states = self._asked(output_hidden_states, "output_hidden_states")
        hidden_BCYX = self.stem(pixel_values)
        if self._recomputes() and not (wants_states or wants_attentions or wants_maps):
            hidden_BCYX = self._run_in_segments(hidden_BCYX)
            return EAAAResNetModelOutput(hidden_BCYX, hidden_BCYX.mean((2, 3)))
        hidden_states: list[Tensor] = []
        maps: list[Tensor] = []
        kept = maps if wants_maps or wants_attentions else None
        previous_map: Tensor | None = None
        for stage in range(len(self.stages)):
            if wants_states:  # else they live no longer than the next stage
                hidden_states.append(hidden_BCYX)
            hidden_BCYX, previous_map = self.run_stage(stage, hidden_BCYX, previous_map, kept)
        return EAAAResNetModelOutput(
            last_hidden_state=hidden_BCYX,
            pooler_output=hidden_BCYX.mean((2, 3)),
            hidden_states=(*hidden_states, hidden_BCYX) if wants_states else None,
            attentions=tuple(map(probabilities, maps)) if wants_attentions else None,
            maps=tuple(maps) if wants_maps else None,
        )

    def run_stage(
        self,
        stage: int,
        hidden_BCYX: Tensor,
        previous_map: Tensor | None,
        kept: list[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Run one stage; return its hidden states and the map that the next stage is handed.

        Its maps are added to ``kept``; without that, a map lives no longer than it is needed.
        """
        for block in self.stages[stage]:  # type: ignore[attr-defined]
            hidden_BCYX, maps = block(hidden_BCYX, previous_map)
            previous_map = maps[-1] if maps else previous_map
            if kept is not None:
                kept.extend(maps)
        return hidden_BCYX, previous_map

    @property
    def num_segment_layers(self) -> int:
        """Blocks of all stages."""
        return sum(self.config.depths)

    def _run_in_segments(self, hidden_BCYX: Tensor) -> Tensor:
        """Run all blocks, keeping what one block of each segment was given."""
        layers = [_layer(block) for blocks in self.stages for block in blocks]  # type: ignore[attr-defined]
        assert self.segment_length is not None
        hidden_BCYX, _ = run_in_segments(layers, (hidden_BCYX, None), self.segment_length)
        return hidden_BCYX

    def _asked(self, argument: bool | None, name: str) -> bool:
        return bool(getattr(self.config, name, False) if argument is None else argument)


def _layer(block: EAAAResNetBlock) -> Layer:
    def run(hidden_BCYX: Tensor, previous_map: Tensor | None) -> tuple[Tensor, Tensor | None]:
        hidden_BCYX, maps = block(hidden_BCYX, previous_map)
        return hidden_BCYX, maps[-1] if maps else previous_map

    return run


def _check_images(pixel_values_BCYX: Tensor, config: EAAAResNetConfig) -> None:
    shape = tuple(pixel_values_BCYX.shape)
    if len(shape) != 4 or shape[1] != config.num_channels or min(shape[2:]) < 1:
        raise ValueError(
            f"pixel_values must have the shape [batch, {config.num_channels} channels, height, "
            f"width], got {list(shape)}."
        )


class EAAAResNetForImageClassification(ClassLoss, EAAAResNetPreTrainedModel):
    """EA-AA-ResNet that tells classes apart; ``config.num_labels`` of them."""

    def __init__(self, config: EAAAResNetConfig) -> None:
        super().__init__(config)
        self.model = EAAAResNetModel(config)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.classifier = nn.Linear(config.hidden_sizes[-1], config.num_labels or 1)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        output_maps: bool | None = None,
    ) -> EAAAResNetOutput:
        """Score a batch of images ``[B, C, Y, X]``; see :meth:`EAAAResNetModel.forward`.

        ``labels``, when given, are class numbers ``[B]``, or probabilities ``[B, num_labels]`` of
        mixed images.
        """
        encoded = self.model(
            pixel_values,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            output_maps=output_maps,
            return_dict=True,
        )
        logits = self.classifier(self.dropout(encoded.pooler_output))
        return EAAAResNetOutput(
            loss=None if labels is None else self.loss(logits, labels),
            logits=logits,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
            maps=encoded.maps,
        )


AutoConfig.register(EAAAResNetConfig.model_type, EAAAResNetConfig)
AutoModel.register(EAAAResNetConfig, EAAAResNetModel)
AutoModelForImageClassification.register(EAAAResNetConfig, EAAAResNetForImageClassification)
