"""What the attention function makes of masks, and what it hands from layer to layer."""

from collections import defaultdict

import pytest
import torch
from torch.testing import assert_close
from transformers import (
    BartForConditionalGeneration,
    BertForMaskedLM,
    BertModel,
    CLIPTextConfig,
    CLIPTextModel,
    LlamaForCausalLM,
    MistralConfig,
    MistralModel,
    T5ForConditionalGeneration,
)

from evolving_attention import evolve
from evolving_attention.models.huggingface.interface import LayerEvolution
from tests.models.huggingface.helpers import (
    KINDS,
    TINY,
    bart_config,
    bert_config,
    decoder_config,
    evolutions,
    evolving,
    labelled,
    shaken,
    t5_config,
    texts,
)


def logits(model, **batch):
    with torch.no_grad():
        return model(**batch).logits


def seq2seq_batch(lengths=(7, 5, 3), padding=0, decoder_padding=0):
    """A source, and a target that is shorter by one, padded on its left."""
    batch = texts(lengths, padding)
    targets = texts([length - 1 for length in lengths])
    ids, mask = (targets[name] for name in ("input_ids", "attention_mask"))
    left = torch.zeros(len(lengths), decoder_padding, dtype=torch.long)
    return batch | {
        "decoder_input_ids": torch.cat([left, ids], 1),
        "decoder_attention_mask": torch.cat([left, mask], 1),
    }


def record_calls(model):
    """Per chain, in order: the map handed to a layer, its map, its mask."""
    calls = defaultdict(list)

    def record(module, args, kwargs, output):
        calls[module.link.chain].append((args[3], output[1], kwargs["mask"]))

    for module in model.modules():
        if isinstance(module, LayerEvolution):
            module.register_forward_hook(record, with_kwargs=True)
    return calls


@KINDS
def test_every_layer_gets_the_map_of_the_layer_before_in_its_chain(kind):
    model = evolving(kind)
    calls = record_calls(model)
    model(**labelled())
    assert len(calls) == (3 if kind == "both" else 1)
    for chain in calls.values():
        handed, made = [each[0] for each in chain], [each[1] for each in chain]
        assert handed == [None, *made[:-1]]  # tensors are equal by identity in a list
    windows = {module.window for module in evolutions(model).values()}
    assert (
        windows
        == {
            "encoder": {"bidirectional"},
            "decoder": {"causal"},
            "both": {"bidirectional", "causal", "cross"},
        }[kind]
    )


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_padding_changes_no_real_token(kind):
    model = evolving(kind)
    real = texts()["attention_mask"].bool()
    expected = logits(model, **texts())[real]
    padded = texts(padding=4)
    padded["input_ids"] += 5 * (1 - padded["attention_mask"])  # whatever stands there
    assert_close(logits(model, **padded)[:, :7][real], expected)
    for row, length in enumerate((7, 5, 3)):
        alone = {name: each[row : row + 1, :length] for name, each in texts().items()}
        assert_close(logits(model, **alone)[0], logits(model, **texts())[row, :length])


@pytest.mark.parametrize("make", [t5_config, bart_config])
def test_padding_of_a_source_changes_no_token_of_the_target(make):
    kinds = {t5_config: T5ForConditionalGeneration, bart_config: BartForConditionalGeneration}
    model = kinds[make](make()).double().eval()
    model = shaken(evolve(model, initialization="random", learned_mixing=True))
    expected = logits(model, **seq2seq_batch())
    real = seq2seq_batch()["decoder_attention_mask"].bool()
    assert_close(logits(model, **seq2seq_batch(padding=4))[real], expected[real])


def test_padding_before_a_target_changes_none_of_its_tokens():
    model = evolving("both")
    real = seq2seq_batch()["decoder_attention_mask"].bool()
    expected = logits(model, **seq2seq_batch())[real]
    padded = logits(model, **seq2seq_batch(decoder_padding=2))[:, 2:]
    assert_close(padded[real], expected)  # T5's positions are relative


def test_padding_before_a_text_changes_none_of_its_tokens():
    model = evolving("decoder")
    batch = texts()
    expected = logits(model, **batch)[batch["attention_mask"].bool()]
    left = {name: torch.cat([torch.zeros(3, 2).long(), each], 1) for name, each in batch.items()}
    real = left["attention_mask"].bool()
    actual = logits(model, **left)[real]  # rotary positions are relative, and float32
    assert_close(actual, expected, rtol=0, atol=1e-4)


