"""The chain of maps of a text, position by position a token.

Shape letters: B batch, L layers, H heads, N tokens.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from evolving_attention.attention import probabilities
from evolving_attention.inspection.chain import Chain
from evolving_attention.inspection.steps import recorded_steps
from evolving_attention.models.huggingface.interface import LayerEvolution
from evolving_attention.tasks.text_encoding import collate_texts, encode

__all__ = ["chain_of_texts", "token_inputs"]


def token_inputs(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: tuple[str, ...]
) -> dict[str, Tensor]:
    """Return a text or pair as a batch for a network, cut at the longest input it can read."""
    longest = min(tokenizer.model_max_length, 10_000)  # a tokenizer may not know, and name 10^30
    inputs, _ = encode(tokenizer, [texts], longest)
    batch = collate_texts(tokenizer, inputs)
    return {name: tensor.to(model.device) for name, tensor in batch.items()}


@torch.inference_mode()
def chain_of_texts(
    model: PreTrainedModel, task: Any, texts: tuple[str, ...], title: str = "text"
) -> Chain:
    """Take one text or pair through a network and keep the maps of its first chain.

    Parameters
    ----------
    model : PreTrainedModel
        A network in evaluation mode. Of one with a decoder, the encoder is looked at.
    task : TextTask
        The task it learned, whose ``processor`` is its tokenizer.
    texts : tuple of str
        The text, or the two of a pair.
    title : str
        What to call it.
    """
    inputs = token_inputs(model, task.processor, texts)
    with recorded_steps(model) as layers:
        output = model(**inputs)
    prediction = ""
    if hasattr(task, "decode"):
        prediction = str(task.decode(output.logits.float().cpu().numpy())[0])
    tokens = task.processor.convert_ids_to_tokens(inputs["input_ids"][0].tolist())
    layers = layers[: _first_chain(model)]
    return Chain(
        title,
        np.empty((0, len(tokens))),
        _stack([steps.map_BHNM for steps in layers]),
        _stack([probabilities(steps.map_BHNM, steps.mask) for steps in layers]),
        patch_size=1,
        prediction=prediction,
        texts=texts,
        tokens=[token.replace("\u0120", "") or token for token in tokens],
    )


def _first_chain(model: PreTrainedModel) -> int:
    """Return how many layers the first chain has: an encoder's, where a decoder follows."""
    chains = [each.link.chain for each in model.modules() if isinstance(each, LayerEvolution)]
    return chains.count(chains[0])


def _stack(layers: list[Tensor]) -> NDArray[np.float32]:
    return torch.cat(layers).float().cpu().numpy()
