"""Tiny models that generate, evolved and shaken, in float64; sources and prompts with padding."""

import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MarianConfig,
    MarianMTModel,
    T5Config,
    T5ForConditionalGeneration,
)

from evolving_attention import evolve
from tests.models.huggingface.helpers import shaken

TOKENS = {"pad_token_id": 0, "eos_token_id": 1, "vocab_size": 40}
_SEQUENCES = TOKENS | {
    "d_model": 16,
    "encoder_layers": 3,
    "decoder_layers": 3,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "init_std": 0.5,
    "decoder_start_token_id": 0,
    "max_position_embeddings": 64,
}


def marian():
    return MarianMTModel(MarianConfig(**_SEQUENCES, decoder_vocab_size=40))


def bart():
    return BartForConditionalGeneration(BartConfig(**_SEQUENCES, bos_token_id=2))


def t5():
    options = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 3, "num_heads": 2}
    config = T5Config(**TOKENS, **options, initializer_factor=3.0, decoder_start_token_id=0)
    return T5ForConditionalGeneration(config)


def gpt2():
    options = {"n_embd": 16, "n_layer": 3, "n_head": 2, "initializer_range": 0.5}
    return GPT2LMHeadModel(GPT2Config(**TOKENS, **options, bos_token_id=1))


def llama():
    options = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 3}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.5}
    return LlamaForCausalLM(LlamaConfig(**TOKENS, **options, **heads))


DECODERS = {make.__name__: make for make in (marian, bart, t5, gpt2, llama)}
MIXED = {"alpha": 0.4, "beta": 0.5, "initialization": "random"}


def evolved(name, **options):
    torch.manual_seed(0)
    return shaken(evolve(DECODERS[name](), **MIXED | options)).double().eval()


def sources(model, lengths=(9, 6, 3)):
    """Texts to translate, padded at the end, or to continue, padded at the beginning."""
    longest = max(lengths)
    ids = torch.randint(2, 40, (len(lengths), longest), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    if not model.config.is_encoder_decoder:
        mask = mask.flip(1)
    return {"input_ids": ids * mask, "attention_mask": mask.long()}
