import json
import math
import re

import pytest
import torch
from transformers import AutoConfig

from evolving_attention.models import (
    EADCTransformerConfig,
    EADCTransformerForClassification,
    EADCTransformerModel,
)
from evolving_attention.models.pooling import POOLINGS
from tests.models.helpers import one_sentence, padded, series_of, small_config

DEFAULTS = {
    "input_size": 1,
    "max_length": 512,
    "patch_size": 1,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_blocks": 4,
    "num_attention_heads": 4,
    "key_ratio": 0.25,
    "value_ratio": 0.25,
    "kernel_size": 3,
    "dilated": True,
    "alpha": 0.5,
    "beta": 0.5,
    "map_kernel_size": 3,
    "map_activation": "relu",
    "learned_mixing": False,
    "map_initialization": "random",
    "normalize_maps": True,
    "evolve_first_block": True,
    "hidden_dropout": 0.1,
    "attention_dropout": 0.0,
    "branch_dropout": 0.3,
    "pooling": "mean",
    "class_weights": None,
    "label_smoothing": 0.0,
}
OTHERS = {
    "input_size": 3,
    "max_length": 30,
    "patch_size": 2,
    "hidden_size": 32,
    "intermediate_size": 24,
    "num_blocks": 3,
    "num_attention_heads": 2,
    "key_ratio": 0.5,
    "value_ratio": 1,
    "kernel_size": 5,
    "dilated": False,
    "alpha": 0.3,
    "beta": 1,
    "map_kernel_size": 1,
    "map_activation": "identity",
    "learned_mixing": True,
    "map_initialization": "identity",
    "normalize_maps": False,
    "evolve_first_block": False,
    "hidden_dropout": 0.2,
    "attention_dropout": 0.3,
    "branch_dropout": 0.25,
    "pooling": "attention",
    "class_weights": [1.0, 2.5],
    "label_smoothing": 0.1,
}


def options_of(config):
    return {name: getattr(config, name) for name in DEFAULTS}


# What a configuration holds


def test_defaults_are_these():
    config = EADCTransformerConfig()
    assert options_of(config) == DEFAULTS
    assert config.num_labels == 2
    assert config.model_type == "ea_dc_transformer"


def test_every_option_survives_a_round_trip_through_a_folder(tmp_path):
    assert all(OTHERS[name] != value for name, value in DEFAULTS.items())
    config = EADCTransformerConfig(**OTHERS, num_labels=2, id2label={0: "no", 1: "yes"})
    config.save_pretrained(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["config.json"]
    for loaded in (
        EADCTransformerConfig.from_pretrained(tmp_path),
        AutoConfig.from_pretrained(tmp_path),
    ):
        assert isinstance(loaded, EADCTransformerConfig)
        assert options_of(loaded) == OTHERS
        assert loaded.id2label == {0: "no", 1: "yes"}


def test_the_folder_names_the_model_type_for_auto_classes(tmp_path):
    EADCTransformerConfig().save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "ea_dc_transformer"
    assert isinstance(AutoConfig.for_model("ea_dc_transformer"), EADCTransformerConfig)


def test_layers_go_by_the_usual_name_too():
    assert EADCTransformerConfig(num_blocks=3).num_hidden_layers == 3


@pytest.mark.parametrize(
    ("max_length", "patch_size", "positions"), [(12, 1, 12), (12, 3, 4), (13, 3, 5), (2, 5, 1)]
)
def test_positions_are_the_patches_that_hold_the_longest_series(max_length, patch_size, positions):
    config = small_config(max_length=max_length, patch_size=patch_size)
    assert config.max_positions == positions
    assert len(EADCTransformerModel(config).stem.positions) == positions


# Refusals

OUT_OF_RANGE = [
    *[
        (name, value)
        for name in (
            "input_size",
            "max_length",
            "patch_size",
            "hidden_size",
            "intermediate_size",
            "num_blocks",
            "num_attention_heads",
            "kernel_size",
        )
        for value in (0, -1)
    ],
    *[
        (name, value)
        for name in ("hidden_dropout", "attention_dropout", "branch_dropout", "label_smoothing")
        for value in (-0.1, 1.0, math.nan)
    ],
    *[(name, value) for name in ("alpha", "beta") for value in (-0.1, 1.5, math.nan)],
    *[("map_kernel_size", value) for value in (0, 2, -1)],
    ("pooling", "sum"),
    ("map_activation", "gelu"),
    ("map_initialization", "zero"),
]


@pytest.mark.parametrize(("option", "value"), OUT_OF_RANGE)
def test_a_value_out_of_range_is_refused_in_a_sentence_that_names_the_option(option, value):
    with pytest.raises(ValueError, match=rf"\b{option}\b.*, got '?{value}'?\.$") as error:
        EADCTransformerConfig(**{option: value})
    assert one_sentence(error)


@pytest.mark.parametrize("option", ["pooling", "map_activation"])
def test_an_unknown_name_is_answered_with_the_known_ones(option):
    known = {"pooling": POOLINGS, "map_activation": ("relu", "leaky_relu", "identity")}[option]
    with pytest.raises(ValueError, match=", ".join(map(repr, known))):
        EADCTransformerConfig(**{option: "nonsense"})


IDENTITY = {"map_initialization": "identity", "map_activation": "identity"}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (
            {"map_initialization": "identity", "alpha": 0.0},
            ("map_initialization", "map_activation"),
        ),
        (IDENTITY, ("map_initialization", "alpha", "learned_mixing")),
        (IDENTITY | {"learned_mixing": True, "beta": 0.0}, ("map_initialization", "beta")),
    ],
    ids=str,
)
def test_options_that_cannot_start_as_the_identity_are_refused_by_name(options, named):
    with pytest.raises(ValueError, match="identity") as error:
        EADCTransformerConfig(**options)
    assert one_sentence(error)
    for option in named:
        assert re.search(rf"\b{option}\b", str(error.value)), option


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("hidden_size", "large"),
        ("hidden_size", 16.5),
        ("alpha", "0.5"),
        ("pooling", 3),
        ("dilated", "yes"),
        ("class_weights", "balanced"),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(option, value):
    with pytest.raises(Exception, match=f"(?s){option}.*{value}"):
        EADCTransformerConfig(**{option: value})


