"""The steps inside evolving layers: own logits, mix, convolution, map, for one batch.

Shape letters: B batch, H heads, N queries, M keys.

The network runs as it always does; hooks note what each layer was given and what it returned, and
the steps between are computed again outside.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from evolving_attention.attention import EvolvingAttention, evolve_map

__all__ = ["Steps", "recorded_steps"]


@dataclass
class Steps:
    """What one layer made of the map it was handed.

    Attributes
    ----------
    logits_BHNM : Tensor
        The layer's own logits.
    previous_BHNM : Tensor or None
        The map it was handed, used or not; None at the start of a chain.
    map_BHNM : Tensor
        The map it returned.
    mask : bool Tensor or None
        What may be attended to.
    window : str
        Which neighbours the layer's convolution reads: of networks with several chains it tells
        which the layer belongs to.
    residual_BHNM, mixed_BHNM : Tensor or None
        What the previous map adds to the mix, None without a residual; and the mix.
    convolved_BHNM, activated_BHNM : Tensor or None
        The convolved mix, before and after its activation. None without a convolution.

    The steps between, from the residual on, are None where they cannot be retraced.
    """

    logits_BHNM: Tensor
    previous_BHNM: Tensor | None
    map_BHNM: Tensor
    mask: Tensor | None
    window: str = "bidirectional"
    residual_BHNM: Tensor | None = None
    mixed_BHNM: Tensor | None = None
    convolved_BHNM: Tensor | None = None
    activated_BHNM: Tensor | None = None


@contextmanager
def recorded_steps(model: nn.Module) -> Iterator[list[Steps]]:
    """Note the steps of every :class:`EvolvingAttention` that runs inside the block, in order."""
    layers: list[Steps] = []
    expected = signature(EvolvingAttention.forward)  # subclasses may take more
    latest: dict[str, Tensor] = {}

    def record(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        known = {name: kwargs[name] for name in kwargs if name in expected.parameters}
        given = expected.bind(module, *args, **known).arguments
        steps = _steps(module, given, output[1])  # type: ignore[arg-type]
        if (link := getattr(module, "link", None)) is not None:
            # A model of transformers hands no map on where none is used; the measures want it.
            if steps.previous_BHNM is None and link.index > 0:
                steps.previous_BHNM = latest.get(link.chain)
            latest[link.chain] = steps.map_BHNM
        layers.append(steps)

    handles = [
        module.register_forward_hook(record, with_kwargs=True)
        for module in model.modules()
        if isinstance(module, EvolvingAttention)
    ]
    try:
        yield layers
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def _steps(layer: EvolvingAttention, given: Mapping[str, Any], map_BHNM: Tensor) -> Steps:
    query_BHNE, mask = given["query_BHNE"], given.get("mask")
    scale = given.get("scale")
    scale = query_BHNE.shape[-1] ** -0.5 if scale is None else scale
    logits_BHNM = (scale * query_BHNE) @ given["key_BHME"].transpose(-2, -1)
    if given.get("map_bias") is not None:
        logits_BHNM = logits_BHNM + given["map_bias"]
    steps = Steps(logits_BHNM, given.get("previous_map"), map_BHNM, mask, layer.window)
    _retrace(layer, steps)
    return steps


def _retrace(layer: EvolvingAttention, steps: Steps) -> None:
    """Fill in the steps between: the one place that knows how a layer mixes and convolves.

    Where they do not lead to the map that the layer returned, it mixes in a way that is not known
    here, and nothing is filled in.
    """
    evolve = partial(evolve_map, mask=steps.mask)
    mixed_BHNM, residual_BHNM = evolve(steps.logits_BHNM), None
    if (handed_BHNM := layer.handed(steps.previous_BHNM, steps.mask)) is not None:
        mix = partial(evolve, previous_map=handed_BHNM, alpha=layer.alpha)
        mixed_BHNM = mix(steps.logits_BHNM)
        residual_BHNM = mix(torch.zeros_like(steps.logits_BHNM))
    expected_BHNM, convolved_BHNM, activated_BHNM = mixed_BHNM, None, None
    if layer.convolution is not None:
        weight, bias = layer.convolution.weight, layer.convolution.bias
        convolve = partial(evolve, mixed_BHNM, None, weight, bias, window=layer.window)
        convolved_BHNM = convolve(beta=1.0, activation="identity")
        activated_BHNM = convolve(beta=1.0, activation=layer.activation)
        expected_BHNM = convolve(beta=layer.beta, activation=layer.activation)
    if torch.allclose(expected_BHNM, steps.map_BHNM, rtol=1e-3, atol=1e-4):
        steps.residual_BHNM, steps.mixed_BHNM = residual_BHNM, mixed_BHNM
        steps.convolved_BHNM, steps.activated_BHNM = convolved_BHNM, activated_BHNM
