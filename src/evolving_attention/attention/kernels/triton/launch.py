"""Calling the kernels: memory, tiles, and what is prepared and added up around them.

Letters as in :mod:`evolving_attention.attention.functional`.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from evolving_attention.attention.functional import WINDOWS
from evolving_attention.attention.kernels.triton import backward as backward_kernels
from evolving_attention.attention.kernels.triton import forward as forward_kernels

__all__ = ["Problem", "Tiles", "backward", "forward", "sign_dtype"]

_SLOPES = {"relu": 0.0, "leaky_relu": 0.01, "identity": 1.0}
_DTYPES = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}


@dataclass(frozen=True)
class Tiles:
    """Sizes of tiles, powers of two from 16, and what they run on.

    A convolution's tile holds all heads, so it is small; its first or last K - 1 rows are only
    read, and computed again for the neighbouring tile. Chosen so that, as compiled for an H100 with
    heads 64 wide, the backward pass keeps its numbers in registers and the forward pass leaves room
    for two programs a processor; not yet by time.
    """

    convolution: tuple[int, int] = (16, 16)
    convolution_warps: int = 8
    forward_registers: int | None = 128
    backward_registers: int | None = None
    attention: tuple[int, int] = (64, 64)
    programs_per_processor: int = 2


TILES = Tiles()


@dataclass(frozen=True)
class Problem:
    """The arguments of one call; ``shares`` is alpha and beta, float32."""

    query: Tensor
    key: Tensor
    value: Tensor
    previous_map: Tensor | None
    weight: Tensor | None
    bias: Tensor | None
    shares: Tensor
    mask: Tensor | None
    map_bias: Tensor | None
    seed: Tensor | None
    activation: str
    window: str
    scale: float
    dropout: float

    @property
    def map_shape(self) -> tuple[int, int, int, int]:
        """B, H, N and M."""
        B, H, N, _ = self.query.shape
        return B, H, N, self.key.shape[2]

    @property
    def has_signs(self) -> bool:
        """Whether the backward pass needs the signs of the convolution."""
        return self.weight is not None and self.activation != "identity"


def sign_dtype(num_heads: int) -> torch.dtype:
    """Return the smallest integer that has a bit for each head."""
    if num_heads <= 8:
        return torch.int8
    return torch.int16 if num_heads <= 16 else torch.int32


def _view(tensor: Tensor | None, shape: tuple[int, ...] | None = None) -> tuple[Any, ...] | None:
    """Return what a kernel takes for a tensor: itself and its strides, 0 where it broadcasts."""
    if tensor is None:
        return None
    if tensor.dtype is torch.bool:
        tensor = tensor.view(torch.uint8)
    whole = tensor if shape is None else tensor.expand(shape)
    sizes = zip(whole.shape[1:], whole.stride()[1:], strict=True)
    if sum((size - 1) * stride for size, stride in sizes) >= 2**31:  # offsets have 32 bits
        whole = tensor = whole.contiguous()
    return tensor, *whole.stride()


def _precision(dtype: torch.dtype) -> dict[str, Any]:
    """Return the type and precision of matrix products.

    The interpreter multiplies the bits of half-precision numbers, so there they are widened.
    """
    exact = torch.get_float32_matmul_precision() == "highest"
    operand = tl.float32 if triton.knobs.runtime.interpret else _DTYPES[dtype]
    return {"OPERAND": operand, "PRECISION": "ieee" if exact else "tf32"}


@cache
def _num_programs(device: torch.device) -> int:
    """Return how many programs share the tiles of a convolution: their scratch stays in cache."""
    if device.type != "cuda":
        return 2
    processors = torch.cuda.get_device_properties(device).multi_processor_count
    return processors * TILES.programs_per_processor


def _convolution(problem: Problem, turned: bool) -> dict[str, Any]:
    """Return the arguments of a convolution kernel that follow from the window and the heads."""
    assert problem.weight is not None
    _, H, _, _ = problem.map_shape
    K = problem.weight.shape[-1]
    left, _, top, _ = WINDOWS[problem.window](K)
    if turned:
        left, top = K - 1 - left, K - 1 - top
    heads = triton.next_power_of_2(H)
    neighbours = max(1, 16 // heads)  # in one matrix product, whose depth is at least 16
    return {
        "top": top,
        "left": left,
        "K": K,
        "SLOPE": _SLOPES[problem.activation],
        "HEADS": heads,
        "CHUNKS": triton.cdiv(K * K, neighbours),
        "DEPTH": neighbours * heads,
        "ROWS": TILES.convolution[0],
        "COLUMNS": TILES.convolution[1],
    }


def _width(size: int) -> int:
    return max(16, triton.next_power_of_2(size))


def _attention(problem: Problem) -> dict[str, Any]:
    """Return the arguments of the other kernels that follow from the sizes."""
    widths = {
        "E_WIDTH": _width(problem.query.shape[-1]),
        "V_WIDTH": _width(problem.value.shape[-1]),
    }
    rows, columns = TILES.attention
    bytes_across = sum(widths.values()) * problem.query.element_size()
    if bytes_across > 256:  # or the accumulators leave the registers
        rows, columns = min(rows, 32), min(columns, 32)
    return widths | {"ROWS": rows, "COLUMNS": columns}


def _arranged(weight: Tensor, options: dict[str, Any], turned: bool) -> Tensor:
    """Return the kernel as ``[neighbours and input heads, output heads]``, padded with zeros."""
    K, heads = options["K"], options["HEADS"]
    order = weight.flip(2, 3).permute(2, 3, 0, 1) if turned else weight.permute(2, 3, 1, 0)
    H = weight.shape[0]
    rows = options["CHUNKS"] * options["DEPTH"] // heads
    padding = (0, max(16, heads) - H, 0, heads - H, 0, rows - K * K)
    return F.pad(order.reshape(K * K, H, H), padding).contiguous()


def _reach(problem: Problem) -> Tensor | None:
    """Return for each row of the mask where its last key ends, ``[B, H, N, 1]`` or smaller."""
    mask = problem.mask
    if mask is None:
        return None
    mask = mask[(None,) * (4 - mask.dim())]
    B, H, N, _ = mask.shape
    M = problem.map_shape[-1]
    reach = torch.empty((B, H, N, 1), dtype=torch.int32, device=mask.device)
    whole = _view(mask, (B, H, N, M))
    forward_kernels.reach_kernel[(B * H * N,)](whole, reach, N, M, H, COLUMNS=256)
    return reach


def _inputs(problem: Problem) -> dict[str, Any]:
    """Return the arguments all kernels with logits share."""
    shape = problem.map_shape
    return {
        "query": _view(problem.query),
        "key": _view(problem.key),
        "previous_map": _view(problem.previous_map),
        "map_bias": _view(problem.map_bias, shape),
        "shares": problem.shares,
        "scale": problem.scale,
        "E": problem.query.shape[-1],
    }


def _masking(problem: Problem) -> dict[str, Any]:
    """Return the arguments all kernels share."""
    shape = problem.map_shape
    reach = _view(_reach(problem), (*shape[:3], 1))
    lengths = dict(zip("HNM", shape[1:], strict=True))
    return {"mask": _view(problem.mask, shape), "reach": reach} | lengths


def forward(problem: Problem) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return output, map, normalizers ``[B, H, N]`` and signs ``[B, N, M]``, or empty ones."""
    B, H, N, M = problem.map_shape
    query, value = problem.query, problem.value
    own_map = query.new_empty((B, H, N, M))
    output = value.new_empty((B, H, N, value.shape[-1]))
    normalizer = query.new_empty((B, H, N), dtype=torch.float32)
    signs_shape = (B, N, M) if problem.has_signs else (0,)
    signs = query.new_empty(signs_shape, dtype=sign_dtype(H))
    shared = _inputs(problem) | _masking(problem) | {"own_map": _view(own_map)}
    shared |= _precision(query.dtype)
    if problem.weight is not None:
        _launch_convolution(problem, shared, signs)
    options = _attention(problem)
    forward_kernels.attend_kernel[(B * H * triton.cdiv(N, options["ROWS"]),)](
        **shared,
        **options,
        value=_view(value),
        seed=problem.seed,
        output=_view(output),
        normalizer=normalizer,
        dropout=problem.dropout,
        V=value.shape[-1],
        MAKES_MAP=problem.weight is None,
        num_warps=4,
        num_stages=2,
    )
    return output, own_map, normalizer, signs


