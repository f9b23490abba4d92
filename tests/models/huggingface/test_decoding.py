import copy
from itertools import pairwise

import pytest
import torch
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    DynamicCache,
    EncoderDecoderCache,
    MistralConfig,
    MistralForCausalLM,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

from evolving_attention import evolve
from tests.models.huggingface.decoders import DECODERS, MIXED, TOKENS, evolved, marian, sources
from tests.models.huggingface.helpers import shaken

CLOSE = {"rtol": 0, "atol": 1e-9}
WAYS = {
    "greedy": {},
    "beams": {"num_beams": 4},
    "sampling": {"do_sample": True},
    "sampled beams": {"num_beams": 3, "do_sample": True, "num_return_sequences": 2},
    "diverse": {"num_return_sequences": 3, "do_sample": True, "top_k": 5},
    "forced": {"forced_bos_token_id": 7, "forced_eos_token_id": 1, "num_beams": 2},
    "constrained": {"repetition_penalty": 1.5, "no_repeat_ngram_size": 2, "min_new_tokens": 9},
}


def generate(model, inputs=None, **options):
    torch.manual_seed(3)
    inputs = sources(model) if inputs is None else inputs
    given = {"max_new_tokens": 12, "return_dict_in_generate": True, "output_logits": True}
    return model.generate(**inputs, **given | options)


def assert_same(actual, expected):
    assert torch.equal(actual.sequences, expected.sequences)
    assert_close(actual.logits, expected.logits, **CLOSE)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", DECODERS)
def test_generation_with_a_cache_is_generation_without(name, way):
    model = evolved(name)
    cached = generate(model, **WAYS[way])
    assert cached.past_key_values is not None
    assert_same(cached, generate(model, **WAYS[way], use_cache=False))


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 5},
        {"kernel_size": 1},
        {"normalize": True},
        {"alpha": 0.0},
        {"beta": 0.0},
        {"alpha": 0.0, "beta": 0.0},
        {"initialization": "identity"},
        {"activation": "leaky_relu", "learned_mixing": True},
    ],
)
def test_every_form_of_evolution_decodes_with_a_cache(options):
    model = evolved("marian", **options)
    assert_same(generate(model, num_beams=3), generate(model, num_beams=3, use_cache=False))


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_prompt_read_in_pieces_is_read_whole(name):
    model = evolved(name)
    assert_same(generate(model, prefill_chunk_size=4), generate(model))


@pytest.mark.parametrize("name", ["gpt2", "marian"])
def test_looked_up_candidates_are_taken_back(name):
    model = evolved(name)
    inputs = {key: each[:1] for key, each in sources(model).items()}
    inputs["input_ids"][:, 4:8] = inputs["input_ids"][:, :4]
    looked_up = generate(model, inputs, prompt_lookup_num_tokens=3, max_new_tokens=20)
    expected = generate(model, inputs, use_cache=False, max_new_tokens=20)
    assert torch.equal(looked_up.sequences, expected.sequences)


@pytest.mark.parametrize("name", DECODERS)
def test_an_assistant_proposes_and_is_taken_back(name):
    model, assistant = evolved(name), evolved(name)
    for weight in assistant.parameters():  # it would write something else
        weight.data.add_(torch.randn_like(weight))
    inputs = {key: each[:1] for key, each in sources(model).items()}
    alone = {"use_cache": False, "max_new_tokens": 20}
    expected = generate(model, inputs, **alone)
    assert not torch.equal(generate(assistant, inputs, **alone).sequences, expected.sequences)
    assisted = generate(model, inputs, assistant_model=assistant, max_new_tokens=20)
    assert torch.equal(assisted.sequences, expected.sequences)


@pytest.mark.parametrize("name", DECODERS)
@torch.no_grad()
def test_teacher_forcing_is_step_by_step_decoding(name):
    model = evolved(name)
    inputs, ids, masks = sources(model), "input_ids", "attention_mask"
    if model.config.is_encoder_decoder:
        ids, masks = f"decoder_{ids}", f"decoder_{masks}"
        inputs |= {ids: inputs["input_ids"].flip(1), masks: inputs["attention_mask"].flip(1)}
    else:  # their positions would count padding
        inputs["position_ids"] = (inputs[masks].cumsum(1) - 1).clamp(min=0)
    expected = model(**inputs, use_cache=False).logits
    cache, steps = None, []
    for start, stop in pairwise((0, 2, 3, 6, 7, 8, 9)):
        step = inputs | {ids: inputs[ids][:, start:stop], masks: inputs[masks][:, :stop]}
        if "position_ids" in step:
            step["position_ids"] = step["position_ids"][:, start:stop]
        outputs = model(**step, past_key_values=cache, use_cache=True)
        cache = outputs.past_key_values
        steps.append(outputs.logits)
    real = inputs[masks].bool()
    assert_close(torch.cat(steps, 1)[real], expected[real], **CLOSE)


