"""The kernels as operators of PyTorch, so that autograd, torch.compile and export know them.

Letters as in :mod:`evolving_attention.attention.functional`.
"""

from typing import Any

import torch
from torch import Tensor

from evolving_attention.attention.kernels.gradients import check_gradients
from evolving_attention.attention.kernels.triton.arguments import Problem, Saved, sign_dtype
from evolving_attention.attention.kernels.triton.launch import backward, forward

__all__ = ["attend"]

_NAMES = ("query", "key", "value", "previous_map", "weight", "bias", "alpha", "beta", "map_bias")


def attend(
    query_BHNE: Tensor,
    key_BHME: Tensor,
    value_BHMV: Tensor,
    previous_map: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    *,
    alpha: float | Tensor,
    beta: float | Tensor,
    activation: str,
    window: str,
    mask: Tensor | None,
    map_bias: Tensor | None,
    scale: float,
    dropout: float,
) -> tuple[Tensor, Tensor]:
    """Compute evolving attention; the arguments are those of the reference."""
    device = query_BHNE.device
    tensors = [query_BHNE, key_BHME, value_BHMV, previous_map, weight, bias, map_bias]
    if torch.is_autocast_enabled(device.type):
        dtype = torch.get_autocast_dtype(device.type)
        tensors = [tensor if tensor is None else tensor.to(dtype) for tensor in tensors]
    seed = None
    if dropout > 0:  # on the device, so that nothing waits for it
        seed = torch.randint(2**62, (1,), device=device)
    output_BHNV, map_BHNM, _, _ = _forward(
        *tensors[:6],
        _share(alpha, device),
        _share(beta, device),
        tensors[6],
        mask,
        seed,
        activation,
        window,
        float(scale),
        float(dropout),
    )
    return output_BHNV, map_BHNM


def _share(share: float | Tensor, device: torch.device) -> Tensor:
    if isinstance(share, Tensor):
        return share.to(device, torch.float32)
    return torch.full((), share, dtype=torch.float32, device=device)


@torch.library.custom_op("evolving_attention::triton_forward", mutates_args=())
def _forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    previous_map: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    alpha: Tensor,
    beta: Tensor,
    map_bias: Tensor | None,
    mask: Tensor | None,
    seed: Tensor | None,
    activation: str,
    window: str,
    scale: float,
    dropout: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    problem = Problem(
        query,
        key,
        value,
        previous_map,
        weight,
        bias,
        torch.stack((alpha, beta)),
        mask,
        map_bias,
        seed,
        activation,
        window,
        scale,
        dropout,
    )
    with torch.cuda.device_of(query):  # Triton launches on the current device
        return forward(problem)


@_forward.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    B, H, N, _ = query.shape
    M, V = value.shape[2:]
    weight, activation = rest[1], rest[8]
    has_signs = weight is not None and activation != "identity"
    return (
        value.new_empty((B, H, N, V)),
        query.new_empty((B, H, N, M)),
        query.new_empty((B, H, N), dtype=torch.float32),
        query.new_empty((B, N, M) if has_signs else (0,), dtype=sign_dtype(H)),
    )


@torch.library.custom_op("evolving_attention::triton_backward", mutates_args=())
def _backward(
    output_gradient: Tensor | None,
    own_gradient: Tensor | None,
    output: Tensor,
    own_map: Tensor,
    normalizer: Tensor,
    signs: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    previous_map: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    alpha: Tensor,
    beta: Tensor,
    map_bias: Tensor | None,
    mask: Tensor | None,
    seed: Tensor | None,
    activation: str,
    window: str,
    scale: float,
    dropout: float,
    needed: list[bool],
) -> list[Tensor]:
    problem = Problem(
        query,
        key,
        value,
        previous_map,
        weight,
        bias,
        torch.stack((alpha, beta)),
        mask,
        map_bias,
        seed,
        activation,
        window,
        scale,
        dropout,
    )
    if output_gradient is None:
        output_gradient = torch.zeros_like(output)
    saved = Saved(output, own_map, normalizer, signs, output_gradient, own_gradient)
    wanted = dict(zip(_NAMES, needed, strict=True))
    with torch.cuda.device_of(query):
        gradients = backward(problem, saved, wanted)
    zero = torch.zeros_like  # alpha and beta have none where there is nothing to share
    return [
        gradients[name] if name in gradients else zero(alpha)
        for name, want in wanted.items()
        if want
    ]


@_backward.register_fake
def _(*arguments: Any) -> list[Tensor]:
    inputs = dict(zip(_NAMES, arguments[6:15], strict=True))
    needed = arguments[-1]
    return [
        torch.empty_like(inputs[name], memory_format=torch.contiguous_format)
        for name, want in zip(_NAMES, needed, strict=True)
        if want
    ]


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(*output[2:])
    ctx.save_for_backward(*output, *inputs[:11])
    ctx.options = inputs[11:]


def _differentiate(
    ctx: Any, output_gradient: Tensor | None, own_gradient: Tensor | None, *_: Any
) -> tuple[Tensor | None, ...]:
    check_gradients(output_gradient, own_gradient)
    needed = list(ctx.needs_input_grad[: len(_NAMES)])
    gradients = iter(
        _backward(output_gradient, own_gradient, *ctx.saved_tensors, *ctx.options, needed)
    )
    found = [next(gradients) if want else None for want in needed]
    return *found, *(None,) * 6


_forward.register_autograd(_differentiate, setup_context=_save)
