"""What the kernels are called with: the arguments of a call, sizes of tiles, views, memory.

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

from evolving_attention.attention.functional import SLOPES, WINDOWS
from evolving_attention.attention.kernels.triton import attention

__all__ = [
    "Problem",
    "Saved",
    "Tiles",
    "arranged",
    "attention_options",
    "convolution_options",
    "inputs",
    "masking",
    "precision",
    "program_count",
    "scratch_memory",
    "sign_dtype",
    "view",
    "width",
]

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


@dataclass(frozen=True)
class Saved:
    """What the forward pass left, and the gradients that arrive; ``own_gradient`` of the map."""

    output: Tensor
    own_map: Tensor
    normalizer: Tensor
    signs: Tensor
    output_gradient: Tensor
    own_gradient: Tensor | None


def sign_dtype(num_heads: int) -> torch.dtype:
    """Return the smallest integer that has a bit for each head."""
    if num_heads <= 8:
        return torch.int8
    return torch.int16 if num_heads <= 16 else torch.int32


def view(tensor: Tensor | None, shape: tuple[int, ...] | None = None) -> tuple[Any, ...] | None:
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


def precision(dtype: torch.dtype) -> dict[str, Any]:
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


def convolution_options(problem: Problem, turned: bool) -> dict[str, Any]:
    """Return the arguments of a convolution's kernel that follow from the window and the heads."""
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
        "SLOPE": SLOPES[problem.activation],
        "HEADS": heads,
        "CHUNKS": triton.cdiv(K * K, neighbours),
        "DEPTH": neighbours * heads,
        "GROUP": min(heads, 4 if turned else 8),
        "ROWS": TILES.convolution[0],
        "COLUMNS": TILES.convolution[1],
        "num_warps": TILES.convolution_warps,
        "num_stages": 1,
        "maxnreg": TILES.backward_registers if turned else TILES.forward_registers,
    }


def width(size: int) -> int:
    """Return the width of a tile that holds so many columns."""
    return max(16, triton.next_power_of_2(size))


def attention_options(problem: Problem) -> dict[str, Any]:
    """Return the arguments of the other kernels that follow from the sizes."""
    widths = {
        "E_WIDTH": width(problem.query.shape[-1]),
        "V_WIDTH": width(problem.value.shape[-1]),
    }
    rows, columns = TILES.attention
    bytes_across = sum(widths.values()) * problem.query.element_size()
    if bytes_across > 256:  # or the accumulators leave the registers
        rows, columns = min(rows, 32), min(columns, 32)
    return widths | {"ROWS": rows, "COLUMNS": columns, "num_warps": 4, "num_stages": 2}


def arranged(weight: Tensor, options: dict[str, Any], turned: bool) -> Tensor:
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
    whole = view(mask, (B, H, N, M))
    attention.reach_kernel[(B * H * N,)](whole, reach, N, M, H, COLUMNS=256)
    return reach


def inputs(problem: Problem) -> dict[str, Any]:
    """Return the arguments all kernels with logits share."""
    shape = problem.map_shape
    return {
        "query": view(problem.query),
        "key": view(problem.key),
        "previous_map": view(problem.previous_map),
        "map_bias": view(problem.map_bias, shape),
        "shares": problem.shares,
        "scale": problem.scale,
        "E": problem.query.shape[-1],
    }


def masking(problem: Problem) -> dict[str, Any]:
    """Return the arguments all kernels share."""
    shape = problem.map_shape
    reach = view(_reach(problem), (*shape[:3], 1))
    lengths = dict(zip("HNM", shape[1:], strict=True))
    return {"mask": view(problem.mask, shape), "reach": reach} | lengths


def program_count(problem: Problem, options: dict[str, Any]) -> int:
    """Return how many programs share the tiles of a convolution."""
    B, _, N, _ = problem.map_shape
    tiles = B * triton.cdiv(N, options["ROWS"] - options["K"] + 1)
    return min(tiles, _num_programs(problem.query.device))


def scratch_memory(problem: Problem, options: dict[str, Any], programs: int, planes: int) -> Tensor:
    """Return memory for each program's tiles, see ``scratch_places``."""
    entries = options["ROWS"] * 2 * options["COLUMNS"] * options["HEADS"]
    return problem.query.new_empty((programs, planes, entries))
