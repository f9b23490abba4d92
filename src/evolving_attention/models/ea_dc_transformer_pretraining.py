"""EA-DC-Transformer that fills in masked entries: pretraining without labels.

Shape letters: B batch, T steps of the series, F input features (its channels), N positions after
the stem, P steps in a patch, D model width, H heads.

Source of the task: Zerveas et al., "A Transformer-based Framework for Multivariate Time Series
Representation Learning" (KDD 2021).
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModelForPreTraining
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from evolving_attention.models.ea_dc_transformer import (
    EADCTransformerModel,
    EADCTransformerPreTrainedModel,
)
from evolving_attention.models.ea_dc_transformer_config import EADCTransformerConfig

__all__ = ["EADCTransformerForPretraining", "EADCTransformerPretrainingOutput"]


@dataclass
class EADCTransformerPretrainingOutput(ModelOutput):
    """What :class:`EADCTransformerForPretraining` returns.

    Attributes
    ----------
    loss : 0-dim Tensor, optional
        When a ``label_mask`` was given.
    prediction : Tensor of shape [B, T, F]
        Every entry of every step; 0 at padded steps.
    hidden_states, attentions, maps
        As in :class:`~evolving_attention.models.ea_dc_transformer.EADCTransformerModelOutput`.
    """

    loss: Tensor | None = None
    prediction: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    maps: tuple[Tensor, ...] | None = None


class EADCTransformerForPretraining(EADCTransformerPreTrainedModel):
    """EA-DC-Transformer that reads series with holes and predicts what was in them.

    GELU, dropout, and a linear layer that predicts the P * F entries of each position.
    """

    def __init__(self, config: EADCTransformerConfig) -> None:
        super().__init__(config)
        self.model = EADCTransformerModel(config)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.head = nn.Linear(config.hidden_size, config.patch_size * config.input_size)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        label_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        output_maps: bool | None = None,
    ) -> EADCTransformerPretrainingOutput:
        """Predict every entry of a padded batch of series.

        Parameters
        ----------
        input_values : Tensor of shape [B, T, F]
            Normalised series, whole: what ``label_mask`` hides is both taken from the encoder and
            what its prediction is held against.
        attention_mask : Tensor of shape [B, T], optional
            Non-zero at real steps. Default: every step is real.
        label_mask : bool Tensor of shape [B, T, F], optional
            True at the entries to hide. The loss is the mean squared error on those of them that
            are real; 0 where there is none.
        output_attentions, output_hidden_states, output_maps : bool, optional
            Whether to return probabilities, hidden states and maps.
        """
        real_BT1 = None if attention_mask is None else attention_mask.bool()[..., None]
        visible_BTF = input_values
        if label_mask is not None:
            _check_label_mask(label_mask, input_values)
            visible_BTF = input_values.masked_fill(label_mask.bool(), 0.0)
        encoded = self.model(
            visible_BTF,
            attention_mask,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            output_maps=output_maps,
            return_dict=True,
        )
        patches_BNPF = self.head(self.dropout(F.gelu(encoded.last_hidden_state))).unflatten(
            2, (self.config.patch_size, self.config.input_size)
        )
        prediction_BTF = patches_BNPF.flatten(1, 2)[:, : input_values.shape[1]]
        if real_BT1 is not None:
            prediction_BTF = prediction_BTF.masked_fill(~real_BT1, 0.0)
        loss = None
        if label_mask is not None:
            counted_BTF = label_mask.bool() if real_BT1 is None else label_mask.bool() & real_BT1
            loss = masked_mean_squared_error(prediction_BTF, input_values, counted_BTF)
        return EADCTransformerPretrainingOutput(
            loss=loss,
            prediction=prediction_BTF,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
            maps=encoded.maps,
        )

    def loss_weight(self, batch: dict[str, Tensor]) -> Tensor:
        """Return how many entries the loss of a batch is the mean of."""
        counted_BTF = batch["label_mask"].bool()
        if "attention_mask" in batch:
            counted_BTF = counted_BTF & batch["attention_mask"].bool()[..., None]
        return counted_BTF.sum()


def masked_mean_squared_error(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Return the mean squared error where the mask is True, 0 where it never is.

    What stands elsewhere, NaN even, reaches neither the loss nor a gradient. A prediction of half
    precision is compared, and errors are summed, in the precision of the target.
    """
    error = prediction - target.masked_fill(~mask, 0.0)
    return error.masked_fill(~mask, 0.0).square().sum() / mask.sum().clamp(min=1)


def _check_label_mask(label_mask_BTF: Tensor, input_values_BTF: Tensor) -> None:
    if label_mask_BTF.shape != input_values_BTF.shape:
        raise ValueError(
            f"label_mask must have the shape {list(input_values_BTF.shape)}, got "
            f"{list(label_mask_BTF.shape)}."
        )


AutoModelForPreTraining.register(EADCTransformerConfig, EADCTransformerForPretraining)