def _launch_convolution(problem: Problem, shared: dict[str, Any], signs: Tensor) -> None:
    assert problem.weight is not None
    options = _convolution(problem, turned=False)
    programs = _programs(problem, options)
    forward_kernels.convolve_kernel[(programs,)](
        **shared,
        **options,
        weights=_arranged(problem.weight, options, turned=False),
        bias=None if problem.bias is None else problem.bias.contiguous(),
        signs=signs if problem.has_signs else None,
        scratch=_scratch(problem, options, programs, planes=1),
        B=problem.query.shape[0],
        GROUP=min(options["HEADS"], 8),
        SLICE=min(64, _width(problem.query.shape[-1])),
        num_warps=TILES.convolution_warps,
        num_stages=1,
        maxnreg=TILES.forward_registers,
    )


def _programs(problem: Problem, options: dict[str, Any]) -> int:
    B, _, N, _ = problem.map_shape
    tiles = B * triton.cdiv(N, options["ROWS"] - options["K"] + 1)
    return min(tiles, _num_programs(problem.query.device))


def _scratch(problem: Problem, options: dict[str, Any], programs: int, planes: int) -> Tensor:
    entries = options["ROWS"] * 2 * options["COLUMNS"] * options["HEADS"]
    return problem.query.new_empty((programs, planes, entries))


