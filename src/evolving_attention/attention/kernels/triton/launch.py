"""Calling the kernels, and what is added up after them.

Letters as in :mod:`evolving_attention.attention.functional`.
"""

from typing import Any

import torch
import triton
from torch import Tensor

from evolving_attention.attention.kernels.triton import (
    attention,
    attention_gradient,
    convolution,
    convolution_gradient,
)
from evolving_attention.attention.kernels.triton.arguments import (
    Problem,
    Saved,
    arranged,
    attention_options,
    convolution_options,
    inputs,
    masking,
    precision,
    program_count,
    scratch_memory,
    sign_dtype,
    view,
    width,
)

__all__ = ["backward", "forward"]


def forward(problem: Problem) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return output, map, normalizers ``[B, H, N]`` and signs ``[B, N, M]``, or empty ones."""
    B, H, N, M = problem.map_shape
    query, value = problem.query, problem.value
    own_map = query.new_empty((B, H, N, M))
    output = value.new_empty((B, H, N, value.shape[-1]))
    normalizer = query.new_empty((B, H, N), dtype=torch.float32)
    signs_shape = (B, N, M) if problem.has_signs else (0,)
    signs = query.new_empty(signs_shape, dtype=sign_dtype(H))
    shared = inputs(problem) | masking(problem) | {"own_map": view(own_map)}
    shared |= precision(query.dtype)
    if problem.weight is not None:
        _launch_convolution(problem, shared, signs)
    options = attention_options(problem)
    attention.attend_kernel[(B * H * triton.cdiv(N, options["ROWS"]),)](
        **shared,
        **options,
        value=view(value),
        seed=problem.seed,
        output=view(output),
        normalizer=normalizer,
        dropout=problem.dropout,
        V=value.shape[-1],
        MAKES_MAP=problem.weight is None,
    )
    return output, own_map, normalizer, signs


def _launch_convolution(problem: Problem, shared: dict[str, Any], signs: Tensor) -> None:
    assert problem.weight is not None
    options = convolution_options(problem, turned=False)
    programs = program_count(problem, options)
    convolution.convolve_kernel[(programs,)](
        **shared,
        **options,
        weights=arranged(problem.weight, options, turned=False),
        bias=None if problem.bias is None else problem.bias.contiguous(),
        signs=signs if problem.has_signs else None,
        scratch=scratch_memory(problem, options, programs, planes=1),
        B=problem.query.shape[0],
        SLICE=min(64, width(problem.query.shape[-1])),
    )


def backward(problem: Problem, saved: Saved, needed: dict[str, bool]) -> dict[str, Tensor]:
    """Return the gradients that are needed, by the argument's name."""
    gradients: dict[str, Tensor] = {}
    overlap = (saved.output_gradient.float() * saved.output.float()).sum(-1)
    softmax = {
        "own_map": view(saved.own_map),
        "seed": problem.seed,
        "dropout": problem.dropout,
        "output_gradient": view(saved.output_gradient),
        "normalizer": saved.normalizer,
        "V": problem.value.shape[-1],
    } | precision(problem.query.dtype)
    mixed_gradient = torch.empty_like(saved.own_map, memory_format=torch.contiguous_format)
    shared = softmax | masking(problem) | {"mixed_gradient": view(mixed_gradient)}
    rows = shared | inputs(problem) | {"value": view(problem.value), "overlap": overlap}
    rows |= {"own_gradient": view(saved.own_gradient)}
    if problem.weight is not None:
        gradients |= _launch_convolution_gradient(problem, saved, rows, needed)
    gradients |= _launch_query_gradient(problem, rows, needed)
    if needed["map_bias"]:
        gradients["map_bias"] = _map_bias_gradient(problem, mixed_gradient)
    gradients |= _launch_key_gradient(problem, shared, needed)
    if needed["previous_map"]:
        gradients["previous_map"] = mixed_gradient
    return gradients