@KINDS
def test_maps_are_zero_wherever_there_is_padding(kind):
    model = evolving(kind)
    calls = record_calls(model)
    batch = seq2seq_batch(decoder_padding=1) if kind == "both" else texts()
    model(**batch)
    real_keys = batch["attention_mask"].bool()
    for name, chain in calls.items():
        is_decoder = name.startswith("decoder")
        real_queries = batch["decoder_attention_mask"].bool() if is_decoder else real_keys
        columns = real_queries if "SelfAttention" in name else real_keys
        inside = real_queries[:, None, :, None] & columns[:, None, None, :]
        for _, own_map, _ in chain:
            outside = own_map.masked_select(~inside)
            assert outside.numel() > 0
            assert not outside.any(), name
            assert own_map.masked_select(inside).any()


def test_a_later_token_changes_nothing_before_it():
    for model in (evolving("decoder"), sliding(), text_tower()):
        batch = texts()
        changed = batch | {"input_ids": batch["input_ids"].clone()}
        changed["input_ids"][:, 4] = 39 - changed["input_ids"][:, 4]
        with torch.no_grad():
            expected, actual = model(**batch)[0], model(**changed)[0]
        assert_close(actual[:, :4], expected[:, :4])
        assert (actual[0, 4:] - expected[0, 4:]).abs().max() > 1e-3


def test_a_later_token_of_a_target_changes_nothing_before_it():
    model, batch = evolving("both"), seq2seq_batch()
    changed = batch | {"decoder_input_ids": batch["decoder_input_ids"].clone()}
    changed["decoder_input_ids"][:, 4] = 39 - changed["decoder_input_ids"][:, 4]
    expected, actual = logits(model, **batch), logits(model, **changed)
    assert_close(actual[:, :4], expected[:, :4])
    assert (actual[0, 4:] - expected[0, 4:]).abs().max() > 1e-3


def sliding():
    config = MistralConfig(**TINY, num_key_value_heads=1, sliding_window=3)
    return shaken(evolve(MistralModel(config).double().eval(), initialization="random"))


def text_tower():
    """Its attention modules do not say that they look back only; the code around them does."""
    config = CLIPTextConfig(**TINY, eos_token_id=39)
    return shaken(evolve(CLIPTextModel(config).double().eval(), initialization="random"))


def test_a_sliding_window_is_a_mask():
    model = sliding()
    calls = record_calls(model)
    model(**texts((6, 6)))
    step = torch.arange(6)
    near = (step[:, None] >= step) & (step[:, None] - step < 3)
    (chain,) = calls.values()
    for _, own_map, mask in chain:
        assert torch.equal(mask.expand(2, 1, 6, 6), near.expand(2, 1, 6, 6))
        assert torch.equal(own_map != 0, near.expand_as(own_map))


def test_grouped_keys_are_those_of_their_heads():
    grouped = evolving("decoder")
    config = decoder_config(num_key_value_heads=4)
    whole = evolve(LlamaForCausalLM(config).double().eval(), initialization="random")
    weights = grouped.state_dict()
    for name, weight in weights.items():
        if "k_proj" in name or "v_proj" in name:  # two heads of four columns each, twice
            weights[name] = weight.unflatten(0, (2, 4)).repeat_interleave(2, 0).flatten(0, 1)
    whole = evolve(
        LlamaForCausalLM(config).double().eval(), initialization="random", learned_mixing=True
    )
    whole.load_state_dict(weights)
    assert_close(logits(whole, **texts()), logits(grouped, **texts()))


def test_additive_masks_are_read_as_masks_and_biases():
    model = evolving("encoder")
    batch, lowest = texts(), torch.finfo(torch.float64).min
    keys = batch["attention_mask"].bool()[:, None, None, :]
    expected = logits(model, **batch)
    additive = torch.zeros(3, 1, 7, 7).double().masked_fill(~keys, lowest)
    rows = batch["attention_mask"].bool()
    actual = logits(model, input_ids=batch["input_ids"], attention_mask=additive)
    assert_close(actual[rows], expected[rows])
    biased = additive + torch.arange(7).double()
    other = logits(model, input_ids=batch["input_ids"], attention_mask=biased)
    assert (other - expected)[rows].abs().max() > 1e-3
    assert other.isfinite().all()


