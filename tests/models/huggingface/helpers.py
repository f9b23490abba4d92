"""Tiny models of transformers, texts with padding, and an evolution that is no identity."""

import torch
from transformers import BertConfig

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
    ids = torch.randint(1, 40, (len(lengths), longest), generator=torch.Generator().manual_seed(1))
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
