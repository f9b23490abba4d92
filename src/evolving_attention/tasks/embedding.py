"""Vectors for series: what a trained network makes of each, before any head.

Shape letters: B batch, D model width.
"""

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from evolving_attention.models.pooling import Pooling
from evolving_attention.tasks.time_series_batches import read_out
from evolving_attention.tasks.time_series_data import Collection
from evolving_attention.tasks.time_series_processor import TimeSeriesProcessor

__all__ = ["embed_series"]


def embed_series(
    model: PreTrainedModel, processor: TimeSeriesProcessor, series: Collection
) -> NDArray[np.float32]:
    """Return a vector for each series ``(cases, D)``: the mean of GELU(hidden state) over steps.

    The last hidden states go through the GELU that every head applies first, and are averaged over
    the real positions, so that series of any length are comparable and padding changes nothing. It
    is what a head with mean pooling, the default, reads of a supervised network.

    Parameters
    ----------
    model : PreTrainedModel
        An EA-DC-Transformer, with any head or none.
    processor : TimeSeriesProcessor
        Its processor.
    series : Collection
        Raw series.
    """
    examples = [{"input_values": values} for values in processor(series)]
    return read_out(model, examples, _pooled)


def _pooled(model: PreTrainedModel, batch: dict[str, Tensor]) -> Tensor:
    encoded = model.base_model(**batch)
    pool = Pooling("mean", model.config.hidden_size)
    pooled_BD: Tensor = pool(F.gelu(encoded.last_hidden_state), encoded.position_mask)
    return pooled_BD
