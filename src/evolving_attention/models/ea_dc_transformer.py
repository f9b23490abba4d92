"""EA-DC-Transformer: evolving attention beside dilated convolutions, for time series.

Shape letters: B batch, T steps of the series, F input features (its channels), N positions after
the stem (N = T where a patch is one step), D model width, H heads.

Source: "Convolution-enhanced Evolving Attention Networks" (TPAMI 2023), without the defects of its
release.
"""

from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTimeSeriesPrediction,
)
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from evolving_attention.attention import EvolvingAttention, padding_mask, probabilities
from evolving_attention.models.augmented_convolution import AugmentedConv1d
from evolving_attention.models.class_loss import ClassLoss
from evolving_attention.models.ea_dc_transformer_config import EADCTransformerConfig
from evolving_attention.models.masked_batch_norm import MaskedBatchNorm
from evolving_attention.models.pooling import Pooling
from evolving_attention.models.segments import Layer, SegmentCheckpointing, run_in_segments

__all__ = [
    "EADCTransformerConfig",
    "EADCTransformerForClassification",
    "EADCTransformerForRegression",
    "EADCTransformerModel",
    "EADCTransformerModelOutput",
    "EADCTransformerOutput",
]


@dataclass
class EADCTransformerModelOutput(ModelOutput):
    """What :class:`EADCTransformerModel` returns.

    Attributes
    ----------
    last_hidden_state : Tensor of shape [B, N, D]
        0 at padded positions.
    position_mask : bool Tensor of shape [B, N], optional
        True at real positions; None where all are.
    hidden_states : tuple of Tensor of shape [B, N, D], optional
        After the stem and after each block.
    attentions : tuple of Tensor of shape [B, H, N, N], optional
        Probabilities of each attention layer, two a block.
    maps : tuple of Tensor of shape [B, H, N, N], optional
        Maps (logits) of each attention layer: the chain.
    """

    last_hidden_state: Tensor | None = None
    position_mask: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    maps: tuple[Tensor, ...] | None = None


