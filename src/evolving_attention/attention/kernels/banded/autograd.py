"""The layer as one node of autograd: what is kept for the backward pass, and what is made again.

Kept are the arguments, the map (the next layer's previous map, so it is kept anyhow), two numbers a
row, and one bit an entry where the activation needs it.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from evolving_attention.attention.kernels.banded.arguments import Gradients, Layer, Results, Sizes
from evolving_attention.attention.kernels.banded.backward import backward, backward_scratch
from evolving_attention.attention.kernels.banded.forward import forward, forward_scratch
from evolving_attention.attention.kernels.banded.threads import chunks_of, run
from evolving_attention.attention.kernels.banded.tiles import LANES

__all__ = ["BandedAttention", "Options"]

#: Slope of each activation below 0.
SLOPES = {"relu": 0.0, "leaky_relu": 0.01, "identity": 1.0}
#: Numbers of scratch memory that the lines of a band may take: about half of a usual L2 cache.
BAND = 2**17


class Options(NamedTuple):
    """What is not a tensor."""

    activation: str
    reach: tuple[int, int]  # of the kernel, above and to the left
    scale: float
    dropout: float
    seed: int

    @property
    def threshold(self) -> int:
        """Random numbers of 32 bits below it drop their entry."""
        return round(self.dropout * 2**32)

    @property
    def kept(self) -> float:
        """Factor of what dropout keeps."""
        return 1 / (1 - self.dropout) if self.dropout < 1 else 0.0


def _array(tensor: Tensor | None, like: Tensor, dims: int = 4) -> np.ndarray:
    if tensor is None:
        return np.empty((0,) * dims, like.detach().numpy().dtype)
    return tensor.detach().contiguous().numpy()


def _whole_rows(tensor: Tensor | None, N: int, M: int) -> Tensor | None:
    """Give a broadcast mask or bias four dimensions and whole rows."""
    if tensor is None:
        return None
    tensor = tensor[(None,) * (4 - tensor.dim())]
    return tensor.expand(-1, -1, N, M).contiguous()


def _sizes(query: Tensor, value: Tensor, weight: Tensor | None, reach: tuple[int, int]) -> Sizes:
    _, H, N, E = query.shape
    M, V = value.shape[2:]
    K = 1 if weight is None else weight.shape[-1]
    P = -(-M // LANES) * LANES
    S = P + -(-(K - 1) // LANES) * LANES
    R = min(N, max(4, BAND // (4 * H * S)))
    top, left = (0, 0) if weight is None else reach
    return Sizes(H, N, M, E, V, K, P, S, R, top, left)


def _layer(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    previous: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    map_bias: Tensor | None,
    mask: Tensor | None,
    shares: tuple[float, float],
    options: Options,
    sizes: Sizes,
) -> Layer:
    flat = _array(None, query, 1)
    if weight is not None:
        turned = shares[1] * weight.detach().flip(2, 3).transpose(0, 1)
        flat = torch.cat([weight.detach().reshape(-1), turned.reshape(-1)]).numpy()
    kernel = np.arange(sizes.K)
    rows = np.arange(sizes.H * 1)[:, None, None] * (sizes.R + sizes.K - 1) + kernel[:, None]
    slope = SLOPES[options.activation]
    numbers = np.array([*shares, options.scale, slope, options.kept], _array(query, query).dtype)
    mask = _whole_rows(mask, sizes.N, sizes.M)
    return Layer(
        query=_array(query, query),
        key=_array(key, query),
        value=_array(value, query),
        previous=_array(previous, query),
        weight=flat,
        bias=np.zeros(sizes.H, numbers.dtype) if bias is None else _array(bias, query),
        map_bias=_array(_whole_rows(map_bias, sizes.N, sizes.M), query),
        mask=np.empty((0,) * 4, np.uint8) if mask is None else mask.view(torch.uint8).numpy(),
        numbers=numbers,
        offsets=(rows * sizes.S + kernel).reshape(-1),
        steps=np.arange(max(sizes.E, sizes.V, sizes.R + sizes.K)) * sizes.P,
        lines=np.arange(1),
    )


class BandedAttention(torch.autograd.Function):
    """Evolving attention, band by band."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        previous: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
        alpha: float | Tensor,
        beta: float | Tensor,
        map_bias: Tensor | None,
        mask: Tensor | None,
        options: Options,
    ) -> tuple[Tensor, Tensor]:
        sizes = _sizes(query, value, weight, options.reach)
        B, H, N, _ = query.shape
        shares = (float(alpha), float(beta))
        given = (query, key, value, previous, weight, bias, map_bias, mask)
        layer = _layer(*given, shares, options, sizes)
        output = query.new_empty(B, H, N, sizes.V)
        own_map = query.new_empty(B, H, N, sizes.M)
        stats = query.new_empty(B, H, N, 2)
        keeps_signs = weight is not None and options.activation != "identity"
        signs = torch.empty(
            (B, H, N, sizes.P // LANES) if keeps_signs and any(ctx.needs_input_grad) else (0,) * 4,
            dtype=torch.int16,
        )
        tensors = (output, own_map, signs, stats)
        results = Results(*(tensor.numpy() for tensor in tensors))
        seed, threshold = np.int64(options.seed), np.uint64(options.threshold)
        scratch = forward_scratch(sizes)
        run(
            lambda memory, b0, b1, i0, i1, _: forward(
                layer, results, sizes, memory, seed, threshold, b0, b1, i0, i1
            ),
            chunks_of(B, N, H * N * sizes.M),
            scratch,
            layer.numbers.dtype,
        )
        ctx.options, ctx.shares, ctx.sizes = options, shares, sizes
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*given, *tensors)
        ctx.learned = tuple(
            share.dtype if isinstance(share, Tensor) else None for share in (alpha, beta)
        )
        return output, own_map

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, output_gradient: Tensor | None, map_gradient: Tensor | None) -> Any:
        *given, output, own_map, signs, stats = ctx.saved_tensors
        query, key, value, previous, weight, bias, map_bias, mask = given
        sizes, options, needs = ctx.sizes, ctx.options, ctx.needs_input_grad
        B, H, N, _ = query.shape
        layer = _layer(*given, ctx.shares, options, sizes)
        results = Results(*(tensor.numpy() for tensor in (output, own_map, signs, stats)))
        if output_gradient is None:
            output_gradient = torch.zeros_like(output)
        chunks = chunks_of(B, N, H * N * sizes.M)
        count = max(chunk for *_, chunk in chunks) + 1
        none = query.new_empty((0,) * 4)
        made = {
            "query": query.new_empty(query.shape),
            "key": query.new_empty(count, *key.shape),
            "value": query.new_empty(count, *value.shape),
            "previous": query.new_empty(own_map.shape) if needs[3] else none,
            "map_bias": query.new_empty(own_map.shape) if needs[8] else none,
            "weight": query.new_empty(count, B, H, H * sizes.K**2),
            "bias": query.new_empty(count, B, H),
            "numbers": torch.empty(count, B, 2, dtype=torch.float64),
        }
        gradients = Gradients(
            output=_array(output_gradient, query),
            own_map=_array(map_gradient, query),
            **{name: tensor.numpy() for name, tensor in made.items()},
        )
        seed, threshold = np.int64(options.seed), np.uint64(options.threshold)
        run(
            lambda memory, b0, b1, i0, i1, chunk: backward(
                layer, results, gradients, sizes, memory, seed, threshold, needs[6], needs[7],
                chunk, b0, b1, i0, i1,
            ),
            chunks,
            backward_scratch(sizes),
            layer.numbers.dtype,
        )  # fmt: skip
        beta = ctx.shares[1]
        numbers = made["numbers"].sum((0, 1))
        return (
            made["query"],
            made["key"].sum(0) if count > 1 else made["key"][0],
            made["value"].sum(0) if count > 1 else made["value"][0],
            made["previous"] if needs[3] else None,
            beta * made["weight"].sum((0, 1)).view_as(weight) if needs[4] else None,
            beta * made["bias"].sum((0, 1)) if needs[5] else None,
            numbers[0].to(ctx.learned[0]) if needs[6] else None,
            numbers[1].to(ctx.learned[1]) if needs[7] else None,
            made["map_bias"].sum_to_size(map_bias.shape) if needs[8] else None,
            None,
            None,
        )
