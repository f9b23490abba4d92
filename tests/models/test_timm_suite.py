"""The checks of timm's own test-suite, of the networks registered here.

timm's wheel leaves its tests out. These ask the same, at the same sizes: a forward and a backward
pass, the default configuration, features at every depth and, in place of weights from a server,
weights from a file for other channels and classes. TorchScript and tracing by ``torch.fx`` are left
out: the networks do not go through them.
"""

import pytest
import torch
from torch.testing import assert_close

timm = pytest.importorskip("timm", reason="needs the extra [vision]")
pytest.importorskip("evolving_attention.models.ea_aa_resnet_timm")

from timm.models import FeatureInfo, get_pretrained_cfg_value  # noqa: E402

#: Of each kind of block and stem one; the others repeat the blocks of the second.
EACH = pytest.mark.parametrize("name", ["ea_aa_resnet34", "ea_aa_resnet50", "ea_aa_resnet_cifar"])


def pictures(name, side, batch=1, channels=3):
    """Noise of a network's default size, but no larger than ``side``."""
    own = get_pretrained_cfg_value(name, "input_size")[-1]
    return torch.randn(batch, channels, min(own, side), min(own, side))


def created(name, **options):
    return timm.create_model(name, pretrained=False, **options).eval()


@pytest.mark.parametrize("name", timm.list_models("ea_aa_resnet*"))
@torch.no_grad()
def test_a_forward_pass_gives_numbers(name):
    scores = created(name)(pictures(name, 384))
    assert scores.shape == (1, get_pretrained_cfg_value(name, "num_classes"))
    assert scores.isfinite().all()


@EACH
def test_a_backward_pass_reaches_every_parameter(name):
    model = created(name, num_classes=42).train()
    scores = model(pictures(name, 128, batch=2))
    scores.mean().backward()
    assert scores.shape == (2, 42)
    assert scores.isfinite().all()
    assert not [key for key, each in model.named_parameters() if each.grad is None]


@EACH
@torch.no_grad()
def test_the_default_configuration_tells_sizes_and_names_as_they_are(name):
    model, image = created(name), pictures(name, 448)
    configuration, state = model.default_cfg, model.state_dict()
    for part in ("classifier", "first_conv"):
        assert f"{configuration[part]}.weight" in state
    pooled = tuple(configuration["pool_size"])
    assert model.forward_features(image).shape[2:] == pooled
    model.reset_classifier(0)
    assert model(image).shape == (1, model.num_features)
    model.reset_classifier(0, "")
    assert model(image).shape == (1, model.num_features, *pooled)
    model.reset_classifier(7, "avg")
    assert model(image).shape == (1, 7)
    assert model.get_classifier().weight.shape == (7, model.num_features)
    for options in ({"num_classes": 0}, {"num_classes": 0, "global_pool": ""}):
        made = created(name, **options)(image)
        assert made.shape == (1, model.num_features, *pooled)[: made.dim()]
        assert made.dim() == (4 if "global_pool" in options else 2)


@EACH
@torch.no_grad()
def test_features_have_the_channels_and_sizes_that_are_told(name):
    model, image = created(name, features_only=True), pictures(name, 96)
    channels, reductions = model.feature_info.channels(), model.feature_info.reduction()
    assert len(channels) >= 4
    features, side = model(image), image.shape[-1]
    assert [each.shape[1] for each in features] == channels
    assert [each.shape[2:] for each in features] == [(side // by, side // by) for by in reductions]
    assert all(each.isfinite().all() for each in features)


@EACH
@torch.no_grad()
def test_features_on_the_way_end_in_the_features_of_the_network(name):
    model, image = created(name), pictures(name, 96)
    told = FeatureInfo(model.feature_info, tuple(range(len(model.feature_info)))).channels()
    last, features = model.forward_intermediates(image)
    assert [each.shape[1] for each in features] == told
    assert torch.equal(last, model.forward_features(image))
    model.set_grad_checkpointing()
    assert_close(model.forward_features(image), last)


@EACH
@torch.no_grad()
def test_weights_from_a_file_load_for_other_channels_and_classes(name, tmp_path):
    from safetensors.torch import save_file

    whole, file = created(name), tmp_path / "model.safetensors"
    save_file(whole.state_dict(), file)
    overlay = {"file": str(file)}
    made = timm.create_model(
        name, pretrained=True, pretrained_cfg_overlay=overlay, in_chans=1, num_classes=5
    ).eval()
    image = pictures(name, 96, channels=1)
    assert made(image).shape == (1, 5)
    first = whole.get_submodule(whole.default_cfg["first_conv"]).weight
    assert_close(made.get_submodule(whole.default_cfg["first_conv"]).weight, first.sum(1, True))
    backbone = timm.create_model(
        name, pretrained=True, pretrained_cfg_overlay=overlay, features_only=True
    ).eval()
    image = image.expand(-1, 3, -1, -1)
    assert_close(backbone(image)[-1], whole.forward_features(image))
