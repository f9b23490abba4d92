import doctest

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoConfig, AutoModelForSeq2SeqLM, GenerationConfig, MarianMTModel

from evolving_attention import evolve, load_evolved
from evolving_attention.models import (
    EATransformerConfig,
    EATransformerForConditionalGeneration,
    ea_transformer,
)
from evolving_attention.models.ea_transformer import PRESETS
from tests.models.huggingface.decoders import DECODERS
from tests.models.huggingface.helpers import assert_same_weights, shaken

LENGTHS = (9, 6, 3)


def network(preset="tiny", seed=0, **options):
    torch.manual_seed(seed)
    config = EATransformerConfig.preset(preset, vocab_size=40, dropout=0.0, **options)
    return shaken(EATransformerForConditionalGeneration(config)).eval()


def pairs(lengths=LENGTHS, padding=0):
    """Sources and targets that end at different places, ``padding`` more columns of both."""
    longest = max(lengths) + padding
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(2, 40, (2, len(lengths), max(lengths)), generator=generator)
    ids = torch.nn.functional.pad(ids, (0, padding))
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    source, target = ids * mask
    labels = target.masked_fill(~mask, -100)
    return {"input_ids": source, "attention_mask": mask.long(), "labels": labels}


@pytest.mark.parametrize("way", [{}, {"num_beams": 5, "length_penalty": 0.6}])
@pytest.mark.parametrize(
    "preset",
    [pytest.param(name, marks=pytest.mark.slow if name == "big" else ()) for name in PRESETS],
)
def test_every_preset_generates_with_a_cache_what_it_generates_without(preset, way):
    assert_generates_the_same_with_a_cache(network(preset), way)


@pytest.mark.parametrize("chain", ["encoder", "decoder", "cross"])
def test_so_does_a_network_of_which_one_chain_evolves(chain):
    assert_generates_the_same_with_a_cache(network(chains=[chain]), {"num_beams": 3})


def assert_generates_the_same_with_a_cache(model, way):
    batch = pairs((5, 2))
    del batch["labels"]
    given = {"max_new_tokens": 6, "return_dict_in_generate": True, "output_logits": True} | way
    cached, plain = (model.generate(**batch, **given, use_cache=use) for use in (True, False))
    assert torch.equal(cached.sequences, plain.sequences)
    assert_close(cached.logits, plain.logits, rtol=0, atol=1e-5)
    assert cached.past_key_values.get_seq_length() == len(cached.logits)


@torch.no_grad()
def test_changing_a_target_token_changes_no_logit_before_it():
    model = network().double()
    batch = pairs((9,))
    expected = model(**batch).logits
    for position in range(8):
        changed = batch | {"labels": batch["labels"].clone()}
        changed["labels"][:, position] = 41 - changed["labels"][:, position]
        logits = model(**changed).logits
        # the label at a position is what the decoder reads at the next
        assert_close(logits[:, : position + 1], expected[:, : position + 1], rtol=0, atol=1e-12)
        assert (logits[:, position + 1] - expected[:, position + 1]).abs().max() > 1e-6


@torch.no_grad()
def test_padding_changes_nothing():
    model = network().double()
    batch, padded = pairs(), pairs(padding=5)
    real = batch["labels"] != -100
    expected = model(**batch)
    longer = model(**padded)
    assert_close(longer.logits[:, :9][real], expected.logits[real], rtol=0, atol=1e-12)
    assert_close(longer.loss, expected.loss)
    for index, length in enumerate(LENGTHS):  # nor does being alone
        alone = {name: each[index : index + 1, :length] for name, each in batch.items()}
        logits = model(**alone).logits[0]
        assert_close(logits, expected.logits[index, :length], rtol=0, atol=1e-12)


@torch.no_grad()
def test_what_padding_holds_changes_nothing():
    model = network().double()
    batch = pairs()
    expected = model(**batch).logits
    ids = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, 17)
    assert_close(model(**batch | {"input_ids": ids}).logits, expected, rtol=0, atol=1e-12)


