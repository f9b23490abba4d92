import copy
import doctest
import importlib
import pickle

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    BertForSequenceClassification,
    BertModel,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    T5ForConditionalGeneration,
)

from evolving_attention import evolve, load_evolved
from evolving_attention.models.huggingface.chains import find_chains
from tests.models.huggingface.helpers import (
    assert_same_weights,
    bert_config,
    evolutions,
    new_parameters,
    shaken,
    t5_config,
    texts,
)

SAVED = "BertForSequenceClassification"


@pytest.fixture
def plain():
    return BertForSequenceClassification(bert_config()).double().eval()


def t5():
    torch.manual_seed(0)
    return T5ForConditionalGeneration(t5_config()).double().eval()


def outputs(model, **options):
    return model(**texts(), **options).logits


def test_the_identity_start_computes_what_the_plain_model_computed(plain):
    expected = outputs(plain)
    model = evolve(plain, alpha=0.3, beta=0.4)
    assert model is plain
    assert_close(outputs(model), expected, rtol=0, atol=1e-6)


def test_every_new_parameter_gets_a_gradient_from_the_identity_start(plain):
    model = evolve(plain, alpha=0.3, beta=0.4).train()
    model(**texts(), labels=torch.tensor([0, 1, 1])).loss.backward()
    gradients = {
        name: parameter.grad.abs().sum()
        for name, parameter in model.named_parameters()
        if name in new_parameters(model)
    }
    assert len(gradients) == 4  # two layers, alpha and kernel
    assert all(gradients.values())


@pytest.mark.parametrize("options", [{"initialization": "random"}, {"activation": "identity"}])
def test_every_layer_but_the_first_evolves(plain, options):
    model = evolve(plain, alpha=0.3, beta=0.4, **options)
    assert [*evolutions(model)] == [
        f"bert.encoder.layer.{index}.attention.self.evolution" for index in (1, 2)
    ]


def test_a_random_start_changes_the_model(plain):
    expected = outputs(plain)
    model = evolve(plain, alpha=0.3, beta=0.4, initialization="random")
    assert (outputs(model) - expected).abs().max() > 1e-3


def test_the_twin_has_no_parameters_and_computes_plain_attention(plain):
    expected = outputs(plain)
    twin = evolve(plain, alpha=0, beta=0)
    assert new_parameters(twin) == set()
    assert_close(outputs(twin), expected, rtol=0, atol=1e-6)


def test_saving_and_loading_gives_the_same_bits(plain, tmp_path):
    model = shaken(evolve(plain, alpha=0.3, beta=0.4))
    model.save_pretrained(tmp_path)
    loaded = load_evolved(tmp_path)
    assert_same_weights(loaded, model)
    assert_close(outputs(loaded), outputs(model))
    assert loaded.config.architectures == [SAVED]


def test_loading_can_change_the_head(plain, tmp_path):
    model = shaken(evolve(plain, alpha=0.3, beta=0.4))
    model.save_pretrained(tmp_path)
    loaded = load_evolved(tmp_path, AutoModel)
    assert isinstance(loaded, BertModel)
    assert_same_weights(loaded, model.bert)
    expected = model.bert(**texts()).last_hidden_state
    assert_close(loaded(**texts()).last_hidden_state, expected)


def test_loading_takes_what_from_pretrained_takes(plain, tmp_path):
    model = shaken(evolve(plain, alpha=0.3, beta=0.4))
    model.bert.save_pretrained(tmp_path / "inside")
    loaded = load_evolved(
        tmp_path, AutoModelForSequenceClassification, num_labels=5, subfolder="inside"
    )
    assert loaded.classifier.out_features == 5
    assert_same_weights(loaded.bert, model.bert)


def test_a_model_that_evolve_did_not_make_is_not_loaded(plain, tmp_path):
    plain.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no model that evolve made"):
        load_evolved(tmp_path)


def test_a_plain_model_with_the_configuration_of_an_evolving_one_is_told_from_it(plain, tmp_path):
    model = shaken(evolve(plain, alpha=0.3, beta=0.4))
    without = AutoModelForSequenceClassification.from_config(model.config)
    with pytest.raises(ValueError, match=r"load_evolved, or set config\.evolution = None"):
        evolve(without)
    without.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"saved without \d+ parameters of its evolution"):
        load_evolved(tmp_path)
    without.config.evolution = None
    assert evolutions(evolve(without))


