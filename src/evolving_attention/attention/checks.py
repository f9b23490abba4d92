"""Checks of what the attention function is given: one sentence an error."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["check_arguments", "check_choice", "check_mask"]


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Raise ``ValueError`` unless ``value`` is one of ``choices``."""
    if value not in (names := tuple(choices)):
        raise ValueError(f"{name} must be one of {', '.join(map(repr, names))}, got {value!r}.")


def check_arguments(
    query_BHNE: Tensor,
    key_BHME: Tensor,
    value_BHMV: Tensor,
    previous_map: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    mask: Tensor | None,
    map_bias: Tensor | None,
    alpha: float | Tensor,
    beta: float | Tensor,
    scale: float | None,
    dropout: float,
) -> None:
    """Check shapes, types, devices and ranges; raise ``ValueError`` or ``TypeError``."""
    others = {
        "previous_map": previous_map,
        "weight": weight,
        "bias": bias,
        "mask": mask,
        "map_bias": map_bias,
    }
    for name, tensor in others.items():
        if tensor is not None:
            _check_tensor(name, tensor)
    map_shape = _check_query_key_value(query_BHNE, key_BHME, value_BHMV)
    if map_bias is not None and not map_bias.is_floating_point():
        raise TypeError(f"map_bias must be floating point, got {map_bias.dtype}.")
    _check_same_device_and_dtype(query_BHNE, {"key": key_BHME, "value": value_BHMV, **others})
    if previous_map is not None and previous_map.shape != map_shape:
        raise ValueError(
            f"previous_map must have the shape [B, H, N, M] = {_show(map_shape)} of this layer's "
            "map, got "
            f"{_show(previous_map.shape)}; where the map's size changes, the chain starts again "
            "with None."
        )
    _check_convolution(map_shape[1], weight, bias)
    check_mask(mask, map_shape)
    _check_broadcast("map_bias", map_bias, map_shape)
    _check_share("alpha", alpha)
    _check_share("beta", beta)
    if scale is not None:
        _check_number("scale", scale)
        if not -math.inf < scale < math.inf:
            raise ValueError(f"scale must be finite, got {scale}.")
    _check_number("dropout", dropout)
    if not 0 <= dropout <= 1:
        raise ValueError(f"dropout must lie in [0, 1], got {dropout}.")


def check_mask(mask: Tensor | None, map_shape: torch.Size) -> None:
    """Raise ``TypeError`` or ``ValueError`` unless a mask is boolean and broadcasts to a map."""
    if mask is not None and mask.dtype is not torch.bool:
        raise TypeError(f"mask must be boolean (True: may attend), got {mask.dtype}.")
    _check_broadcast("mask", mask, map_shape)


def _check_tensor(name: str, tensor: Tensor) -> None:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(tensor).__name__}.")
    if tensor.is_nested or tensor.layout is not torch.strided:
        kind = "nested" if tensor.is_nested else tensor.layout
        raise TypeError(f"{name} must be a dense tensor, got a {kind} one.")


def _check_number(name: str, number: float) -> None:
    # A tensor would do for the reference; kernels take a number, and would give it no gradient.
    if not isinstance(number, int | float | torch.SymInt | torch.SymFloat):
        raise TypeError(f"{name} must be a number, got {type(number).__name__}.")


def _check_query_key_value(query_BHNE: Tensor, key_BHME: Tensor, value_BHMV: Tensor) -> torch.Size:
    for name, tensor in (("query", query_BHNE), ("key", key_BHME), ("value", value_BHMV)):
        _check_tensor(name, tensor)
        if tensor.dim() != 4 or 0 in tensor.shape[1:]:
            raise ValueError(
                f"{name} must have 4 dimensions, none empty, [B, H, length, width], got "
                f"{_show(tensor.shape)}."
            )
        if not tensor.is_floating_point():
            raise TypeError(f"{name} must be floating point, got {tensor.dtype}.")
    B, H, N, E = query_BHNE.shape
    M = key_BHME.shape[2]
    if key_BHME.shape != (B, H, M, E):
        raise ValueError(
            f"key must have the batch, heads and width of query, {_show((B, H, 'M', E))}, got "
            f"{_show(key_BHME.shape)}."
        )
    if value_BHMV.shape[:3] != (B, H, M):
        raise ValueError(
            f"value must have the batch, heads and length of key, {_show((B, H, M, 'V'))}, "
            f"got {_show(value_BHMV.shape)}."
        )
    return torch.Size((B, H, N, M))


def _check_same_device_and_dtype(query_BHNE: Tensor, others: dict[str, Tensor | None]) -> None:
    device = query_BHNE.device.type
    autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    for name, tensor in others.items():
        if tensor is None:
            continue
        if tensor.device != query_BHNE.device:
            raise ValueError(
                f"{name} is on {tensor.device} but query on {query_BHNE.device}; move them "
                "together."
            )
        if name != "mask" and not autocast and tensor.dtype != query_BHNE.dtype:
            raise TypeError(
                f"{name} is {tensor.dtype} but query {query_BHNE.dtype}; cast them, or use "
                "autocast."
            )


def _check_convolution(num_heads: int, weight: Tensor | None, bias: Tensor | None) -> None:
    if weight is None:
        if bias is not None:
            raise ValueError("bias was given without weight; a convolution needs both, or neither.")
        return
    size = weight.shape[-1] if weight.dim() == 4 else 0
    if weight.shape != (num_heads, num_heads, size, size) or size % 2 == 0:
        raise ValueError(
            f"weight must have the shape [H, H, K, K] with H = {num_heads} and K odd, got "
            f"{_show(weight.shape)}."
        )
    if bias is not None and bias.shape != (num_heads,):
        raise ValueError(f"bias must have the shape [H] = [{num_heads}], got {_show(bias.shape)}.")


def _check_broadcast(name: str, tensor: Tensor | None, map_shape: torch.Size) -> None:
    if tensor is None:
        return
    trailing = zip(reversed(tensor.shape), reversed(map_shape), strict=False)
    if tensor.dim() > 4 or any(size not in (1, wanted) for size, wanted in trailing):
        raise ValueError(
            f"{name} must broadcast to [B, H, N, M] = {_show(map_shape)}, got "
            f"{_show(tensor.shape)}."
        )


def _check_share(name: str, share: float | Tensor) -> None:
    if isinstance(share, Tensor):
        if share.dim() != 0:
            raise ValueError(
                f"{name} must be a float or a 0-dim tensor, got the shape {_show(share.shape)}."
            )
    elif not isinstance(share, int | float):
        raise TypeError(f"{name} must be a float or a 0-dim tensor, got {type(share).__name__}.")
    elif not 0 <= share <= 1:
        raise ValueError(f"{name} must lie in [0, 1], got {share}.")


def _show(shape: Iterable[object]) -> str:
    return f"[{', '.join(map(str, shape))}]"
