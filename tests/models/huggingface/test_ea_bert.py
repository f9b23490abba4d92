import logging

import pytest
import torch
from torch.testing import assert_close
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    BertForMaskedLM,
    BertForSequenceClassification,
)

from evolving_attention import evolve
from evolving_attention.models import (
    EABertConfig,
    EABertForMaskedLM,
    EABertForSequenceClassification,
    EABertModel,
)
from tests.models.huggingface.helpers import (
    TINY,
    assert_same_weights,
    bert_config,
    new_parameters,
    shaken,
    texts,
)


@pytest.fixture
def checkpoint(tmp_path):
    BertForMaskedLM(bert_config()).save_pretrained(tmp_path / "plain")
    return tmp_path / "plain"


def load(kind, folder, **options):
    return kind.from_pretrained(folder, output_loading_info=True, **options)


def test_a_plain_checkpoint_loads_and_exactly_the_new_parameters_are_new(checkpoint, caplog):
    with caplog.at_level(logging.WARNING):
        model, report = load(EABertForMaskedLM, checkpoint, alpha=0.1, beta=0.4)
    assert report["missing_keys"] == new_parameters(model)
    assert len(report["missing_keys"]) == 4  # two layers, kernel and bias
    assert not report["unexpected_keys"]
    assert "You are using a model of type" not in caplog.text
    assert (model.config.alpha, model.config.beta) == (0.1, 0.4)


def test_new_parameters_start_at_random_and_loaded_ones_stay(checkpoint):
    plain = BertForMaskedLM.from_pretrained(checkpoint).state_dict()
    model, report = load(EABertForMaskedLM, checkpoint)
    bound = (2 * 9) ** -0.5
    for name, tensor in model.state_dict().items():
        if name in report["missing_keys"]:
            assert 0 < tensor.abs().max() <= bound, name
        else:
            assert torch.equal(tensor, plain[name]), name


def test_the_identity_start_computes_what_the_checkpoint_computes(checkpoint):
    plain = BertForMaskedLM.from_pretrained(checkpoint)
    model = EABertForMaskedLM.from_pretrained(checkpoint, map_initialization="identity")
    real = texts()["attention_mask"].bool()
    expected = plain(**texts()).logits[real]
    assert_close(model(**texts()).logits[real], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("auto", "kind"),
    [
        (AutoModel, EABertModel),
        (AutoModelForMaskedLM, EABertForMaskedLM),
        (AutoModelForSequenceClassification, EABertForSequenceClassification),
    ],
)
def test_saving_and_loading_through_auto_classes_gives_the_same_bits(auto, kind, tmp_path):
    config = EABertConfig(**TINY, alpha=0.3, map_kernel_size=5, learned_mixing=True)
    model = shaken(kind(config)).eval()
    model.save_pretrained(tmp_path)
    loaded, report = load(auto, tmp_path)
    assert type(loaded) is kind
    assert not any(report.values())
    assert_same_weights(loaded, model)
    expected, actual = (each(**texts())[0] for each in (model, loaded))
    assert_close(actual, expected)


def test_the_configuration_keeps_the_evolution(tmp_path):
    config = EABertConfig(alpha=0.1, beta=0.3, map_initialization="identity", normalize_maps=True)
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(loaded, EABertConfig)
    assert loaded.to_dict() == config.to_dict() | {"_name_or_path": str(tmp_path)}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"alpha": 1.5}, "alpha must lie in"),
        ({"map_kernel_size": 2}, "map_kernel_size must be"),
        ({"map_activation": "tanh"}, "map_activation must be one of"),
        ({"map_initialization": "identity", "map_activation": "relu"}, "needs map_activation"),
        ({"map_initialization": "identity", "beta": 0.0}, "needs beta above 0"),
    ],
)
def test_a_mistake_in_the_configuration_is_told(options, told):
    with pytest.raises(ValueError, match=told):
        EABertConfig(**options)


def test_what_evolve_made_loads_with_its_options_unless_others_are_given(tmp_path):
    made = evolve(
        BertForMaskedLM(bert_config()), alpha=0.1, beta=0.3, initialization="random", kernel_size=5
    )
    shaken(made).save_pretrained(tmp_path)
    model = EABertForMaskedLM.from_pretrained(tmp_path)
    assert (model.config.alpha, model.config.beta, model.config.map_kernel_size) == (0.1, 0.3, 5)
    assert_same_weights(model, made)
    twin = EABertForMaskedLM.from_pretrained(tmp_path, alpha=0.0, beta=0.0)
    assert twin.config.is_twin
    assert new_parameters(twin) == set()


def test_a_mistake_beside_a_checkpoint_is_told(checkpoint):
    with pytest.raises(ValueError, match="alpha must lie in"):
        EABertModel.from_pretrained(checkpoint, alpha=2.0)


def test_a_configuration_that_asks_for_attentions_is_refused_before_it_cannot_be_saved(checkpoint):
    with pytest.raises(ValueError, match="output_attentions=True in the call"):
        EABertModel.from_pretrained(checkpoint, output_attentions=True)


def test_a_model_and_its_twin_start_from_the_same_weights(checkpoint):
    config = EABertConfig(**TINY, alpha=0.3, map_initialization="identity")
    weights = []
    for each in (config, config.twin()):
        assert each.is_twin == (each is not config)
        torch.manual_seed(3)
        weights.append(EABertForSequenceClassification(each).state_dict())
        torch.manual_seed(3)
        loaded = EABertForSequenceClassification.from_pretrained(checkpoint, config=each)
        weights[-1] |= {f"loaded.{name}": each for name, each in loaded.state_dict().items()}
    evolving, twin = weights
    assert evolving.keys() - twin.keys() == {name for name in evolving if ".evolution." in name}
    for name in twin:
        assert torch.equal(evolving[name], twin[name]), name


def test_the_head_of_a_classifier_is_new_too(checkpoint):
    BertForSequenceClassification(bert_config()).save_pretrained(checkpoint)
    model, report = load(EABertForSequenceClassification, checkpoint)
    assert report["missing_keys"] == new_parameters(model)
