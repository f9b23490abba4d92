"""EA-AA-ResNets for timm: importing this registers them with ``timm.create_model``.

    import timm
    import evolving_attention.models.ea_aa_resnet_timm

    model = timm.create_model("ea_aa_resnet50", num_classes=10)
    twin = timm.create_model("ea_aa_resnet50", num_classes=10, alpha=0.0, beta=0.0)

Every option of :class:`~evolving_attention.models.EAAAResNetConfig` is an option of
``create_model``. The names of the parameters are those of
:class:`~evolving_attention.models.EAAAResNetForImageClassification`: a state dict fits both, and
``load_plain_weights`` takes either.

Shape letters: B batch, C channels, Y rows, X columns, D channels of the last stage.
"""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from evolving_attention.attention import resize_distances
from evolving_attention.models.ea_aa_resnet import EAAAResNetConfig, EAAAResNetModel

try:
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
    from timm.layers import SelectAdaptivePool2d
    from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
    from timm.models._features import feature_take_indices
except ModuleNotFoundError as error:
    raise ImportError(
        f"timm's models need the package {error.name!r}: pip install 'evolving-attention[vision]'."
    ) from error

__all__ = [
    "EAAAResNet",
    "ea_aa_resnet34",
    "ea_aa_resnet50",
    "ea_aa_resnet101",
    "ea_aa_resnet152",
    "ea_aa_resnet_cifar",
]


def _default(**options: Any) -> dict[str, Any]:
    """Return what timm wants to know of a network: input, normalisation, names of layers."""
    return {
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "pool_size": (7, 7),
        "crop_pct": 0.875,
        "interpolation": "bilinear",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "model.stem.convolution",
        "classifier": "classifier",
        **options,
    }


default_cfgs = generate_default_cfgs(
    {
        "ea_aa_resnet34": _default(),
        "ea_aa_resnet50": _default(),
        "ea_aa_resnet101": _default(),
        "ea_aa_resnet152": _default(),
        "ea_aa_resnet_cifar": _default(
            num_classes=10, input_size=(3, 32, 32), pool_size=(8, 8), crop_pct=1.0
        ),
    }
)


