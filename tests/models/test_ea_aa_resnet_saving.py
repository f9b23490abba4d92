import pytest
import torch
from torch.testing import assert_close
from transformers import AutoConfig, AutoModel, AutoModelForImageClassification

from evolving_attention.models import (
    EAAAResNetConfig,
    EAAAResNetForImageClassification,
    EAAAResNetModel,
)
from tests.models.helpers import lived_in
from tests.models.images import PLAIN, images, tiny_config


def trained(kind=EAAAResNetForImageClassification, **options):
    """A float32 model in eval mode with no number left at its start."""
    return lived_in(kind(tiny_config(**options))).eval()


@pytest.mark.parametrize("kind", [EAAAResNetModel, EAAAResNetForImageClassification])
@pytest.mark.parametrize(
    "options",
    [{}, {"alpha": 0.0, "beta": 0.0}, PLAIN, {"learned_mixing": True, "image_size": [8, 12]}],
    ids=str,
)
def test_a_model_read_back_is_the_same_to_the_bit(kind, options, tmp_path):
    model = trained(kind, **options)
    model.save_pretrained(tmp_path)
    assert {each.name for each in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
    loaded, report = kind.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    image = images(dtype=torch.float32)
    assert torch.equal(loaded(image)[0], model(image)[0])


def test_auto_classes_know_the_folder(tmp_path):
    trained().save_pretrained(tmp_path)
    assert type(AutoConfig.from_pretrained(tmp_path)) is EAAAResNetConfig
    assert type(AutoModel.from_pretrained(tmp_path)) is EAAAResNetModel
    classifier = AutoModelForImageClassification.from_pretrained(tmp_path)
    assert type(classifier) is EAAAResNetForImageClassification


@pytest.mark.parametrize(
    "kind", [EAAAResNetForImageClassification, AutoModelForImageClassification]
)
def test_a_model_loads_at_another_image_size_with_its_positions_interpolated(kind, tmp_path):
    model = trained()
    model.save_pretrained(tmp_path)
    loaded = kind.from_pretrained(tmp_path, image_size=12)
    assert loaded.config.image_size == 12
    attention = loaded.model.stages[1][0].layers[0].convolution.attention
    assert attention.relative_position.vertical.weight.shape[0] == 11
    image = images(height=12, width=12, dtype=torch.float32)
    assert_close(loaded(image).logits, model(image).logits)
    loaded.save_pretrained(tmp_path / "fitted")
    again = kind.from_pretrained(tmp_path / "fitted")
    assert torch.equal(again(image).logits, loaded(image).logits)


def test_a_head_for_other_classes_starts_anew_and_the_rest_stays(tmp_path):
    model = trained()
    model.save_pretrained(tmp_path)
    loaded = EAAAResNetForImageClassification.from_pretrained(
        tmp_path, num_labels=7, ignore_mismatched_sizes=True
    )
    assert loaded.classifier.weight.shape == (7, 32)
    assert loaded.classifier.weight.isfinite().all()
    for name, tensor in model.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], tensor), name


def test_nothing_is_left_uninitialised(poisoned_memory):
    model = EAAAResNetForImageClassification(tiny_config(learned_mixing=True))
    for name, tensor in model.state_dict().items():
        assert tensor.isfinite().all(), name


def test_kernels_of_images_start_by_fan_out_and_those_of_maps_as_torchs():
    model = EAAAResNetForImageClassification(tiny_config())
    kernel = model.model.stages[1][1].layers[0].convolution.convolution.weight
    fan_out = kernel.shape[0] * 9
    assert kernel.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)
    maps = model.model.stages[1][1].layers[0].convolution.attention.evolution.convolution.weight
    assert maps.abs().max() <= (2 * 9) ** -0.5


# Other ways to run


def test_channels_last_gives_the_same():
    model, image = trained(), images(dtype=torch.float32)
    expected = model(image).logits
    model = model.to(memory_format=torch.channels_last)
    output = model(image.to(memory_format=torch.channels_last), output_hidden_states=True)
    assert_close(output.logits, expected)
    for hidden in output.hidden_states:
        assert hidden.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("way", ["weights", "autocast"])
def test_half_precision_is_near_and_finite(way):
    model, image = trained(), images(dtype=torch.float32)
    expected = model(image).logits
    if way == "weights":
        actual = model.bfloat16()(image.bfloat16()).logits
    else:
        with torch.autocast("cpu", torch.bfloat16):
            actual = model(image).logits
    assert actual.dtype is torch.bfloat16
    assert (actual.float() - expected).norm() < 0.05 * expected.norm()


def test_training_in_autocast_gives_gradients_to_everything():
    model, image = trained().train(), images(4, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(image, labels=torch.tensor([0, 1, 2, 0])).loss
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), name


def test_the_whole_network_compiles_to_one_graph_with_the_same_gradients():
    torch.compiler.reset()
    model = trained(depths=[1, 1], augmented_convolutions="first").double()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    image, labels = images(), torch.tensor([0, 2])
    expected = model(image, labels=labels)
    wanted = torch.autograd.grad(expected.loss, list(model.parameters()))
    actual = compiled(image, labels=labels)
    assert_close(actual.logits, expected.logits)
    assert_close(torch.autograd.grad(actual.loss, list(model.parameters())), wanted)
