import pytest
import torch
from safetensors.torch import save_file
from transformers import ResNetConfig, ResNetForImageClassification

from evolving_attention.models import EAAAResNetForImageClassification, EAAAResNetModel
from evolving_attention.models.plain_resnet_weights import load_plain_weights, plain_resnet_names
from tests.models.images import three_stages


def plain(**options):
    sizes = {"embedding_size": 8, "depths": [1, 2, 2, 2], "hidden_sizes": [32, 64, 64, 64]}
    return ResNetForImageClassification(ResNetConfig(num_labels=3, **sizes, **options))


def test_a_plain_resnet_loads_whole_where_there_is_no_attention_and_partly_beside_it():
    model, given = EAAAResNetForImageClassification(three_stages()), plain()
    start = {name: each.clone() for name, each in model.state_dict().items()}
    report = load_plain_weights(model, given)
    state, theirs = model.state_dict(), given.state_dict()
    assert {*report.whole, *report.partly, *report.left} == set(state)
    assert not report.unused
    assert all("attention" in name for name in report.left)
    assert all(torch.equal(state[name], start[name]) for name in report.left)
    assert len(report.partly) == 6
    name = "model.stages.1.0.layers.1.convolution.convolution.weight"
    assert report.partly[name] == (14, 16)
    kernel = theirs["resnet.encoder.stages.1.layers.0.layer.1.convolution.weight"]
    assert torch.equal(state[name], kernel[:14])
    assert torch.equal(state["classifier.bias"], theirs["classifier.1.bias"])
    statistics = "model.stages.0.0.layers.0.normalization.running_var"
    assert statistics in report.whole
    assert "6 kernels but for the channels that attention makes" in str(report)


def test_a_classifier_of_other_classes_is_left_and_reported():
    model = EAAAResNetForImageClassification(three_stages(num_labels=4))
    report = load_plain_weights(model, plain())
    assert report.unused == ["classifier.1.weight", "classifier.1.bias"]
    assert "classifier.weight" in report.left
    assert "2 unused: classifier.1.weight, classifier.1.bias" in str(report)


def test_the_base_model_takes_the_weights_without_the_classifier():
    report = load_plain_weights(EAAAResNetModel(three_stages()), plain())
    assert report.unused == ["classifier.1.weight", "classifier.1.bias"]


@pytest.mark.parametrize("folder", [True, False])
def test_weights_are_read_from_a_file_and_from_a_folder(folder, tmp_path):
    given = plain()
    path = tmp_path / "model.safetensors"
    save_file(given.state_dict(), path)
    model = EAAAResNetForImageClassification(three_stages())
    load_plain_weights(model, tmp_path if folder else str(path))
    kernel = given.state_dict()["resnet.embedder.embedder.convolution.weight"]
    assert torch.equal(model.model.stem.convolution.weight, kernel)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("conv1.weight", "stem.convolution.weight"),
        ("bn1.running_mean", "stem.normalization.running_mean"),
        ("layer3.5.conv2.weight", "stages.2.5.layers.1.convolution.weight"),
        ("layer1.0.bn3.bias", "stages.0.0.layers.2.normalization.bias"),
        ("layer4.0.downsample.0.weight", "stages.3.0.shortcut.convolution.weight"),
        ("layer4.0.downsample.1.bias", "stages.3.0.shortcut.normalization.bias"),
        ("fc.bias", "classifier.bias"),
        (
            "resnet.encoder.stages.3.layers.0.shortcut.normalization.weight",
            "stages.3.0.shortcut.normalization.weight",
        ),
    ],
)
def test_names_of_transformers_and_timm_are_understood(theirs, ours):
    assert plain_resnet_names(theirs) == ours


def test_weights_of_something_else_are_refused():
    with pytest.raises(ValueError, match="not those of a ResNet"):
        load_plain_weights(EAAAResNetModel(three_stages()), {"encoder.weight": torch.zeros(3)})