def test_a_mask_of_another_form_is_refused():
    model = evolving("encoder")
    layer = model.bert.encoder.layer[1].attention.self
    model.bert.encoder.layer[1].attention.self.forward = lambda hidden, *_, **__: type(
        layer
    ).forward(layer, hidden, torch.ones(3, 7, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"got \[3, 7\]"):
        model(**texts())


@KINDS
def test_attentions_are_probabilities_and_only_made_when_asked_for(kind, monkeypatch):
    model = evolving(kind)
    calls = record_calls(model)
    asked = model(**labelled(), output_attentions=True)
    named = {"cross_attentions", "decoder_attentions", "encoder_attentions"}
    for name in named if kind == "both" else {"attentions"}:
        assert len(asked[name]) == 3
    for name, chain in calls.items():
        returned = asked[_attentions_of(name)]
        for (_, own_map, mask), weights in zip(chain, returned, strict=True):
            masked = own_map.masked_fill(~mask, -torch.inf)
            assert_close(weights, masked.softmax(-1).nan_to_num())  # rows of padding are 0
    made = []
    monkeypatch.setattr(
        "evolving_attention.models.huggingface.interface.probabilities", made.append
    )
    plain = model(**labelled())
    assert not made
    assert_close(plain.logits, asked.logits)


def _attentions_of(chain):
    if "EncDec" in chain:
        return "cross_attentions"
    return {"encoder": "encoder_attentions", "decoder": "decoder_attentions"}.get(
        chain.partition(".")[0], "attentions"
    )


def test_a_causal_mask_over_an_encoder_is_refused():
    model = evolving("encoder")
    causal = torch.ones(3, 1, 7, 7, dtype=torch.bool).tril()
    with pytest.raises(ValueError, match="evolved as an encoder"):
        model(input_ids=texts()["input_ids"], attention_mask=causal)


def test_texts_of_one_word_are_no_causal_mask():
    model = evolving("encoder")
    model(**texts((1, 1), padding=3))


@pytest.mark.parametrize("options", [{"alpha": 0.0}, {"beta": 0.0}, {"kernel_size": 1}])
def test_maps_are_kept_only_where_there_is_a_residual(options):
    model = evolve(BertForMaskedLM(bert_config()), initialization="random", **options)
    calls = record_calls(model)
    model(**texts())
    (chain,) = calls.values()
    assert [each[0] is None for each in chain] == (
        [True] * 3 if options == {"alpha": 0.0} else [True, False, False]
    )


def test_normalised_maps_are_an_option():
    plain = BertModel(bert_config()).eval()
    outputs = []
    for normalize in (False, True):
        torch.manual_seed(0)
        model = evolve(
            BertModel.from_pretrained(None, config=plain.config, state_dict=plain.state_dict()),
            initialization="random",
            normalize=normalize,
        )
        outputs.append(shaken(model)(**texts())[0])
    assert (outputs[0] - outputs[1]).abs().max() > 1e-3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@KINDS
def test_half_precision_is_near_to_full(kind, dtype):
    if kind == "both" and dtype is torch.float16:
        pytest.skip("T5 keeps parts in float32 then")
    model = evolving(kind).float()
    expected = logits(model, **labelled())
    model = model.to(dtype)
    assert all(each.dtype is dtype for each in evolutions(model).popitem()[1].parameters())
    real = labelled()["attention_mask"].bool()
    difference = (logits(model, **labelled()).float() - expected)[real]
    assert difference.norm() < 0.1 * expected[real].norm()


@KINDS
def test_mixed_precision_trains(kind):
    model = evolving(kind).float().train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(**labelled()).loss
    loss.backward()
    for name, parameter in model.named_parameters():
        if ".evolution." in name:
            assert parameter.grad.dtype is torch.float32
            assert parameter.grad.isfinite().all()
            assert parameter.grad.any(), name


def test_a_model_that_is_evolved_in_half_precision_stays_in_it():
    model = evolve(BertModel(bert_config()).bfloat16())
    assert {each.dtype for each in model.parameters()} == {torch.bfloat16}


def test_a_decoder_writes_what_single_passes_over_all_of_it_say():
    model = evolving("decoder")
    prompt = {name: each[:1] for name, each in texts().items()}
    written = model.generate(**prompt, max_new_tokens=4, do_sample=False, pad_token_id=0)
    ids = prompt["input_ids"]
    for _ in range(4):
        ids = torch.cat([ids, logits(model, input_ids=ids)[:, -1:].argmax(-1)], 1)
    assert torch.equal(written, ids)


def test_the_twin_of_a_decoder_keeps_its_cache():
    plain = LlamaForCausalLM(decoder_config()).double().eval()
    options = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    expected = plain.generate(**texts((5, 5)), **options)
    twin = evolve(plain, alpha=0, beta=0)
    assert twin.config.use_cache
    assert torch.equal(twin.generate(**texts((5, 5)), **options), expected)