@dataclass(frozen=True)
class Saved:
    """What the forward pass left, and the gradients that arrive; ``own_gradient`` of the map."""

    output: Tensor
    own_map: Tensor
    normalizer: Tensor
    signs: Tensor
    output_gradient: Tensor
    own_gradient: Tensor | None


def backward(problem: Problem, saved: Saved, needed: dict[str, bool]) -> dict[str, Tensor]:
    """Return the gradients that are needed, by the argument's name."""
    gradients: dict[str, Tensor] = {}
    overlap = (saved.output_gradient.float() * saved.output.float()).sum(-1)
    softmax = {
        "own_map": _view(saved.own_map),
        "seed": problem.seed,
        "dropout": problem.dropout,
        "output_gradient": _view(saved.output_gradient),
        "normalizer": saved.normalizer,
        "V": problem.value.shape[-1],
    } | _precision(problem.query.dtype)
    mixed_gradient = torch.empty_like(saved.own_map, memory_format=torch.contiguous_format)
    shared = softmax | _masking(problem) | {"mixed_gradient": _view(mixed_gradient)}
    rows = shared | _inputs(problem) | {"value": _view(problem.value), "overlap": overlap}
    rows |= {"own_gradient": _view(saved.own_gradient)}
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
    options = _convolution(problem, turned=True)
    programs = _programs(problem, options)
    weights = _arranged(problem.weight, options, turned=True)
    parts, bias_parts, beta_parts = None, None, None
    if needed["weight"] or needed["bias"] or needed["beta"]:
        parts = weights.new_zeros((programs, *weights.shape), dtype=torch.float32)
        bias_parts, beta_parts = parts.new_empty((2, programs, weights.shape[-1])).unbind()
    backward_kernels.convolution_gradient_kernel[(programs,)](
        **shared,
        **options,
        weights=weights,
        signs=saved.signs if problem.has_signs else None,
        weight_parts=parts,
        bias_parts=bias_parts,
        beta_parts=beta_parts,
        scratch=_scratch(problem, options, programs, planes=3),
        B=B,
        E_SLICE=min(64, _width(problem.query.shape[-1])),
        V_SLICE=min(64, _width(problem.value.shape[-1])),
        GROUP=min(options["HEADS"], 4),
        SPLITS=TILES.convolution_warps,
        num_warps=TILES.convolution_warps,
        num_stages=1,
        maxnreg=TILES.backward_registers,
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
    options = _attention(problem)
    programs = B * H * triton.cdiv(N, options["ROWS"])
    query_gradient = torch.empty_like(problem.query, memory_format=torch.contiguous_format)
    learns_alpha = needed["alpha"] and problem.previous_map is not None
    parts = problem.shares.new_empty(programs) if learns_alpha else None
    backward_kernels.query_gradient_kernel[(programs,)](
        **shared,
        **options,
        query_gradient=_view(query_gradient),
        alpha_parts=parts,
        FROM_MAP=problem.weight is None,
        num_warps=4,
        num_stages=2,
    )
    alpha = problem.shares.new_zeros(()) if parts is None else parts.sum()
    return {"query": query_gradient, "alpha": alpha}


def _launch_key_gradient(
    problem: Problem, shared: dict[str, Any], needed: dict[str, bool]
) -> dict[str, Tensor]:
    B, H, _, M = problem.map_shape
    options = _attention(problem)
    gradients = {
        name: torch.empty_like(tensor, memory_format=torch.contiguous_format)
        for name, tensor in (("key", problem.key), ("value", problem.value))
    }
    backward_kernels.key_gradient_kernel[(B * H * triton.cdiv(M, options["COLUMNS"]),)](
        **shared,
        **options,
        query=_view(problem.query),
        shares=problem.shares,
        scale=problem.scale,
        E=problem.query.shape[-1],
        key_gradient=_view(gradients["key"]),
        value_gradient=_view(gradients["value"]),
        HAS_PREVIOUS=problem.previous_map is not None,
        TO_PREVIOUS=needed["previous_map"],
        num_warps=4,
        num_stages=2,
    )
    return gradients


def _map_bias_gradient(problem: Problem, mixed_gradient: Tensor) -> Tensor:
    """Return the gradient of the bias, summed where it broadcasts; a copy where that is not."""
    assert problem.map_bias is not None
    gradient = mixed_gradient.sum_to_size(problem.map_bias.shape)
    if problem.previous_map is not None:
        return gradient * (1 - problem.shares[0]).to(gradient.dtype)
    return gradient.clone() if gradient.data_ptr() == mixed_gradient.data_ptr() else gradient
