"""Weights of a plain ResNet for an EA-AA-ResNet, as far as they fit, with a report of what did.

Where attention takes the last channels of a 3 x 3 convolution, the kernel of the plain network is
loaded but for its last filters: the channels keep their places.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

__all__ = ["PlainWeightsReport", "load_plain_weights", "plain_resnet_names"]

#: How transformers, and timm and torchvision, call what is otherwise called here.
_RENAMINGS = [
    (r"^model\.", ""),  # our own
    # transformers
    (r"^resnet\.", ""),
    (r"^embedder\.embedder\.", "stem."),
    (r"^encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d+)\.", r"stages.\1.\2.layers.\3."),
    (r"^encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.", r"stages.\1.\2.shortcut."),
    (r"^classifier\.1\.", "classifier."),
    # timm and torchvision
    (r"^conv1\.", "stem.convolution."),
    (r"^bn1\.", "stem.normalization."),
    (r"^fc\.", "classifier."),
]
_TIMM_BLOCK = re.compile(r"^layer(\d+)\.(\d+)\.(conv|bn|downsample\.)(\d+)\.(.+)$")


@dataclass
class PlainWeightsReport:
    """What became of a plain ResNet's weights.

    Attributes
    ----------
    whole : list of str
        Tensors of the network that were loaded as they are.
    partly : dict of str to (int, int)
        Kernels of which the first filters were loaded: how many, and how many there were.
    left : list of str
        Tensors of the network that no plain weight stands for: attention, evolution. They keep
        their start.
    unused : list of str
        Tensors given, by their own names, that fit nowhere.
    """

    whole: list[str] = field(default_factory=list)
    partly: dict[str, tuple[int, int]] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Tell it in one line."""
        told = (
            f"{len(self.whole)} tensors loaded whole, {len(self.partly)} kernels but for the "
            f"channels that attention makes, {len(self.left)} left as they started"
        )
        return told + (f", {len(self.unused)} unused: {', '.join(self.unused)}" * bool(self.unused))


def plain_resnet_names(name: str) -> str:
    """Return this package's name of a tensor of transformers', timm's or torchvision's ResNet."""
    for pattern, replacement in _RENAMINGS:
        name = re.sub(pattern, replacement, name)
    if not (match := _TIMM_BLOCK.match(name)):
        return name
    stage, block, kind, number, rest = match.groups()
    place = f"stages.{int(stage) - 1}.{block}"
    if kind == "downsample.":
        return f"{place}.shortcut.{('convolution', 'normalization')[int(number)]}.{rest}"
    kind = {"conv": "convolution", "bn": "normalization"}[kind]
    return f"{place}.layers.{int(number) - 1}.{kind}.{rest}"


@torch.no_grad()
def load_plain_weights(
    model: nn.Module, weights: Mapping[str, Tensor] | nn.Module | str | Path
) -> PlainWeightsReport:
    """Load what fits of a plain ResNet's weights into an EA-AA-ResNet.

    Parameters
    ----------
    model : EAAAResNetModel or EAAAResNetForImageClassification
        Changed in place.
    weights : mapping of str to Tensor, Module or path
        A state dict, a network, a safetensors file or a folder with ``model.safetensors``; of
        transformers' ``ResNet``, timm's ``resnet`` or torchvision's. The classifier is loaded if
        it has as many classes.

    Returns
    -------
    PlainWeightsReport
        What was loaded, whole or partly, and what was not.

    Raises
    ------
    ValueError
        No tensor fits: this is not a ResNet's.
    """
    report = PlainWeightsReport()
    own = {name.removeprefix("model."): name for name in model.state_dict()}
    state = model.state_dict()
    for given, tensor in _state_of(weights).items():
        name = plain_resnet_names(given)
        branch = name.replace(".convolution.", ".convolution.convolution.")
        target = own.get(name) or own.get(branch)
        if target is None or not _load(state[target], tensor, target, report):
            report.unused.append(given)
    if not report.whole and not report.partly:
        raise ValueError("no tensor fits: the weights are not those of a ResNet.")
    loaded = {*report.whole, *report.partly}
    report.left = [name for name in state if name not in loaded]
    return report


def _load(target: Tensor, tensor: Tensor, name: str, report: PlainWeightsReport) -> bool:
    """Copy a tensor, or its first filters; say whether it fits."""
    if target.shape == tensor.shape:
        target.copy_(tensor)
        report.whole.append(name)
        return True
    branch = name.endswith(".convolution.convolution.weight")
    if not branch or target.shape[1:] != tensor.shape[1:] or len(target) > len(tensor):
        return False
    target.copy_(tensor[: len(target)])
    report.partly[name] = (len(target), len(tensor))
    return True


def _state_of(weights: Mapping[str, Tensor] | nn.Module | str | Path) -> Mapping[str, Tensor]:
    if isinstance(weights, nn.Module):
        return weights.state_dict()
    if isinstance(weights, (str, Path)):
        path = Path(weights)
        return load_file(path / "model.safetensors" if path.is_dir() else path)
    return weights
