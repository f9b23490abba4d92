import pytest
import torch
from torch.testing import assert_close

from evolving_attention.models import EAAAResNetConfig, EAAAResNetForImageClassification
from evolving_attention.models.plain_resnet_weights import load_plain_weights
from tests.models.helpers import lived_in
from tests.models.images import PLAIN, images

timm = pytest.importorskip("timm", reason="needs the extra [vision]")
ea_aa_resnet_timm = pytest.importorskip("evolving_attention.models.ea_aa_resnet_timm")

NAMES = ["ea_aa_resnet34", "ea_aa_resnet50", "ea_aa_resnet101", "ea_aa_resnet152"]
#: Few blocks: the surface is the same.
SHORT = {"depths": [1, 1, 1]}


def made(name="ea_aa_resnet_cifar", **options):
    torch.manual_seed(0)
    return timm.create_model(name, **{**SHORT, **options}).eval()


def picture(side=32, channels=3):
    return images(2, channels, side, side, torch.float32)


def test_timm_lists_the_networks_and_knows_their_defaults():
    assert {*timm.list_models("ea_aa_resnet*")} == {*NAMES, "ea_aa_resnet_cifar"}
    assert not timm.list_models("ea_aa_resnet*", pretrained=True)
    for name in NAMES:
        with torch.device("meta"):
            model = timm.create_model(name)
        state = model.state_dict()
        for part in ("first_conv", "classifier"):
            assert f"{model.default_cfg[part]}.weight" in state
        assert state["classifier.weight"].shape[0] == 1000


def test_a_state_dict_fits_the_classifier_of_transformers_and_computes_the_same():
    ours = lived_in(made(num_classes=7))
    theirs = EAAAResNetForImageClassification(
        EAAAResNetConfig.variant("cifar", num_labels=7, **SHORT)
    ).eval()
    theirs.load_state_dict(ours.state_dict())
    image = picture()
    assert_close(ours(image), theirs(image).logits)


def test_options_of_timm_and_of_the_configuration_are_options_of_create_model():
    model = made(
        num_classes=4, in_chans=1, drop_rate=0.3, drop_path_rate=0.2, alpha=0.1, img_size=40
    )
    config = model.model.config
    assert (config.num_channels, config.alpha, config.image_size) == (1, 0.1, 40)
    assert model.dropout.p == 0.3
    assert [stage[0].drop_path.p for stage in model.model.stages] == [0.0, 0.1, 0.2]
    assert model(picture(channels=1)).shape == (2, 4)
    with pytest.raises(TypeError, match="no option drop_block_rate"):
        made(drop_block_rate=0.1)


def test_features_pool_and_classify():
    model, image = made(num_classes=5), picture()
    features = model.forward_features(image)
    side = model.default_cfg["pool_size"][0]
    assert features.shape == (2, model.num_features, side, side)
    assert_close(model.forward_head(features), model(image))
    pooled = model.forward_head(features, pre_logits=True)
    assert_close(pooled, features.mean((2, 3)))
    assert model.head_hidden_size == pooled.shape[1]


def test_the_classifier_can_be_replaced_and_removed():
    model, image = made(num_classes=5), picture()
    model.reset_classifier(3, "avgmax")
    assert model(image).shape == (2, 3)
    assert model.get_classifier().out_features == model.num_classes == 3
    assert model.get_classifier(name_only=True) == model.default_cfg["classifier"]
    model.reset_classifier(0)
    assert model(image).shape == (2, model.num_features)
    model.reset_classifier(0, "")
    assert torch.equal(model(image), model.forward_features(image))


def test_intermediate_features_are_those_of_the_stages():
    model, image = made(), picture()
    hidden = model.model(image, output_hidden_states=True).hidden_states
    last, features = model.forward_intermediates(image)
    assert_close(features, list(hidden))
    assert_close(last, hidden[-1])
    few = model.forward_intermediates(image, indices=[0, 2], intermediates_only=True)
    assert_close(few, [hidden[0], hidden[2]])
    early, _ = model.forward_intermediates(image, indices=[1], stop_early=True)
    assert_close(early, hidden[1])
    with pytest.raises(ValueError, match="output_fmt must be 'NCHW', got 'NLC'"):
        model.forward_intermediates(image, output_fmt="NLC")