@torch.no_grad()
def test_teacher_forcing_is_step_by_step_decoding():
    model = network().double()
    batch = pairs((9, 9, 9))
    expected = model(**batch).logits
    decoder = model.prepare_decoder_input_ids_from_labels(batch.pop("labels"))
    cache, logits = None, []
    for position in range(9):
        step = model(
            **batch,
            decoder_input_ids=decoder[:, position : position + 1],
            past_key_values=cache,
            use_cache=True,
        )
        cache = step.past_key_values
        logits.append(step.logits)
    assert_close(torch.cat(logits, 1), expected, rtol=0, atol=1e-12)


def test_generation_is_greedy_by_hand_and_forced_tokens_are_forced():
    model = network()
    batch = pairs((9,))
    del batch["labels"]
    written = model.generate(**batch, max_new_tokens=6, min_new_tokens=6)
    ids = torch.full((1, 1), model.config.decoder_start_token_id)
    with torch.no_grad():
        for _ in range(6):
            logits = model(**batch, decoder_input_ids=ids).logits[:, -1]
            logits[:, model.config.eos_token_id] = -torch.inf
            ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], 1)
    assert torch.equal(written, ids)
    forced = model.generate(**batch, max_new_tokens=6, forced_bos_token_id=33, num_beams=3)
    assert (forced[:, 1] == 33).all()


def test_the_lite_size_has_two_and_a_half_million_parameters_beside_the_embeddings():
    config = EATransformerConfig.preset("lite")
    assert config.to_dict() == EATransformerConfig().to_dict()
    with torch.device("meta"):
        model = EATransformerForConditionalGeneration(config)
    embeddings = {id(each.weight) for each in model.modules() if hasattr(each, "num_embeddings")}
    others = [each.numel() for each in model.parameters() if id(each) not in embeddings]
    assert sum(others) == pytest.approx(2.5e6, rel=0.02)


def test_embeddings_start_with_unit_variance_after_scaling_and_are_shared():
    model = EATransformerForConditionalGeneration(EATransformerConfig.preset("small"))
    scaled = model.model.shared.weight * model.model.encoder.embed_scale
    assert scaled[1:].var().item() == pytest.approx(1, rel=0.02)
    assert not model.model.shared.weight[0].any()
    weight = model.model.decoder.layers[0].encoder_attn.q_proj.weight
    assert weight.var().item() == pytest.approx(1 / 256, rel=0.05)
    assert model.lm_head.weight is model.model.decoder.embed_tokens.weight


def test_a_network_and_its_twin_start_from_the_same_weights():
    config = EATransformerConfig.preset("tiny", vocab_size=40)
    states = []
    for each in (config, config.twin()):
        torch.manual_seed(3)
        states.append(EATransformerForConditionalGeneration(each).state_dict())
    new = states[0].keys() - states[1].keys()
    assert new == {name for name in states[0] if ".evolution." in name}
    assert len(new) == 3 * 2 * 2  # chains, evolving layers, kernel and bias
    for name, tensor in states[1].items():
        assert torch.equal(states[0][name], tensor), name


def test_the_twin_is_marian():
    config = EATransformerConfig.preset("tiny", vocab_size=40, dropout=0.0).twin()
    twin = EATransformerForConditionalGeneration(config).eval()
    plain = MarianMTModel(config).eval()
    plain.load_state_dict(twin.state_dict())
    real = pairs()["labels"] != -100
    assert_close(twin(**pairs()).logits[real], plain(**pairs()).logits[real])


def test_saving_and_loading_through_auto_classes_gives_the_same_bits(tmp_path):
    model = network(alpha=0.3, map_kernel_size=5, learned_mixing=True)
    model.save_pretrained(tmp_path)
    loaded, report = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, output_loading_info=True)
    assert type(loaded) is type(model)
    assert not any(report.values())
    assert_same_weights(loaded, model)
    assert_close(loaded(**pairs()).logits, model(**pairs()).logits)
    assert AutoConfig.from_pretrained(tmp_path).map_kernel_size == 5
    assert GenerationConfig.from_pretrained(tmp_path).eos_token_id == 1
    assert loaded.generation_config.use_cache is not False