@dataclass
class EADCTransformerOutput(ModelOutput):
    """What a model with a head returns.

    Attributes
    ----------
    loss : 0-dim Tensor, optional
        When labels were given.
    logits : Tensor of shape [B, num_labels]
        Scores of the classes, or values of the targets.
    hidden_states, attentions, maps
        As in :class:`EADCTransformerModelOutput`.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    maps: tuple[Tensor, ...] | None = None


class EADCTransformerStem(nn.Module):
    """Patches of steps, projected and scaled, plus learned positions."""

    def __init__(self, config: EADCTransformerConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        self.projection = nn.Linear(config.patch_size * config.input_size, config.hidden_size)
        self.positions = nn.Parameter(torch.empty(config.max_positions, config.hidden_size))
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the positions from U(-.02, .02), as the authors' code."""
        nn.init.uniform_(self.positions, -0.02, 0.02)

    def forward(
        self, input_values_BTF: Tensor, mask_BT: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the embedded positions ``[B, N, D]`` and which of them are real ``[B, N]``."""
        short = -input_values_BTF.shape[1] % self.patch_size
        mask_BN = None
        if mask_BT is not None:
            input_values_BTF = input_values_BTF.masked_fill(~mask_BT[..., None], 0.0)
            mask_BN = F.pad(mask_BT, (0, short)).unflatten(1, (-1, self.patch_size)).any(-1)
        steps_BTF = F.pad(input_values_BTF, (0, 0, 0, short))
        patches_BNF = steps_BTF.unflatten(1, (-1, self.patch_size)).flatten(2)
        hidden_BND = self.projection(patches_BNF) * self.projection.out_features**0.5
        last = self.positions.shape[0] - 1
        position_N = torch.arange(patches_BNF.shape[1], device=patches_BNF.device).clamp(max=last)
        return self.dropout(hidden_BND + self.positions[position_N]), mask_BN


class EADCTransformerFeedForward(nn.Sequential):
    """Linear, LeakyReLU, dropout, Linear."""

    def __init__(self, config: EADCTransformerConfig) -> None:
        super().__init__(
            nn.Linear(config.hidden_size, config.intermediate_size),
            nn.LeakyReLU(),
            nn.Dropout(config.hidden_dropout),
            nn.Linear(config.intermediate_size, config.hidden_size),
        )


class EADCTransformerBlock(GradientCheckpointingLayer):
    """Two augmented convolutions with their feed-forward networks, a residual around both."""

    def __init__(self, config: EADCTransformerConfig, index: int) -> None:
        super().__init__()
        dilation = 2**index if config.dilated else 1
        self.first_convolution = _augmented_convolution(config, dilation, evolves=index > 0)
        self.first_norm = MaskedBatchNorm(config.hidden_size)
        self.first_feed_forward = EADCTransformerFeedForward(config)
        evolves = index > 0 or config.evolve_first_block
        self.second_convolution = _augmented_convolution(config, dilation, evolves=evolves)
        self.second_norm = MaskedBatchNorm(config.hidden_size)
        self.second_feed_forward = EADCTransformerFeedForward(config)
        self.output_norm = MaskedBatchNorm(config.hidden_size)

    def forward(
        self, hidden_BND: Tensor, previous_map: Tensor | None, mask_BN: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return the hidden states and the maps of the two layers, if there is attention."""
        residual_BND = hidden_BND
        hidden_BND, first_map = self.first_half(hidden_BND, previous_map, mask_BN)
        hidden_BND, second_map = self.second_half(hidden_BND, residual_BND, first_map, mask_BN)
        return hidden_BND, first_map, second_map

    def first_half(
        self, hidden_BND: Tensor, previous_map: Tensor | None, mask_BN: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the hidden states and the map of the first layer."""
        hidden_BND, map_BHNN = self.first_convolution(hidden_BND, previous_map, mask_BN)
        return self.first_feed_forward(self.first_norm(hidden_BND, mask_BN)), map_BHNN

    def second_half(
        self,
        hidden_BND: Tensor,
        residual_BND: Tensor,
        previous_map: Tensor | None,
        mask_BN: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the hidden states of the block and the map of the second layer."""
        hidden_BND, map_BHNN = self.second_convolution(hidden_BND, previous_map, mask_BN)
        hidden_BND = self.second_feed_forward(self.second_norm(hidden_BND, mask_BN))
        return self.output_norm(hidden_BND + residual_BND, mask_BN), map_BHNN


def _augmented_convolution(
    config: EADCTransformerConfig, dilation: int, *, evolves: bool
) -> AugmentedConv1d:
    evolution = EvolvingAttention(
        config.num_attention_heads,
        dropout=config.attention_dropout,
        **config.evolution_options(evolves),
    )
    return AugmentedConv1d(
        config.hidden_size,
        config.num_attention_heads,
        key_ratio=config.key_ratio,
        value_ratio=config.value_ratio,
        kernel_size=config.kernel_size,
        dilation=dilation,
        max_length=config.max_positions,
        branch_dropout=config.branch_dropout,
        evolution=evolution,
    )


class EADCTransformerPreTrainedModel(SegmentCheckpointing):
    """Initialisation, saving and loading."""

    config: EADCTransformerConfig
    config_class = EADCTransformerConfig
    base_model_prefix = "model"
    main_input_name = "input_values"
    supports_gradient_checkpointing = True
    _no_split_modules = ["EADCTransformerBlock"]
    #: Parameters that weight decay spares, beside biases and norms: shares, scales and positions.
    no_weight_decay = ("alpha", "beta", "magnitude", "positions")

    def _init_weights(self, module: nn.Module) -> None:
        # Every module knows its own initialisation; what was loaded from a checkpoint stays.
        reset = getattr(module, "reset_parameters", None)
        loaded = [getattr(tensor, "_is_hf_initialized", False) for tensor in module.parameters()]
        if callable(reset) and not all(loaded):
            reset()


class EADCTransformerModel(EADCTransformerPreTrainedModel):
    """The EA-DC-Transformer without a head: one vector for each position."""

    def __init__(self, config: EADCTransformerConfig) -> None:
        super().__init__(config)
        self.stem = EADCTransformerStem(config)
        self.blocks = nn.ModuleList(
            EADCTransformerBlock(config, index) for index in range(config.num_blocks)
        )
        self.post_init()

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode, but leave a frozen encoder in evaluation mode.

        Where no parameter learns, the statistics of batch norm must not drift either.
        """
        learns = any(parameter.requires_grad for parameter in self.parameters())
        return super().train(mode and learns)

    @can_return_tuple
    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        output_maps: bool | None = None,
    ) -> EADCTransformerModelOutput:
        """Encode a padded batch of series.

        Parameters
        ----------
        input_values : Tensor of shape [B, T, F]
            Normalised series; what stands at padded steps does not matter.
        attention_mask : Tensor of shape [B, T], optional
            Non-zero at real steps. Default: every step is real.
        output_attentions, output_hidden_states, output_maps : bool, optional
            Whether to return probabilities, hidden states and maps.
        """
        mask_BT = _check_inputs(input_values, attention_mask, self.config)
        hidden_BND, mask_BN = self.stem(input_values, mask_BT)
        wants_states = self._asked(output_hidden_states, "output_hidden_states")
        wants_attentions = self._asked(output_attentions, "output_attentions")
        wants_maps = self._asked(output_maps, "output_maps")
        hidden_states = [hidden_BND]
        maps: list[Tensor | None] = []
        previous_map: Tensor | None = None
        if self._recomputes() and not (wants_states or wants_attentions or wants_maps):
            hidden_BND = self._run_in_segments(hidden_BND, mask_BN)
            return EADCTransformerModelOutput(_zero_padded(hidden_BND, mask_BN), mask_BN)
        for block in self.blocks:
            hidden_BND, first_map, previous_map = block(hidden_BND, previous_map, mask_BN)
            if wants_states:
                hidden_states.append(hidden_BND)
            if wants_maps or wants_attentions:  # else a map lives no longer than the next layer
                maps += [first_map, previous_map]
        return EADCTransformerModelOutput(
            last_hidden_state=_zero_padded(hidden_BND, mask_BN),
            position_mask=mask_BN,
            hidden_states=tuple(hidden_states) if wants_states else None,
            attentions=_probabilities(maps, mask_BN) if wants_attentions else None,
            maps=_present(maps) if wants_maps else None,
        )

    @property
    def num_segment_layers(self) -> int:
        """Attention layers, two a block."""
        return 2 * len(self.blocks)

    def _run_in_segments(self, hidden_BND: Tensor, mask_BN: Tensor | None) -> Tensor:
        """Run the blocks, half by half, keeping a map for each segment of halves."""
        layers = [half for block in self.blocks for half in _halves(block, mask_BN)]  # type: ignore[arg-type]
        assert self.segment_length is not None
        hidden_BND, *_ = run_in_segments(layers, (hidden_BND, None, None), self.segment_length)
        return hidden_BND

    def _asked(self, argument: bool | None, name: str) -> bool:
        return bool(getattr(self.config, name, False) if argument is None else argument)


def _halves(block: EADCTransformerBlock, mask_BN: Tensor | None) -> tuple[Layer, Layer]:
    """Return the layers of a block; between them the state has the block's residual too."""

    def first(
        hidden_BND: Tensor, _: None, previous_map: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        residual_BND = hidden_BND
        hidden_BND, map_BHNN = block.first_half(hidden_BND, previous_map, mask_BN)
        return hidden_BND, residual_BND, map_BHNN

    def second(
        hidden_BND: Tensor, residual_BND: Tensor, previous_map: Tensor | None
    ) -> tuple[Tensor, None, Tensor | None]:
        hidden_BND, map_BHNN = block.second_half(hidden_BND, residual_BND, previous_map, mask_BN)
        return hidden_BND, None, map_BHNN

    return first, second


def _present(maps: list[Tensor | None]) -> tuple[Tensor, ...]:
    return tuple(map_BHNN for map_BHNN in maps if map_BHNN is not None)


def _zero_padded(hidden_BND: Tensor, mask_BN: Tensor | None) -> Tensor:
    return hidden_BND if mask_BN is None else hidden_BND.masked_fill(~mask_BN[..., None], 0.0)


def _probabilities(maps: list[Tensor | None], mask_BN: Tensor | None) -> tuple[Tensor, ...]:
    mask = None if mask_BN is None else padding_mask(mask_BN)
    return tuple(probabilities(map_BHNN, mask) for map_BHNN in _present(maps))


def _check_inputs(
    input_values_BTF: Tensor, attention_mask_BT: Tensor | None, config: EADCTransformerConfig
) -> Tensor | None:
    """Return the boolean mask of real steps, if any; raise ``ValueError`` in one sentence."""
    shape = tuple(input_values_BTF.shape)
    if len(shape) != 3 or shape[2] != config.input_size or shape[1] < 1:
        raise ValueError(
            f"input_values must have the shape [batch, steps, {config.input_size} channels], got "
            f"{list(shape)}."
        )
    if config.pooling == "flatten" and shape[1] > config.max_positions * config.patch_size:
        raise ValueError(
            f"a series of {shape[1]} steps is too long for a flatten head built for "
            f"max_length={config.max_length}; "
            "shorten or resample it, or use a model with pooling='mean', 'max' or 'attention'."
        )
    if attention_mask_BT is None:
        return None
    if tuple(attention_mask_BT.shape) != shape[:2]:
        raise ValueError(
            f"attention_mask must have the shape {list(shape[:2])}, got "
            f"{list(attention_mask_BT.shape)}."
        )
    return attention_mask_BT.bool()


class _EADCTransformerWithHead(EADCTransformerPreTrainedModel):
    """GELU, dropout, pooling, and a linear layer."""

    def __init__(self, config: EADCTransformerConfig) -> None:
        super().__init__(config)
        self.model = EADCTransformerModel(config)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.pooling = Pooling(config.pooling, config.hidden_size)
        flat = config.max_positions if config.pooling == "flatten" else 1
        self.head = nn.Linear(flat * config.hidden_size, config.num_labels or 1)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        output_maps: bool | None = None,
    ) -> EADCTransformerOutput:
        """Score a padded batch of series ``[B, T, F]``; see :meth:`EADCTransformerModel.forward`.

        ``labels``, when given, are what :meth:`loss` takes.
        """
        encoded = self.model(
            input_values,
            attention_mask,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            output_maps=output_maps,
            return_dict=True,
        )
        hidden_BND = self.dropout(F.gelu(encoded.last_hidden_state))
        pooled_BD = self.pooling(hidden_BND, encoded.position_mask)
        # A batch shorter than max_length is short of zeros at the end of the flattened image: skip
        # their weights.
        logits = F.linear(pooled_BD, self.head.weight[:, : pooled_BD.shape[1]], self.head.bias)
        return EADCTransformerOutput(
            loss=None if labels is None else self.loss(logits, labels),
            logits=logits,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
            maps=encoded.maps,
        )

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of a batch."""
        raise NotImplementedError

    def loss_weight(self, batch: dict[str, Tensor]) -> Tensor:
        """Return what the loss of a batch weighs in the mean loss of several batches."""
        return torch.tensor(len(batch["labels"]))


class EADCTransformerForClassification(ClassLoss, _EADCTransformerWithHead):
    """EA-DC-Transformer that tells classes apart; ``config.num_labels`` of them."""


class EADCTransformerForRegression(_EADCTransformerWithHead):
    """EA-DC-Transformer that predicts ``config.num_labels`` numbers."""

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean squared error with targets ``[B, num_labels]``."""
        single = labels.dim() == 1 and logits.shape == (*labels.shape, 1)
        if labels.shape != logits.shape and not single:
            raise ValueError(
                f"labels must have the shape {list(logits.shape)}, got {list(labels.shape)}."
            )
        return F.mse_loss(logits, labels.reshape(logits.shape).to(logits.dtype))


AutoConfig.register(EADCTransformerConfig.model_type, EADCTransformerConfig)
AutoModel.register(EADCTransformerConfig, EADCTransformerModel)
AutoModelForSequenceClassification.register(EADCTransformerConfig, EADCTransformerForClassification)
AutoModelForTimeSeriesPrediction.register(EADCTransformerConfig, EADCTransformerForRegression)
