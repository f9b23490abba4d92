import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from transformers import ResNetConfig, ResNetForImageClassification

from evolving_attention.attention import probabilities
from evolving_attention.models import (
    AugmentedConv2d,
    EAAAResNetConfig,
    EAAAResNetForImageClassification,
    EAAAResNetModel,
)
from evolving_attention.models.ea_aa_resnet_config import VARIANTS
from evolving_attention.models.plain_resnet_weights import load_plain_weights
from tests.models.helpers import lived_in, one_sentence
from tests.models.images import PLAIN, images, three_stages, tiny_config, tiny_model

TWIN = {"alpha": 0.0, "beta": 0.0}
EVERYTHING = {"output_attentions": True, "output_hidden_states": True, "output_maps": True}


def on_meta(*variant, **options):
    with torch.device("meta"):
        return EAAAResNetForImageClassification(
            EAAAResNetConfig.variant(*variant, **{"num_labels": 1000, **options})
        )


def millions(model):
    return sum(each.numel() for each in model.parameters()) / 1e6


def layers_of(model):
    return [each for each in model.modules() if isinstance(each, AugmentedConv2d)]


def evolving_layers(model):
    return [each for each in layers_of(model) if each.attention.evolution.convolution is not None]


# The papers' networks


@pytest.mark.parametrize(
    ("variant", "published", "plain", "attending"),
    [
        ("34", 20.7, 21.8, 13),
        ("50", 25.8, 25.6, 13),
        ("101", 45.4, 44.5, 30),
        ("152", 61.6, 60.2, 47),
    ],
)
def test_sizes_are_near_the_papers(variant, published, plain, attending):
    model = on_meta(variant)
    assert millions(model) == pytest.approx(published, rel=0.015)
    assert millions(on_meta(variant, **PLAIN)) == pytest.approx(plain, abs=0.05)
    assert len(layers_of(model)) == attending
    assert len(evolving_layers(model)) == attending - 2  # a chain starts twice


def test_evolution_costs_its_kernels_and_nothing_else():
    model, twin = on_meta("50"), on_meta("50", **TWIN)
    assert not evolving_layers(twin)
    kernels = 11 * (9 * 8 * 8 + 8)
    assert sum(p.numel() for p in model.parameters()) == kernels + sum(
        p.numel() for p in twin.parameters()
    )


def test_both_convolutions_of_a_basic_block_can_attend():
    assert len(layers_of(on_meta("34", augmented_convolutions="both"))) == 26


def test_the_chain_runs_from_stage_two_into_three_and_starts_again_in_four():
    model = EAAAResNetModel(EAAAResNetConfig(num_labels=2)).eval()
    with torch.no_grad():
        output = model(images(1, 3, 224, 224, torch.float32), output_maps=True)
    assert [each.shape[-1] for each in output.maps] == [196] * 10 + [49] * 3
    starts = [layer not in evolving_layers(model) for layer in layers_of(model)]
    assert [index for index, start in enumerate(starts) if start] == [0, 10]


@pytest.mark.parametrize(("variant", "pixels"), [("cifar", 64), ("tiny", 16)])
def test_small_networks_have_a_chain_through_their_last_two_stages(variant, pixels):
    config = EAAAResNetConfig.variant(variant, num_labels=2)
    model = EAAAResNetModel(config).eval()
    side = config.image_size
    with torch.no_grad():
        output = model(images(1, 3, side, side, torch.float32), **EVERYTHING)
    assert {each.shape[-1] for each in output.maps} == {pixels}
    assert len(evolving_layers(model)) == len(output.maps) - 1
    assert sum(p.numel() for p in model.parameters()) < 1.5e6


# What comes back


def test_the_base_model_returns_features_and_their_mean():
    model = tiny_model(EAAAResNetModel)
    output = model(images())
    assert list(output) == ["last_hidden_state", "pooler_output"]
    assert output.last_hidden_state.shape == (2, 32, 4, 4)
    assert_close(output.pooler_output, output.last_hidden_state.mean((2, 3)))


def test_everything_that_is_asked_for_comes_back():
    output = tiny_model()(images(), **EVERYTHING)
    assert list(output) == ["logits", "hidden_states", "attentions", "maps"]
    shapes = [tuple(each.shape) for each in output.hidden_states]
    assert shapes == [(2, 16, 8, 8), (2, 16, 8, 8), (2, 32, 4, 4)]
    assert len(output.maps) == len(output.attentions) == 8
    for map_BHNN, attention in zip(output.maps, output.attentions, strict=True):
        assert_close(probabilities(map_BHNN), attention)


