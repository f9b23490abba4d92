import copy
import pickle

import pytest
import torch
from torch.testing import assert_close
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTimeSeriesPrediction,
    set_seed,
)

from evolving_attention.models import (
    EADCTransformerForClassification,
    EADCTransformerForRegression,
    EADCTransformerModel,
)
from evolving_attention.models.pooling import POOLINGS
from tests.models.helpers import lived_in, padded, series_of, small_config

KINDS = [EADCTransformerModel, EADCTransformerForClassification, EADCTransformerForRegression]
IDENTITY = {
    "map_initialization": "identity",
    "map_activation": "identity",
    "learned_mixing": True,
}


def trained(kind=EADCTransformerForClassification, **options):
    """A float32 model in eval mode with no number left at its start."""
    return lived_in(kind(small_config(**options))).eval()


def batch():
    return padded(series_of(dtype=torch.float32))


def assert_same_state(actual, expected, but=()):
    """All tensors equal to the bit, but those whose name ends so."""
    actual, expected = actual.state_dict(), expected.state_dict()
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        if name.endswith(tuple(but)):
            assert not torch.equal(actual[name], tensor), name
            assert actual[name].isfinite().all(), name
        else:
            assert torch.equal(actual[name], tensor), name


# Folders


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options",
    [{}, {"pooling": "flatten"}, {"pooling": "attention"}, IDENTITY, {"alpha": 0.0, "beta": 0.0}],
    ids=str,
)
def test_a_model_read_back_is_the_same_to_the_bit(kind, options, tmp_path):
    model = trained(kind, **options)
    model.save_pretrained(tmp_path)
    loaded, report = kind.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    assert not loaded.training
    assert_same_state(loaded, model)
    values = batch()
    assert torch.equal(loaded(*values)[0], model(*values)[0])


def test_a_folder_holds_safetensors_and_json_and_no_pickle(tmp_path):
    trained().save_pretrained(tmp_path)
    assert {each.name for each in tmp_path.iterdir()} == {"config.json", "model.safetensors"}


def test_auto_classes_know_the_folder(tmp_path):
    model = trained()
    model.save_pretrained(tmp_path)
    classifier = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert type(classifier) is EADCTransformerForClassification
    assert_same_state(classifier, model)
    base = AutoModel.from_pretrained(tmp_path)
    assert type(base) is EADCTransformerModel
    assert_same_state(base, model.model)


def test_auto_classes_know_a_folder_of_regression(tmp_path):
    model = trained(EADCTransformerForRegression)
    model.save_pretrained(tmp_path)
    regression = AutoModelForTimeSeriesPrediction.from_pretrained(tmp_path)
    assert type(regression) is EADCTransformerForRegression
    assert_same_state(regression, model)


def test_auto_classes_build_from_a_configuration():
    assert type(AutoModel.from_config(small_config())) is EADCTransformerModel
    classifier = AutoModelForSequenceClassification.from_config(small_config())
    assert type(classifier) is EADCTransformerForClassification


def test_a_classifier_s_folder_gives_its_body_to_the_base_model_and_to_regression(tmp_path):
    model = trained()
    model.save_pretrained(tmp_path)
    base = EADCTransformerModel.from_pretrained(tmp_path)
    assert_same_state(base, model.model)
    values = batch()
    expected = model.model(*values).last_hidden_state
    assert torch.equal(base(*values).last_hidden_state, expected)
    assert_same_state(EADCTransformerForRegression.from_pretrained(tmp_path), model)


def test_a_base_model_s_folder_gives_its_body_to_a_classifier_with_a_fresh_head(tmp_path):
    base = trained(EADCTransformerModel)
    base.save_pretrained(tmp_path)
    classifier = EADCTransformerForClassification.from_pretrained(tmp_path)
    assert_same_state(classifier.model, base)
    for tensor in classifier.head.parameters():
        assert tensor.abs().max() <= 16**-0.5
        assert tensor.abs().min() > 0


# Loading into another shape: only what does not fit starts again