@pytest.mark.parametrize("indices", [(0, 1, 2, 3), (1, 2), (-2,)])
def test_features_only_gives_a_backbone_without_what_it_does_not_need(indices):
    model = made(features_only=True, out_indices=indices)
    features = model(picture())
    assert [each.shape[1] for each in features] == model.feature_info.channels()
    assert [32 // each.shape[2] for each in features] == model.feature_info.reduction()
    whole = made().forward_intermediates(picture(), intermediates_only=True)
    assert [each.shape for each in features] == [whole[index].shape for index in indices]
    stages = max(index % 4 for index in indices)
    assert len(model.model.model.stages) == stages
    assert not list(model.model.classifier.parameters())


def test_large_networks_have_five_levels_of_features():
    with torch.device("meta"):
        model = timm.create_model("ea_aa_resnet50", features_only=True)
    assert model.feature_info.channels() == [64, 256, 512, 1024, 2048]
    assert model.feature_info.reduction() == [2, 4, 8, 16, 32]
    with torch.device("meta"):
        shapes = [tuple(each.shape) for each in model(torch.zeros(1, 3, 64, 64))]
    assert shapes == [
        (1, c, 64 // r, 64 // r)
        for c, r in zip(model.feature_info.channels(), model.feature_info.reduction(), strict=True)
    ]


def test_every_parameter_has_a_group_and_groups_run_from_the_stem_to_the_head():
    from timm.models import group_parameters

    model = timm.create_model("ea_aa_resnet_cifar")
    for coarse, depth in ((False, 9), (True, 3)):
        groups = group_parameters(model, model.group_matcher(coarse=coarse))
        assert sum(map(len, groups.values())) == len(list(model.parameters()))
        assert "model.stem.convolution.weight" in groups[0]
        assert "classifier.weight" in groups[max(groups)]
        assert len(groups) == depth + 2


def test_timms_optimizer_spares_learned_shares_and_decays_by_layer():
    from timm.optim import create_optimizer_v2

    model = made(learned_mixing=True)
    shares = model.no_weight_decay()
    assert len(shares) == 2 * 3
    assert all(name.endswith(("evolution.alpha", "evolution.beta")) for name in shares)
    optimizer = create_optimizer_v2(model, "sgd", lr=0.1, weight_decay=0.1, layer_decay=0.5)
    decays = {
        id(each): group["weight_decay"]
        for group in optimizer.param_groups
        for each in group["params"]
    }
    parameters = dict(model.named_parameters())
    assert decays.keys() == {id(each) for each in parameters.values()}
    assert all(decays[id(parameters[name])] == 0 for name in shares)
    assert decays[id(parameters["model.stem.convolution.weight"])] == 0.1


def test_every_parameter_learns_also_with_checkpointing():
    gradients = []
    image = picture()
    for checkpointing in (False, True):
        model = made(num_classes=3).train()
        model.set_grad_checkpointing(checkpointing)
        assert model.grad_checkpointing is checkpointing
        model(image).square().mean().backward()
        gradients.append([each.grad for each in model.parameters()])
    assert all(each.abs().sum() > 0 for each in gradients[0])
    assert_close(*gradients)


def test_timms_resnet_without_attention_computes_the_same():
    theirs = lived_in(timm.create_model("resnet50", num_classes=3)).eval()
    ours = timm.create_model("ea_aa_resnet50", num_classes=3, **PLAIN).eval()
    report = load_plain_weights(ours, theirs)
    assert not report.left
    assert not report.unused
    image = picture(64)
    with torch.no_grad():
        assert_close(ours(image), theirs(image), rtol=1e-4, atol=1e-4)


def test_a_checkpoint_of_another_size_is_fitted(tmp_path):
    from safetensors.torch import save_file

    trained = lived_in(made())
    save_file(trained.state_dict(), tmp_path / "model.safetensors")
    larger = made(
        img_size=48,
        pretrained=True,
        pretrained_cfg_overlay={"file": str(tmp_path / "model.safetensors")},
    )
    assert larger.model.config.image_size == 48
    image = picture(48)
    assert_close(larger(image), trained(image))