class EAAAResNet(nn.Module):
    """An EA-AA-ResNet with timm's surface.

    Parameters
    ----------
    config : EAAAResNetConfig
        Of the network; ``num_labels`` may be 0 for pooled features.
    num_classes : int
        Outputs of the classifier; 0: none.
    global_pool : str
        Any of timm's adaptive poolings; empty: none.
    drop_rate : float in [0, 1)
        Dropout before the classifier.
    """

    def __init__(
        self,
        config: EAAAResNetConfig,
        num_classes: int = 1000,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.model = EAAAResNetModel(config)
        self.num_features = self.head_hidden_size = config.hidden_sizes[-1]
        self.feature_info = _feature_info(config)
        self.drop_rate, self.grad_checkpointing = drop_rate, False
        self.dropout = nn.Dropout(drop_rate)
        self.reset_classifier(num_classes, global_pool)

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute the blocks again in the backward pass, to save memory."""
        name = f"checkpointing_{'enable' if enable else 'disable'}"
        # The second name is that of older versions of transformers.
        switch = getattr(self.model, f"activation_{name}", None)
        (switch or getattr(self.model, f"gradient_{name}"))()
        self.grad_checkpointing = enable

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that weight decay spares: learned shares."""
        spared = EAAAResNetModel.no_weight_decay
        return {name for name, _ in self.named_parameters() if name.endswith(spared)}

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns that order the parameters by depth, for decay of the learning rate by layer."""
        block = r"^model\.stages\.(\d+)" if coarse else r"^model\.stages\.(\d+)\.(\d+)"
        return {"stem": r"^model\.stem", "blocks": block}

    @torch.jit.ignore
    def get_classifier(self, name_only: bool = False) -> nn.Module | str:
        """Return the classifier, or its name."""
        return "classifier" if name_only else self.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Start again with a classifier of so many classes; 0: pass the features on."""
        self.num_classes = num_classes
        if global_pool is not None:
            self.global_pool = SelectAdaptivePool2d(
                pool_type=global_pool, flatten=bool(global_pool)
            )
        pooled = self.num_features * self.global_pool.feat_mult()
        like = self.model.stem.convolution.weight
        self.classifier: nn.Module = nn.Identity()
        if num_classes > 0:
            self.classifier = nn.Linear(pooled, num_classes, device=like.device, dtype=like.dtype)

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the features ``[B, D, Y, X]`` of the last stage."""
        features_BDYX: Tensor = self.model(x, return_dict=True).last_hidden_state
        return features_BDYX

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool, and classify unless ``pre_logits``."""
        pooled = self.dropout(self.global_pool(x))
        logits: Tensor = pooled if pre_logits else self.classifier(pooled)
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """Score images ``[B, C, Y, X]``."""
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return features at several depths: 0 after the first convolution, then one a stage.

        Parameters
        ----------
        x : Tensor of shape [B, C, Y, X]
            Images.
        indices : int or list of int, optional
            The last so many, or these. Default: all.
        norm : bool
            Has no effect: there is no last norm.
        stop_early : bool
            Compute no stage after the last one asked for.
        output_fmt : {"NCHW"}
            Layout of the features.
        intermediates_only : bool
            Return the list alone.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt must be 'NCHW', got {output_fmt!r}.")
        wanted, last = feature_take_indices(len(self.model.stages) + 1, indices)
        features, taken = x, []
        for index, features in enumerate(self._depths(x)):
            if index in wanted:
                taken.append(features)
            if stop_early and index == last:
                break
        return taken if intermediates_only else (features, taken)

    def _depths(self, x: Tensor) -> Iterator[Tensor]:
        features_BCYX = self.model.stem.convolve(x)
        yield features_BCYX
        features_BCYX, previous_map = self.model.stem.pooling(features_BCYX), None
        for stage in range(len(self.model.stages)):
            features_BCYX, previous_map = self.model.run_stage(stage, features_BCYX, previous_map)
            yield features_BCYX

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove the stages after the last one asked for, and the head; return the indices."""
        wanted, last = feature_take_indices(len(self.model.stages) + 1, indices)
        self.model.stages = self.model.stages[:last]
        if prune_head:
            self.reset_classifier(0, "")
        return wanted


def _feature_info(config: EAAAResNetConfig) -> list[dict[str, Any]]:
    large = config.stem == "imagenet"
    stem = {
        "num_chs": config.embedding_size,
        "reduction": 2 if large else 1,
        "module": "model.stem.normalization",
    }
    stages = [
        {
            "num_chs": size,
            "reduction": (4 if large else 1) * 2**stage,
            "module": f"model.stages.{stage}",
        }
        for stage, size in enumerate(config.hidden_sizes)
    ]
    return [stem, *stages]


def checkpoint_filter_fn(state_dict: dict[str, Any], model: EAAAResNet) -> dict[str, Tensor]:
    """Fit the relative positions of a checkpoint to the image size of the network."""
    state_dict = state_dict.get("state_dict", state_dict)
    own = model.state_dict()
    fitted = {}
    for name, tensor in state_dict.items():
        if ".relative_position." in name and name in own:
            tensor = resize_distances(tensor, (len(own[name]) + 1) // 2)
        fitted[name] = tensor
    return fitted


def _make(
    in_chans: int = 3,
    num_classes: int = 1000,
    global_pool: str = "avg",
    drop_rate: float = 0.0,
    img_size: int | tuple[int, int] | None = None,
    *,
    cfg: str,
    **options: Any,
) -> EAAAResNet:
    """Make a variant from timm's options and ours."""
    known = {each.name for each in fields(EAAAResNetConfig)}
    if unknown := sorted(options.keys() - known):
        raise TypeError(f"an EA-AA-ResNet has no option {', '.join(unknown)}.")
    if img_size is not None:
        options["image_size"] = img_size
    config = EAAAResNetConfig.variant(cfg, num_channels=in_chans, **options)
    return EAAAResNet(config, num_classes, global_pool, drop_rate)


def _create(variant: str, pretrained: bool, **options: Any) -> nn.Module:
    name = f"ea_aa_resnet{variant}" if variant.isdigit() else f"ea_aa_resnet_{variant}"
    depths = options.get("depths", EAAAResNetConfig.variant(variant).depths)
    model: nn.Module = build_model_with_cfg(
        _make,
        name,
        pretrained,
        model_cfg=variant,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg={"feature_cls": "getter", "out_indices": tuple(range(len(depths) + 1))},
        **options,
    )
    return model


@register_model
def ea_aa_resnet34(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """EA-AA-ResNet-34 of the papers: basic blocks."""
    return _create("34", pretrained, **kwargs)


@register_model
def ea_aa_resnet50(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """EA-AA-ResNet-50 of the papers."""
    return _create("50", pretrained, **kwargs)


@register_model
def ea_aa_resnet101(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """EA-AA-ResNet-101 of the papers."""
    return _create("101", pretrained, **kwargs)


@register_model
def ea_aa_resnet152(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """EA-AA-ResNet-152 of the papers."""
    return _create("152", pretrained, **kwargs)


@register_model
def ea_aa_resnet_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """A network of three stages for images of 32 x 32."""
    return _create("cifar", pretrained, **kwargs)