def test_class_weights_may_be_whole_numbers():
    assert EADCTransformerConfig(class_weights=[1, 2]).class_weights == [1, 2]


@pytest.mark.parametrize("option", ["key_ratio", "value_ratio"])
@pytest.mark.parametrize("value", [0.3, -0.25, 1.5])
def test_a_model_refuses_a_ratio_that_its_heads_do_not_divide(option, value):
    with pytest.raises(ValueError, match=f"{option}={value}.*multiple of the 2 heads") as error:
        EADCTransformerModel(small_config(**{option: value}))
    assert one_sentence(error)


@pytest.mark.parametrize(
    "ratios", [{"key_ratio": 0, "value_ratio": 0.5}, {"key_ratio": 0.5, "value_ratio": 0}], ids=str
)
def test_keys_without_values_and_values_without_keys_are_refused(ratios):
    with pytest.raises(ValueError, match=r"key_ratio.*value_ratio.*both") as error:
        small_config(**ratios)
    assert one_sentence(error)


# The twin


def count(config):
    return EADCTransformerForClassification(config).num_parameters()


def test_a_twin_lacks_exactly_the_kernels_of_seven_layers():
    config = EADCTransformerConfig()
    assert count(config) - count(config.twin()) == 7 * (9 * 16 + 4)


@pytest.mark.parametrize(
    ("options", "saved"),
    [
        ({"evolve_first_block": False}, 6 * (9 * 16 + 4)),
        ({"map_kernel_size": 1}, 7 * (16 + 4)),
        ({"map_kernel_size": 5}, 7 * (25 * 16 + 4)),
        ({"map_activation": "identity"}, 7 * 9 * 16),
        ({"learned_mixing": True}, 7 * (9 * 16 + 4 + 2)),
        ({"beta": 0.0}, 0),
    ],
    ids=str,
)
def test_evolution_costs_the_parameters_of_its_kernels(options, saved):
    config = EADCTransformerConfig(hidden_size=32, intermediate_size=16, **options)
    assert count(config) - count(config.twin()) == saved


EVOLVING = [{}, {"learned_mixing": True}, IDENTITY | {"learned_mixing": True}]


@pytest.mark.parametrize("options", EVOLVING, ids=str)
def test_a_twin_is_the_network_with_alpha_and_beta_of_zero(options):
    config = small_config(**options)
    twin, plain = config.twin(), small_config(alpha=0.0, beta=0.0)
    assert twin.is_twin
    assert plain.is_twin
    assert not config.is_twin
    models = []
    for each in (twin, plain):
        torch.manual_seed(5)
        models.append(EADCTransformerForClassification(each).eval())
    states = [model.state_dict() for model in models]
    assert states[0].keys() == states[1].keys()
    assert not any("evolution" in name for name in states[0])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    batch = padded(series_of(dtype=torch.float32))
    assert torch.equal(models[0](*batch).logits, models[1](*batch).logits)


@pytest.mark.parametrize("options", EVOLVING, ids=str)
def test_a_twin_shares_every_other_option_and_leaves_the_original_alone(options):
    config = small_config(pooling="flatten", class_weights=[1.0, 2.0, 3.0], **options)
    before = config.to_dict()
    twin = config.twin()
    changed = {name for name, value in twin.to_dict().items() if value != before[name]}
    assert changed <= {"alpha", "beta", "learned_mixing", "map_initialization"}
    twin.class_weights.append(4.0)
    assert config.to_dict() == before


@pytest.mark.parametrize("options", EVOLVING, ids=str)
def test_a_twin_can_be_saved_and_read_back(options, tmp_path):
    twin = small_config(**options).twin()
    twin.save_pretrained(tmp_path)
    loaded = EADCTransformerConfig.from_pretrained(tmp_path)
    assert loaded.is_twin
    assert options_of(loaded) == options_of(twin)


@pytest.mark.parametrize(
    ("options", "is_twin"),
    [
        ({"alpha": 0, "beta": 0}, True),
        ({"alpha": 0.1, "beta": 0}, False),
        ({"alpha": 0, "beta": 0.1}, False),
        ({"alpha": 0, "beta": 0, "learned_mixing": True}, False),
    ],
    ids=str,
)
def test_a_network_is_a_twin_when_nothing_can_evolve(options, is_twin):
    assert small_config(**options).is_twin is is_twin
