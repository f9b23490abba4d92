"""Tiny models of transformers, texts with padding, and an evolution that is no identity."""

import pytest
import torch
from torch import nn
from transformers import (
    BartConfig,
    BertConfig,
    BertForMaskedLM,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from evolving_attention import evolve
from evolving_attention.models.huggingface.interface import LayerEvolution

TINY = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "num_hidden_layers": 3,
    "intermediate_size": 16,
    "max_position_embeddings": 32,
    "initializer_range": 0.5,  # weights of .02 would make maps of nothing
}


def bert_config(**options):
    return BertConfig(**TINY | options)


def texts(lengths=(7, 5, 3), padding=0):
    """Input ids and attention mask; ``padding`` more columns of it at the end."""
    longest = max(lengths) + padding
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, 40, (len(lengths), 32), generator=generator)[:, :longest]
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    return {"input_ids": ids * mask, "attention_mask": mask.long()}


def evolutions(model):
    """The evolutions that have parameters, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, LayerEvolution) and module.evolves
    }


def new_parameters(model):
    return {name for name, _ in model.named_parameters() if ".evolution." in name}


@torch.no_grad()
def shaken(model):
    """The model with its evolution away from every start."""
    generator = torch.Generator().manual_seed(2)
    for evolution in evolutions(model).values():
        for parameter in evolution.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator) * 0.4 + 0.05)
    return model


def assert_same_weights(actual, expected):
    """To the bit."""
    actual, expected = actual.state_dict(), expected.state_dict()
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(actual[name], tensor), name


def decoder_config(**options):
    """Grouped keys, looking back only."""
    return LlamaConfig(**TINY | {"num_attention_heads": 4, "num_key_value_heads": 2} | options)


def t5_config(**options):
    sizes = {"vocab_size": 40, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 3}
    return T5Config(**sizes | {"num_heads": 2, "decoder_start_token_id": 0} | options)


def bart_config(**options):
    encoder = {"encoder_layers": 3, "encoder_ffn_dim": 16, "encoder_attention_heads": 2}
    decoder = {"decoder_layers": 3, "decoder_ffn_dim": 16, "decoder_attention_heads": 2}
    sizes = {"vocab_size": 40, "d_model": 16, "max_position_embeddings": 32, "init_std": 0.5}
    return BartConfig(**sizes | encoder | decoder | options)


MODELS = {
    "encoder": lambda num_layers: BertForMaskedLM(bert_config(num_hidden_layers=num_layers)),
    "decoder": lambda num_layers: LlamaForCausalLM(decoder_config(num_hidden_layers=num_layers)),
    "both": lambda num_layers: T5ForConditionalGeneration(t5_config(num_layers=num_layers)),
}
KINDS = pytest.mark.parametrize("kind", MODELS)


def evolving(kind, num_layers=3):
    """A tiny model in float64 that evolves, away from every start; not in training."""
    model = MODELS[kind](num_layers).double().eval()
    return shaken(evolve(model, initialization="random", learned_mixing=True))


def labelled(**options):
    """A batch with labels; every model of this file has a loss for it."""
    batch = texts(**options)
    return batch | {"labels": batch["input_ids"].masked_fill(batch["input_ids"] == 0, -100)}


def gradients(model, batch):
    model.zero_grad()
    model(**batch).loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def without_dropout(model):
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
    return model