def _launch_convolution_gradient(
    problem: Problem, saved: Saved, shared: dict[str, Any], needed: dict[str, bool]
) -> dict[str, Tensor]:
    assert problem.weight is not None
    B, H, _, _ = problem.map_shape
    options = convolution_options(problem, turned=True)
    programs = program_count(problem, options)
    weights = arranged(problem.weight, options, turned=True)
    parts, bias_parts, beta_parts = None, None, None
    if needed["weight"] or needed["bias"] or needed["beta"]:
        parts = weights.new_zeros((programs, *weights.shape), dtype=torch.float32)
        bias_parts, beta_parts = parts.new_empty((2, programs, weights.shape[-1])).unbind()
    convolution_gradient.convolution_gradient_kernel[(programs,)](
        **shared,
        **options,
        weights=weights,
        signs=saved.signs if problem.has_signs else None,
        weight_parts=parts,
        bias_parts=bias_parts,
        beta_parts=beta_parts,
        scratch=scratch_memory(problem, options, programs, planes=3),
        B=B,
        E_SLICE=min(64, width(problem.query.shape[-1])),
        V_SLICE=min(64, width(problem.value.shape[-1])),
        SPLITS=options["num_warps"],
    )
    if parts is None or bias_parts is None or beta_parts is None:
        return {}
    K = options["K"]
    turned = parts.sum(0)[: K * K, :H, :H].reshape(K, K, H, H)
    weight_sum = turned.permute(2, 3, 0, 1).flip(2, 3)
    return _weight_gradients(problem, weight_sum, bias_parts.sum(0)[:H], beta_parts.sum())


def _weight_gradients(
    problem: Problem, weight_sum: Tensor, bias_sum: Tensor, beta_sum: Tensor
) -> dict[str, Tensor]:
    """Return the gradients of weight, bias and beta from sums in which beta is left out.

    Beta's is the gradient of the map times ``act(convolution) - mixed``. As ``act(x)`` is ``x``
    times its slope, the first part is the product of weights and bias with their own sums.
    """
    assert problem.weight is not None
    beta = problem.shares[1]
    convolved = (weight_sum * problem.weight).sum()
    gradients = {"weight": (beta * weight_sum).to(problem.weight.dtype)}
    if problem.bias is not None:
        convolved = convolved + (bias_sum * problem.bias).sum()
        gradients["bias"] = (beta * bias_sum).to(problem.bias.dtype)
    return gradients | {"beta": convolved - beta_sum}


def _launch_query_gradient(
    problem: Problem, shared: dict[str, Any], needed: dict[str, bool]
) -> dict[str, Tensor]:
    B, H, N, _ = problem.map_shape
    options = attention_options(problem)
    programs = B * H * triton.cdiv(N, options["ROWS"])
    query_gradient = torch.empty_like(problem.query, memory_format=torch.contiguous_format)
    learns_alpha = needed["alpha"] and problem.previous_map is not None
    parts = problem.shares.new_empty(programs) if learns_alpha else None
    attention_gradient.query_gradient_kernel[(programs,)](
        **shared,
        **options,
        query_gradient=view(query_gradient),
        alpha_parts=parts,
        FROM_MAP=problem.weight is None,
    )
    alpha = problem.shares.new_zeros(()) if parts is None else parts.sum()
    return {"query": query_gradient, "alpha": alpha}


def _launch_key_gradient(
    problem: Problem, shared: dict[str, Any], needed: dict[str, bool]
) -> dict[str, Tensor]:
    B, H, _, M = problem.map_shape
    options = attention_options(problem)
    gradients = {
        name: torch.empty_like(tensor, memory_format=torch.contiguous_format)
        for name, tensor in (("key", problem.key), ("value", problem.value))
    }
    attention_gradient.key_gradient_kernel[(B * H * triton.cdiv(M, options["COLUMNS"]),)](
        **shared,
        **options,
        query=view(problem.query),
        shares=problem.shares,
        scale=problem.scale,
        E=problem.query.shape[-1],
        key_gradient=view(gradients["key"]),
        value_gradient=view(gradients["value"]),
        HAS_PREVIOUS=problem.previous_map is not None,
        TO_PREVIOUS=needed["previous_map"],
    )
    return gradients


def _map_bias_gradient(problem: Problem, mixed_gradient: Tensor) -> Tensor:
    """Return the gradient of the bias, summed where it broadcasts; a copy where that is not."""
    assert problem.map_bias is not None
    gradient = mixed_gradient.sum_to_size(problem.map_bias.shape)
    if problem.previous_map is not None:
        return gradient * (1 - problem.shares[0]).to(gradient.dtype)
    return gradient.clone() if gradient.data_ptr() == mixed_gradient.data_ptr() else gradient
