"""Write docs/architectures.md: which models of transformers evolve, which do not and why.

    python docs/architectures.py

Every row is found out with a tiny model with random weights: its chains, and that a converted model
computes what the plain one computed. Nothing is downloaded.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
import transformers

from evolving_attention import evolve
from evolving_attention.models.huggingface.chains import Chain, find_chains

PAGE = Path(__file__).with_suffix(".md")
INTRODUCTION = """# Architectures

What `evolve` makes of the models of transformers, found out by `python docs/architectures.py` with
tiny random models. A model evolves if all of its attention goes through transformers' attention
interface. A star stands for the number of a layer; every line is a chain of its own, whose
convolutions see both sides (*bidirectional*), look back (*causal*), or look back over the
target only (*cross*). The list is no limit: `evolve` looks at the model it is given.
"""

BASE = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
}
GROUPED = BASE | {"num_attention_heads": 4, "num_key_value_heads": 2}
PAIR = {
    f"{side}_{name}": size
    for side in ("encoder", "decoder")
    for name, size in (("layers", 3), ("attention_heads", 2), ("ffn_dim", 16))
}
BART = PAIR | {"vocab_size": 40, "d_model": 16, "max_position_embeddings": 40, "pad_token_id": 0}
T5 = {"vocab_size": 40, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 3, "num_heads": 2}
GPT = {"vocab_size": 40, "n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 40}
IMAGE = {
    "image_size": 16,
    "patch_size": 4,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}
SOUND = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": (8, 8),
    "conv_stride": (4, 4),
    "conv_kernel": (4, 4),
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "feat_extract_norm": "layer",
}
FORECAST = PAIR | {
    "prediction_length": 4,
    "context_length": 8,
    "lags_sequence": [1, 2],
    "d_model": 16,
    "num_time_features": 1,
}

#: Names of configuration and model without ``Config`` and ``Model``, with tiny sizes.
ARCHITECTURES: dict[str, dict[str, dict]] = {
    "Texts: encoders": {
        "Bert": BASE,
        "Roberta": BASE,
        "XLMRoberta": BASE,
        "Electra": BASE | {"embedding_size": 16},
        "DistilBert": {"vocab_size": 40, "dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 16},
        "ModernBert": BASE | {"local_attention": 4, "global_attn_every_n_layers": 2},
        "Albert": BASE | {"embedding_size": 16},
        "DebertaV2": BASE,
        "MPNet": BASE,
        "BigBird": BASE,
        "XLNet": {"vocab_size": 40, "d_model": 16, "n_layer": 3, "n_head": 2, "d_inner": 16},
    },
    "Texts: encoders and decoders": {
        "T5": T5,
        "MT5": T5,
        "UMT5": T5,
        "LongT5": T5,
        "Bart": BART,
        "MBart": BART,
        "Marian": BART | {"decoder_start_token_id": 0},
        "Pegasus": BART,
        "M2M100": BART,
        "LED": BART,
    },
    "Texts: decoders": {
        "Llama": GROUPED,
        "Mistral": GROUPED | {"sliding_window": 3},
        "Mixtral": GROUPED | {"num_local_experts": 2, "experts_implementation": "eager"},
        "Qwen2": GROUPED,
        "Qwen3": GROUPED | {"head_dim": 4},
        "Gemma3Text": GROUPED | {"head_dim": 4},
        "Gemma2": GROUPED | {"head_dim": 4},
        "GptOss": GROUPED | {"head_dim": 4, "num_local_experts": 2, "num_experts_per_tok": 1},
        "Olmo2": GROUPED,
        "Phi3": GROUPED,
        "GPT2": GPT,
        "GPTNeoX": BASE,
        "OPT": BASE | {"ffn_dim": 16, "word_embed_proj_dim": 16},
        "GPTJ": GPT | {"rotary_dim": 4},
        "Bloom": {"vocab_size": 40, "hidden_size": 16, "n_layer": 3, "n_head": 2},
        "Falcon": BASE,
        "Mamba": {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4},
    },
    "Images": {
        "ViT": IMAGE,
        "DeiT": IMAGE,
        "Beit": IMAGE | {"use_relative_position_bias": True},
        "Dinov2": IMAGE,
        "ViTMAE": IMAGE,
        "Yolos": IMAGE | {"image_size": [16, 16], "num_detection_tokens": 3},
        "CLIPVision": IMAGE,
        "SiglipVision": IMAGE,
        "Segformer": {
            "num_encoder_blocks": 2,
            "depths": [2, 2],
            "sr_ratios": [1, 1],
            "hidden_sizes": [8, 16],
            "num_attention_heads": [1, 2],
            "patch_sizes": [3, 3],
            "strides": [2, 2],
            "mlp_ratios": [2, 2],
        },
        "Swin": {
            "image_size": 16,
            "patch_size": 2,
            "embed_dim": 8,
            "depths": [2, 2],
            "num_heads": [2, 2],
            "window_size": 2,
        },
    },
    "Images and texts": {
        "CLIP": {
            "text_config": BASE | {"bos_token_id": 1, "eos_token_id": 39},
            "vision_config": IMAGE,
            "projection_dim": 8,
        },
    },
    "Sound": {
        "Wav2Vec2": SOUND,
        "Hubert": SOUND,
        "UniSpeech": SOUND,
        "Whisper": BART | {"num_mel_bins": 4, "max_source_positions": 10, "bos_token_id": 1},
        "WavLM": SOUND,
    },
    "Time series": {
        "PatchTST": {
            "num_input_channels": 3,
            "context_length": 16,
            "patch_length": 4,
            "patch_stride": 4,
            "num_hidden_layers": 3,
            "d_model": 16,
            "num_attention_heads": 2,
            "ffn_dim": 16,
        },
        "TimeSeriesTransformer": FORECAST,
        "Informer": FORECAST,
        "Autoformer": FORECAST,
    },
}


def plain_model(name: str) -> transformers.PreTrainedModel:
    """Make a tiny model with random weights, large enough for maps that matter."""
    sizes = next(each[name] for each in ARCHITECTURES.values() if name in each)
    config = getattr(transformers, f"{name}Config")(**sizes)
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}Model")(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.mul_(5)
    return model


def batch_for(model: transformers.PreTrainedModel) -> dict[str, torch.Tensor]:
    """Make two inputs of a model; of texts, the second is padded."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(2, 39, (2, 7), generator=generator)
    ids[:, 4] = 39  # the end, as CLIP looks for it
    mask = torch.arange(7) < torch.tensor([[7], [5]])
    kinds = {
        "input_ids": {"input_ids": ids, "attention_mask": mask.long()},
        "pixel_values": {"pixel_values": torch.randn(2, 3, 16, 16, generator=generator)},
        "input_values": {"input_values": torch.randn(2, 160, generator=generator)},
        "input_features": {"input_features": torch.randn(2, 4, 20, generator=generator)},
        "past_values": {"past_values": torch.randn(2, 16, 3, generator=generator)},
    }
    batch = dict(kinds[model.main_input_name])
    if model.config.model_type == "clip":
        batch |= kinds["pixel_values"]
    if model.config.model_type == "time_series_transformer":
        batch = {
            f"{time}_{name}": torch.randn(2, steps, *shape, generator=generator)
            for time, steps in (("past", 10), ("future", 4))
            for name, shape in (("values", ()), ("time_features", (1,)))
        }
        batch["past_observed_mask"] = torch.ones(2, 10)
    elif model.config.is_encoder_decoder:
        batch["decoder_input_ids"] = ids[:, :6]
    return batch


def chains_or_reason(name: str) -> list[Chain] | str:
    """Return the chains of a model, or why it has none."""
    model = plain_model(name)
    try:
        chains = find_chains(model)
        evolve(model)(**batch_for(model))
    except ValueError as error:
        return str(error).partition("cannot evolve: ")[2]
    return chains


def rows(names: dict[str, dict]) -> Iterator[str]:
    """Yield the lines of a table."""
    yield "| model | evolves | chains, or why not |"
    yield "| --- | --- | --- |"
    for name in names:
        found = chains_or_reason(name)
        told = found
        if not isinstance(found, str):
            told = "<br>".join(f"`{each.name}`, {each.window}" for each in found)
        yield f"| `{name}Model` | {'no' if isinstance(found, str) else 'yes'} | {told} |"


def page() -> str:
    """Return the whole page."""
    tables = (f"## {title}\n\n" + "\n".join(rows(each)) for title, each in ARCHITECTURES.items())
    return "\n\n".join([INTRODUCTION.strip(), *tables]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