def test_a_chain_that_attends_in_pieces_is_refused_and_others_evolve():
    model = Qwen2VLForConditionalGeneration(
        Qwen2VLConfig(
            text_config={
                **{"vocab_size": 40, "hidden_size": 16, "intermediate_size": 16},
                **{"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2},
                "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]},
            },
            vision_config={"depth": 2, "embed_dim": 16, "num_heads": 2, "hidden_size": 16},
        )
    )
    with pytest.raises(ValueError, match=r"blocks\.\*\.attn attends to pieces .* 'decoder'"):
        evolve(model)
    evolve(model, chains=["decoder"])
    assert new_parameters(model)


def test_models_made_from_one_configuration_do_not_share_their_evolution(tmp_path):
    config = bert_config()
    model, twin, other = (BertModel(config) for _ in range(3))
    evolve(model, alpha=0.3, beta=0.4)
    evolve(twin, alpha=0, beta=0)
    assert (model.config.evolution["alpha"], twin.config.evolution["alpha"]) == (0.3, 0)
    assert other.config._attn_implementation == "sdpa"
    model.save_pretrained(tmp_path)
    assert_same_weights(load_evolved(tmp_path), model)


@pytest.mark.parametrize("how", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_is_a_model_of_its_own(plain, how):
    model = shaken(evolve(plain, alpha=0.3, beta=0.4))
    expected = outputs(model)
    copied = how(model)
    assert type(copied) is type(model)
    assert_close(outputs(copied), expected)
    for evolution in evolutions(copied).values():
        nn.init.zeros_(evolution.convolution.weight)
    assert_close(outputs(model), expected)
    assert (outputs(copied) - expected).abs().max() > 1e-3


def test_a_model_evolves_once(plain):
    with pytest.raises(ValueError, match="evolves already"):
        evolve(evolve(plain))


def test_a_module_that_is_no_model_of_transformers_is_refused():
    with pytest.raises(TypeError, match="got Linear"):
        evolve(nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"activation": "relu", "initialization": "identity"}, "map_activation"),
        ({"alpha": "0.2"}, r"alpha must lie in \[0, 1\], got '0\.2'"),
        ({"kernel_size": 3.0}, r"kernel_size must be a positive odd number, got 3\.0"),
    ],
)
def test_options_that_do_not_fit_leave_the_model_as_it_was(plain, options, told):
    expected = outputs(plain)
    with pytest.raises(ValueError, match=told):
        evolve(plain, **options)
    assert type(plain) is BertForSequenceClassification
    assert torch.equal(outputs(plain), expected)


@pytest.mark.parametrize("chains", [["cross"], ("decoder", "encoder")])
def test_only_the_chains_that_are_named_evolve(chains):
    model = evolve(t5(), initialization="random", chains=chains)
    found = {chain.kind: chain.layers for chain in find_chains(model)}
    assert sorted(found) == ["cross", "decoder", "encoder"]
    for kind, layers in found.items():
        evolving = [layer.evolution.evolves for layer in layers]
        assert evolving == [False, *[kind in chains] * (len(layers) - 1)]


def test_chains_that_do_not_evolve_have_the_bits_of_the_twin():
    given = {"input_ids": torch.tensor([[5, 6, 7, 1]])}
    states = [
        evolve(t5(), **options).encoder(**given).last_hidden_state
        for options in (
            {"alpha": 0, "beta": 0, "initialization": "random"},
            {"initialization": "random", "chains": ["decoder", "cross"]},
        )
    ]
    assert torch.equal(*states)


def test_a_loaded_model_evolves_in_the_same_chains(tmp_path):
    model = evolve(t5(), initialization="random", chains=("decoder",)).eval()
    model.save_pretrained(tmp_path)
    loaded = load_evolved(tmp_path).eval()
    assert_same_weights(loaded, model)
    assert loaded.config.evolution["chains"] == ["decoder"]
    source = torch.tensor([[5, 6, 7, 1]])
    assert torch.equal(
        loaded.generate(source, max_new_tokens=6), model.generate(source, max_new_tokens=6)
    )


@pytest.mark.parametrize(
    ("chains", "told"),
    [
        (["cross"], r"has no chain 'cross' that could evolve; it has 'encoder'\."),
        ("encoder", r"chains must be a list of 'encoder', 'decoder', 'cross', .* got 'encoder'\."),
        (["encoder", "memory"], r"got \['encoder', 'memory'\]"),
        ([], r"or None for all, got \[\]"),
    ],
)
def test_chains_that_there_are_not_leave_the_model_as_it_was(plain, chains, told):
    expected = outputs(plain)
    with pytest.raises(ValueError, match=told):
        evolve(plain, chains=chains)
    assert type(plain) is BertForSequenceClassification
    assert torch.equal(outputs(plain), expected)


def test_weights_that_are_not_in_memory_are_refused(plain):
    plain.bert.encoder.layer[1].to("meta")
    with pytest.raises(ValueError, match="not in memory"):
        evolve(plain)
    assert not new_parameters(plain)


def test_another_attention_is_refused(plain):
    model = evolve(plain)
    with pytest.raises(ValueError, match="'sdpa'"):
        model.set_attn_implementation("sdpa")


def test_another_attention_set_for_a_part_is_refused_rather_than_used(plain):
    model = evolve(plain)
    model.bert.set_attn_implementation("sdpa")  # the part is transformers' own, and lets it happen
    with pytest.raises(RuntimeError, match=r"bert\.encoder evolves, but .* 'sdpa'"):
        outputs(model)


def test_the_example_of_the_docstring_holds():
    module = importlib.import_module("evolving_attention.models.huggingface.evolving")
    failed, attempted = doctest.testmod(module)
    assert (failed, attempted > 0) == (0, True)


def test_a_config_that_asks_for_attentions_is_told_to_ask_in_the_call():
    config = bert_config(attn_implementation="eager")
    config.output_attentions = True
    with pytest.raises(ValueError, match="output_attentions=True in the call"):
        evolve(BertModel(config))