def load(folder, kind=EADCTransformerForClassification, **options):
    return kind.from_pretrained(folder, ignore_mismatched_sizes=True, **options)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_head_of_another_size_starts_again_and_the_rest_stays(pooling, tmp_path):
    model = trained(pooling=pooling)
    model.save_pretrained(tmp_path)
    loaded = load(tmp_path, num_labels=5)
    assert loaded.head.out_features == 5
    assert_same_state(loaded.model, model.model)
    assert_same_state(loaded.pooling, model.pooling)
    assert loaded.head.weight.isfinite().all()
    assert 0 < loaded.head.weight.abs().max() <= loaded.head.in_features**-0.5
    assert loaded.head.bias.isfinite().all()


def test_a_head_of_another_size_needs_to_be_allowed(tmp_path):
    trained().save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        EADCTransformerForClassification.from_pretrained(tmp_path, num_labels=5)


def test_series_of_other_channels_start_the_projection_again_and_nothing_else(tmp_path):
    model = trained()
    model.save_pretrained(tmp_path)
    loaded = load(tmp_path, input_size=7)
    assert loaded.model.stem.projection.weight.shape == (16, 7)
    assert loaded.model.stem.projection.weight.isfinite().all()
    assert torch.equal(loaded.model.stem.positions, model.model.stem.positions)
    assert torch.equal(loaded.model.stem.projection.bias, model.model.stem.projection.bias)
    assert_same_state(loaded.model.blocks, model.model.blocks)


def test_longer_series_start_the_positions_again_and_nothing_else(tmp_path):
    model = trained()
    model.save_pretrained(tmp_path)
    loaded = load(tmp_path, max_length=20)
    state, before = loaded.state_dict(), model.state_dict()
    for name, tensor in before.items():
        if name.endswith(("positions", "distance.weight")):
            assert len(state[name]) > len(tensor)
            assert state[name].isfinite().all()
            assert state[name].abs().sum() > 0
        else:
            assert torch.equal(state[name], tensor), name


def test_a_map_kernel_of_another_size_starts_again_and_nothing_else(tmp_path):
    model = trained()
    model.save_pretrained(tmp_path)
    loaded = load(tmp_path, map_kernel_size=5)
    state = loaded.state_dict()
    for name, tensor in model.state_dict().items():
        if name.endswith("evolution.convolution.weight"):
            assert state[name].shape == (2, 2, 5, 5)
            assert 0 < state[name].abs().max() <= 50**-0.5
        else:
            assert torch.equal(state[name], tensor), name


def test_a_twin_s_folder_becomes_an_evolving_network_with_fresh_kernels(tmp_path):
    twin = trained(alpha=0.0, beta=0.0)
    twin.save_pretrained(tmp_path)
    loaded, report = load(tmp_path, alpha=0.5, beta=0.5, output_loading_info=True)
    missing = {name for name in report["missing_keys"] if "evolution.convolution" in name}
    assert missing == set(report["missing_keys"])
    assert len(missing) == 3 * 2
    state = loaded.state_dict()
    for name, tensor in twin.state_dict().items():
        assert torch.equal(state[name], tensor), name
    for name in missing:
        assert 0 < state[name].abs().max() <= 18**-0.5


def test_a_twin_s_folder_continues_as_itself_from_an_identity_start(tmp_path):
    twin = trained(alpha=0.0, beta=0.0)
    twin.save_pretrained(tmp_path)
    loaded = load(tmp_path, alpha=0.5, beta=0.5, **IDENTITY)
    values = batch()
    assert_close(loaded(*values).logits, twin(*values).logits, rtol=1e-6, atol=1e-6)
    kernel = loaded.model.blocks[1].first_convolution.attention.evolution.convolution.weight
    assert torch.equal(kernel[:, :, 1, 1], torch.eye(2))
    assert kernel.sum() == 2


# Seeds and memory