def test_the_loss_takes_classes_and_shares_of_mixed_images():
    model = tiny_model(label_smoothing=0.1, class_weights=[1.0, 2.0, 0.5])
    labels = torch.tensor([2, 0])
    output = model(images(), labels=labels)
    weight = torch.tensor([1.0, 2.0, 0.5]).double()
    expected = nn.functional.cross_entropy(output.logits, labels, weight, label_smoothing=0.1)
    assert_close(output.loss, expected)
    shares = torch.tensor([[0.3, 0.7, 0.0], [0.0, 0.0, 1.0]]).double()
    mixed = model(images(), labels=shares)
    assert mixed.loss.isfinite()
    assert_close(model.loss_weight({"labels": labels}), torch.tensor(1.5))
    assert model.loss_weight({"labels": shares}) == 2


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 4, 8, 8), (1, 3, 0, 8)])
def test_what_is_no_batch_of_images_is_refused_in_one_sentence(shape):
    with pytest.raises(ValueError, match="pixel_values must have the shape") as error:
        tiny_model()(torch.zeros(shape))
    assert one_sentence(error)


# Ablations


def test_a_network_and_its_twin_start_from_the_same_weights():
    models = []
    for options in ({}, TWIN):
        torch.manual_seed(3)
        models.append(EAAAResNetForImageClassification(tiny_config(**options)))
    ours, twins = models[0].state_dict(), models[1].state_dict()
    assert {name for name in ours if name not in twins}
    assert all("evolution" in name for name in ours if name not in twins)
    for name, tensor in twins.items():
        assert torch.equal(ours[name], tensor), name


def test_the_twin_is_the_network_with_shares_of_zero():
    model = tiny_model()
    twin = EAAAResNetForImageClassification(model.config.twin()).double().eval()
    assert twin.config.is_twin
    assert not model.config.is_twin
    twin.load_state_dict(model.state_dict(), strict=False)
    image = images()
    assert not torch.equal(twin(image).logits, model(image).logits)
    for layer in layers_of(model):
        layer.attention.evolution.alpha = layer.attention.evolution.beta = 0.0
    assert torch.equal(twin(image).logits, model(image).logits)


@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
def test_without_attention_it_is_transformers_resnet(kind):
    sizes = {"embedding_size": 8, "depths": [1, 2, 2], "hidden_sizes": [16, 32, 64]}
    theirs = ResNetForImageClassification(ResNetConfig(layer_type=kind, num_labels=5, **sizes))
    lived_in(theirs).eval()
    config = EAAAResNetConfig(
        layer_type=kind, num_labels=5, attention_strides=[0, 2, 1], **sizes, **PLAIN
    )
    ours = EAAAResNetForImageClassification(config).eval()
    report = load_plain_weights(ours, theirs)
    assert not report.left
    assert not report.unused
    image = images(2, 3, 65, 70, torch.float32)
    with torch.no_grad():
        assert_close(ours(image).logits, theirs(image).logits, rtol=0, atol=1e-5)


def test_the_identity_start_computes_what_the_twin_does():
    options = {
        "map_initialization": "identity",
        "map_activation": "identity",
        "learned_mixing": True,
    }
    torch.manual_seed(5)
    model = EAAAResNetForImageClassification(tiny_config(**options)).eval()
    torch.manual_seed(5)
    twin = EAAAResNetForImageClassification(model.config.twin()).eval()
    image = images(dtype=torch.float32)
    assert torch.equal(model(image).logits, twin(image).logits)


def test_every_parameter_learns_and_the_same_seed_gives_the_same_bits():
    states = []
    for _ in range(2):
        torch.manual_seed(0)
        model = EAAAResNetForImageClassification(tiny_config(branch_dropout=0.1)).train()
        loss = model(images(4, dtype=torch.float32), labels=torch.tensor([0, 1, 2, 0])).loss
        loss.backward()
        states.append({name: each.grad for name, each in model.named_parameters()})
    for name, gradient in states[0].items():
        assert gradient is not None, name
        assert gradient.abs().sum() > 0, name
        assert torch.equal(gradient, states[1][name]), name


# Images of any size