@pytest.mark.parametrize("name", ["marian", "bart", "t5"])
def test_a_pretrained_network_evolves_and_writes_what_it_wrote(name, tmp_path):
    torch.manual_seed(0)
    plain = DECODERS[name]().eval()
    batch = pairs()
    del batch["labels"]
    expected = plain.generate(**batch, num_beams=3, max_new_tokens=8)
    model = evolve(plain)
    assert torch.equal(model.generate(**batch, num_beams=3, max_new_tokens=8), expected)
    shaken(model).save_pretrained(tmp_path)
    loaded = load_evolved(tmp_path).eval()
    written = [
        each.generate(**batch, num_beams=3, max_new_tokens=8, use_cache=use)
        for each in (model, loaded)
        for use in (True, False)
    ]
    assert all(torch.equal(each, written[0]) for each in written[1:])


def test_every_new_parameter_gets_a_gradient():
    model = network().train()
    model(**pairs()).loss.backward()
    for name, parameter in model.named_parameters():
        if ".evolution." in name:
            assert parameter.grad.any(), name


def test_a_batch_weighs_its_tokens():
    assert network().loss_weight(pairs()) == sum(LENGTHS)


def test_an_unknown_preset_is_told():
    with pytest.raises(ValueError, match="preset must be one of tiny, small, lite, base, big"):
        EATransformerConfig.preset("huge")


def test_the_examples_run():
    assert doctest.testmod(ea_transformer).failed == 0


def test_smoothing_spreads_a_share_of_the_target_while_it_trains_and_ignores_padding():
    model, batch = network().double(), pairs()
    plain = model(**batch)
    log_probabilities = plain.logits.log_softmax(-1)
    real = batch["labels"] != -100
    labels = batch["labels"].clamp(min=0)[..., None]
    share = 0.9 * log_probabilities.gather(-1, labels)[..., 0] + 0.1 * log_probabilities.mean(-1)
    model.label_smoothing = 0.1
    assert_close(model(**batch).loss, plain.loss)
    model.train()  # without dropout
    smoothed = model(**batch)
    assert_close(smoothed.loss, -share[real].mean())
    assert_close(smoothed.logits, plain.logits)
    assert_close(model(**pairs(padding=4)).loss, smoothed.loss)
    assert_close(model(**batch, return_dict=False)[0], smoothed.loss)
    smoothed.loss.backward()
    assert all(each.grad is not None for each in model.parameters() if each.requires_grad)


def test_smoothing_takes_arguments_by_place_and_embeddings_as_the_network_does():
    model, batch = network(), pairs()
    decoder_ids = model.prepare_decoder_input_ids_from_labels(batch["labels"])
    model.label_smoothing = 0.1
    model.train()  # without dropout
    expected = model(**batch).loss
    source, labels = (batch["input_ids"], batch["attention_mask"]), batch["labels"]
    nothing = [None] * 5
    assert_close(model(*source, decoder_ids, *nothing, labels).loss, expected)
    embedded = model.model.decoder.embed_tokens(decoder_ids)
    assert_close(model(*source, decoder_inputs_embeds=embedded, labels=labels).loss, expected)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"encoder_layers": 0}, "encoder_layers must be at least 1, got 0"),
        ({"decoder_ffn_dim": -3}, "decoder_ffn_dim must be at least 1, got -3"),
        ({"d_model": 0}, "d_model must be at least 1, got 0"),
        ({"decoder_attention_heads": 5}, "d_model must be a multiple of decoder_attention_heads"),
        ({"dropout": 1.5}, r"dropout must lie in \[0, 1\), got 1.5"),
    ],
)
def test_sizes_that_make_no_network_are_told(options, words):
    with pytest.raises(ValueError, match=words):
        EATransformerConfig.preset("tiny", **options)