@pytest.mark.parametrize("options", [{}, {"pooling": "attention"}, IDENTITY], ids=str)
def test_a_seed_decides_every_weight(options):
    models = []
    for seed in (0, 0, 1):
        set_seed(seed)
        models.append(EADCTransformerForClassification(small_config(**options)))
    assert_same_state(models[0], models[1])
    different = [
        name
        for name, parameter in models[0].named_parameters()
        if not torch.equal(parameter, models[2].get_parameter(name))
    ]
    chosen = ("norm.weight", "norm.bias", "alpha", "beta")
    if options is IDENTITY:
        chosen += ("evolution.convolution.weight",)
    assert different == [
        name for name, _ in models[0].named_parameters() if not name.endswith(chosen)
    ]


def test_a_fresh_head_is_decided_by_the_seed(tmp_path):
    trained().save_pretrained(tmp_path)
    heads = []
    for seed in (0, 0, 1):
        set_seed(seed)
        heads.append(load(tmp_path, num_labels=5).head.weight)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


@pytest.mark.parametrize("options", [{}, IDENTITY, {"pooling": "attention"}], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_made_in_poisoned_memory_has_no_nan(kind, options, poisoned_memory):
    assert torch.empty(1).isnan()
    model = kind(small_config(**options))
    for name, tensor in model.state_dict().items():
        assert tensor.isfinite().all(), name
    assert model(*batch())[0].isfinite().all()


@pytest.mark.parametrize("options", [{}, {"num_labels": 5}, {"max_length": 20}], ids=str)
def test_a_model_loaded_in_poisoned_memory_has_no_nan(options, tmp_path, request):
    trained(alpha=0.0, beta=0.0).save_pretrained(tmp_path)
    request.getfixturevalue("poisoned_memory")
    for added in ({}, {"alpha": 0.5, "beta": 0.5}, {"alpha": 0.5, "beta": 0.5} | IDENTITY):
        for name, tensor in load(tmp_path, **options, **added).state_dict().items():
            assert tensor.isfinite().all(), name


def test_the_start_of_positions_norms_and_distances_is_as_the_papers_say():
    model = EADCTransformerForClassification(small_config(hidden_size=64, max_length=200))
    positions = model.model.stem.positions
    assert positions.abs().max() <= 0.02
    assert positions.std().item() == pytest.approx(0.04 / 12**0.5, rel=0.05)
    for name, tensor in model.state_dict().items():
        if name.endswith("distance.weight"):
            assert tensor.mean().item() == pytest.approx(0.0, abs=0.05), name
            assert tensor.std().item() == pytest.approx(8**-0.5, rel=0.05), name
        elif name.endswith(("norm.weight", "running_var")):
            assert (tensor == 1).all(), name
        elif name.endswith(("norm.bias", "running_mean")):
            assert (tensor == 0).all(), name


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))]
)
def test_a_copy_of_a_model_is_the_same_and_its_own(duplicate):
    model = trained()
    other = duplicate(model)
    assert_same_state(other, model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert model.head.weight.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_a_model_can_be_loaded_in_another_precision(dtype, tmp_path):
    model = trained()
    model.save_pretrained(tmp_path)
    loaded = EADCTransformerForClassification.from_pretrained(tmp_path, dtype=dtype)
    values, mask = batch()
    logits = loaded(values.to(dtype), mask).logits
    assert logits.dtype is dtype
    assert_close(logits.float(), model(values, mask).logits, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("options", [{}, {"learned_mixing": True}, {"evolve_first_block": False}])
def test_a_network_and_its_twin_of_one_seed_start_alike(options):
    config = small_config(**options)
    set_seed(3)
    evolving = EADCTransformerForClassification(config).state_dict()
    after = torch.rand(())
    set_seed(3)
    twin = EADCTransformerForClassification(config.twin()).state_dict()
    assert torch.equal(torch.rand(()), after)
    assert all(torch.equal(evolving[name], weights) for name, weights in twin.items())
    kernels = [weights for name, weights in evolving.items() if name.endswith("convolution.weight")]
    assert len({float(kernel.sum()) for kernel in kernels}) == len(kernels) > 1