@pytest.mark.parametrize(("height", "width"), [(64, 64), (33, 50), (128, 96), (1, 1), (7, 200)])
def test_images_of_any_size_are_taken_and_the_chain_goes_on(height, width):
    model = EAAAResNetForImageClassification(three_stages()).eval()
    with torch.no_grad():
        output = model(images(1, 3, height, width, torch.float32), output_maps=True)
    assert output.logits.isfinite().all()
    sides = [(-(-height // stride)) * (-(-width // stride)) for stride in (16, 32)]
    assert [each.shape[-1] for each in output.maps] == [sides[0]] * 4 + [sides[1]] * 2


def test_an_image_in_a_batch_is_scored_as_alone():
    model, batch = tiny_model(), images(3)
    together = model(batch).logits
    for index in range(3):
        assert_close(model(batch[index : index + 1]).logits[0], together[index])


def test_a_network_fitted_to_another_size_computes_the_same_there():
    model, image = tiny_model(), images(height=12, width=20)
    expected = model(image).logits
    table = model.model.stages[0][0].layers[0].convolution.attention.relative_position
    assert table.vertical.weight.shape[0] == 7
    assert model.resize_positions([12, 20]) is model
    assert model.config.image_size == model.model.config.image_size == [12, 20]
    table = model.model.stages[0][0].layers[0].convolution.attention.relative_position
    assert table.vertical.weight.shape[0] == 11
    assert table.horizontal.weight.shape[0] == 19
    assert_close(model(image).logits, expected)


# Training


def test_checkpointing_gives_the_same_gradients_and_counts_each_batch_once():
    plain = EAAAResNetForImageClassification(tiny_config()).train()
    saving = copy.deepcopy(plain)
    enable = getattr(
        saving, "activation_checkpointing_enable", saving.gradient_checkpointing_enable
    )
    enable()
    image, labels = images(4, dtype=torch.float32), torch.tensor([0, 1, 2, 0])
    for model in (plain, saving):
        model(image, labels=labels).loss.backward()
    for (name, ours), theirs in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert_close(theirs.grad, ours.grad, msg=lambda text, name=name: f"{name}: {text}")
    for name, buffer in plain.named_buffers():
        assert torch.equal(saving.get_buffer(name), buffer), name


def test_dropped_blocks_leave_their_shortcut_and_hand_their_maps_on():
    model = EAAAResNetForImageClassification(tiny_config(drop_path_rate=0.6)).train()
    blocks = [block for stage in model.model.stages for block in stage]
    assert [block.drop_path.p for block in blocks] == pytest.approx([0.0, 0.2, 0.4, 0.6])
    block, hidden = blocks[-1], torch.randn(64, 32, 4, 4)
    with torch.no_grad():
        out, maps = block(hidden, None)
        block.drop_path.p = 0.0
        whole, whole_maps = block(hidden, None)
    assert_close(maps, whole_maps)
    dropped = (out == hidden.relu()).flatten(1).all(1)
    assert 20 < dropped.sum() < 55
    moved = (whole > 0) & (out > 0) & ~dropped[:, None, None, None]
    assert_close((out - hidden)[moved], ((whole - hidden) / 0.4)[moved])


# Mistakes


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"stem": "large"}, "stem must be one of 'imagenet', 'small'"),
        ({"layer_type": "wide"}, "layer_type must be one of"),
        ({"augmented_convolutions": "none"}, "augmented_convolutions must be one of"),
        ({"depths": [3, 4]}, "must have an entry for each of the 2 stages"),
        ({"depths": [3, 4, 0, 3]}, "depths must be positive"),
        ({"attention_strides": [0, 3, 1, 1]}, "power of 2, got"),
        ({"hidden_sizes": [256, 512, 1024, 2046]}, "multiples of 4"),
        ({"value_ratio": 0.1}, "value_ratio=0.1 of 128 channels"),
        ({"value_ratio": 0.0}, "must both be 0"),
        ({"image_size": 0}, "image_size must be a side"),
        ({"image_size": []}, "image_size must be a side"),
        ({"image_size": [8, 8, 8]}, "image_size must be a side"),
        ({"alpha": 1.5}, "alpha must lie in"),
        ({"map_kernel_size": 2}, "map_kernel_size must be a positive odd"),
        ({"hidden_dropout": 1.0}, "hidden_dropout must lie in"),
        ({"drop_path_rate": 1.0}, "drop_path_rate must lie in"),
        ({"min_key_head_size": -1}, "min_key_head_size must not be negative"),
        ({"class_weights": [1.0]}, "class_weights must be as many"),
    ],
    ids=str,
)
def test_options_that_make_no_network_are_refused_in_one_sentence(options, told):
    with pytest.raises(ValueError, match=told) as error:
        EAAAResNetConfig(**options)
    assert one_sentence(error)


def test_an_unknown_variant_is_told_what_there_is():
    with pytest.raises(ValueError, match="'34', '50', '101', '152', 'cifar', 'tiny', got '18'"):
        EAAAResNetConfig.variant("18")


def test_a_variant_takes_changes_and_stays_as_it_was():
    before = copy.deepcopy(VARIANTS)
    config = EAAAResNetConfig.variant("cifar", alpha=0.1)
    config.depths.append(7)
    assert config.alpha == 0.1
    assert before == VARIANTS