@pytest.mark.parametrize("name", ["marian", "gpt2"])
@torch.no_grad()
def test_the_cost_of_a_step_grows_linearly_with_the_length(name):
    model = evolved(name)
    inputs, ids = {}, "input_ids"
    if model.config.is_encoder_decoder:
        inputs, ids = sources(model), "decoder_input_ids"
    costs = []
    for length in (8, 16, 24):
        tokens = torch.full((3, length), 5)
        cache = model(**inputs | {ids: tokens}, use_cache=True).past_key_values
        with FlopCounterMode(display=False) as counter:
            model(**inputs | {ids: tokens[:, :1]}, past_key_values=cache)
        costs.append(counter.get_total_flops())
    assert costs[2] - costs[1] == costs[1] - costs[0] > 0


@torch.no_grad()
def test_a_cache_follows_repetition_selection_and_cropping():
    model = evolved("gpt2")
    tokens = torch.randint(2, 40, (2, 8), generator=torch.Generator().manual_seed(4))
    cache = DynamicCache()
    model(tokens[:, :4], past_key_values=cache)
    cache.batch_repeat_interleave(2)
    cache.batch_select_indices(torch.tensor([3, 0]))
    cache.activate_past_recording()
    model(tokens[[1, 0], 2:6], past_key_values=cache)
    cache.crop(-4)
    cached = model(tokens[[1, 0], 4:], past_key_values=cache).logits
    expected = model(tokens[[1, 0]], use_cache=False).logits[:, 4:]
    assert_close(cached, expected, **CLOSE)
    cache.reset()
    assert_close(model(tokens, past_key_values=cache).logits[:, 4:].flip(0), expected, **CLOSE)


@torch.no_grad()
def test_a_copy_of_a_cache_goes_its_own_way():
    model = evolved("gpt2")
    tokens = torch.randint(2, 40, (2, 8), generator=torch.Generator().manual_seed(4))
    cache = model(tokens[:, :5], use_cache=True).past_key_values
    copied = copy.deepcopy(cache)
    model(tokens[:, :3], past_key_values=cache)
    expected = model(tokens, use_cache=False).logits[:, 5:]
    assert_close(model(tokens[:, 5:], past_key_values=copied).logits, expected, **CLOSE)


@torch.no_grad()
def test_cropping_further_back_than_rows_are_kept_is_refused():
    model = evolved("gpt2")
    cache = model(torch.full((1, 6), 3), use_cache=True).past_key_values
    with pytest.raises(RuntimeError, match=r"call activate_past_recording\(\)"):
        cache.crop(-3)


@torch.no_grad()
def test_whisper_tells_when_a_word_was_said_and_transcribes_on():
    torch.manual_seed(0)
    config = WhisperConfig(
        **{"vocab_size": 60, "d_model": 16, "num_mel_bins": 8, "max_source_positions": 20},
        **{"encoder_layers": 3, "decoder_layers": 3, "max_target_positions": 40},
        **{"encoder_attention_heads": 2, "decoder_attention_heads": 2, "median_filter_width": 3},
        **{"encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "decoder_start_token_id": 3},
        **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
    )
    model = shaken(evolve(WhisperForConditionalGeneration(config), **MIXED)).eval()
    model.generation_config.alignment_heads = [[1, 0], [2, 1]]
    sound = torch.randn(1, 8, 40)
    before = model.generate(sound, max_new_tokens=6)
    timed = model.generate(sound, max_new_tokens=6, return_token_timestamps=True)
    assert torch.equal(timed["sequences"], before)
    assert timed["token_timestamps"].shape == before.shape
    assert torch.equal(model.generate(sound, max_new_tokens=6), before)


@torch.no_grad()
def test_a_cache_of_the_user_is_filled_and_one_filled_without_evolution_refused():
    model = evolved("marian")
    own = EncoderDecoderCache(DynamicCache(), DynamicCache())
    assert_same(generate(model, past_key_values=own), generate(model))
    assert own.get_seq_length() > 0
    plain = marian().double().eval()
    filled = generate(plain).past_key_values
    with pytest.raises(ValueError, match="filled without evolution"):
        model(**sources(model), decoder_input_ids=torch.full((3, 1), 5), past_key_values=filled)


@pytest.mark.parametrize("name", ["marian", "gpt2"])
def test_caches_that_cannot_keep_rows_are_refused(name):
    with pytest.raises(ValueError, match="got layers of StaticLayer"):
        generate(evolved(name), cache_implementation="static")


def test_a_model_with_a_sliding_window_decodes_without_a_cache():
    torch.manual_seed(0)
    options = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 3}
    config = MistralConfig(
        **TOKENS, **options, num_attention_heads=2, num_key_value_heads=2, sliding_window=4
    )
    model = shaken(evolve(MistralForCausalLM(config), **MIXED)).eval()
    assert generate(model).past_key_values is None


def test_a_twin_uses_the_cache_of_transformers():
    model = evolved("marian", alpha=0.0, beta=0.0)
    layer = generate(model).past_key_values.self_attention_cache.layers[1]
    assert type(layer).__name__ == "DynamicLayer"


def test_a_cache_grows_with_the_length_and_by_rows_no_more():
    model = evolved("marian")
    cache = generate(model, max_new_tokens=12, min_new_tokens=12).past_key_values
    for index, layer in enumerate(cache.self_attention_cache.layers):
        shapes = {tuple(rows.mixed.shape) for rows in layer.rows.values()}
        assert shapes == ({(3, 2, 2, 12), (3, 2, 2, 9)} if index else set())
