"""The layer as one node of autograd: what is kept for the backward pass, and what is made again.

Kept are the arguments, the map (the next layer's previous map, so it is kept anyhow), two numbers a
row, and one bit an entry where the activation needs it.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from evolving_attention.attention.functional import SLOPES
from evolving_attention.attention.kernels.banded.arguments import (
    Gradients,
    Layer,
    Plan,
    Results,
    array_of,
    plan_for,
    rows_of,
    strided_rows_of,
)
from evolving_attention.attention.kernels.banded.backward import backward, backward_scratch
from evolving_attention.attention.kernels.banded.forward import forward, forward_scratch
from evolving_attention.attention.kernels.banded.threads import chunks_of, run
from evolving_attention.attention.kernels.banded.vectors import LANES
from evolving_attention.attention.kernels.gradients import check_gradients

__all__ = ["BandedAttention", "Options"]


class Options(NamedTuple):
    """What is not a tensor."""

    activation: str
    reach: tuple[int, int]  # of the kernel, above and to the left
    scale: float
    dropout: float
    seed: int
    overwrite: bool
    differentiates: bool  # autograd tells only what needs gradients, not whether any are wanted

    def numbers(self) -> tuple[np.int64, np.uint64]:
        """Return the seed of dropout, and the number of 32 bits below which an entry is dropped."""
        return np.int64(self.seed), np.uint64(round(self.dropout * 2**32))


class _Given(NamedTuple):
    """The tensors, as they are saved."""

    query: Tensor
    key: Tensor
    value: Tensor
    previous: Tensor | None
    weight: Tensor | None
    bias: Tensor | None
    map_bias: Tensor | None
    mask: Tensor | None

    def plan(self, options: Options) -> Plan:
        (_, H, N, E), (M, V) = self.query.shape, self.value.shape[2:]
        K = 1 if self.weight is None else self.weight.shape[-1]
        return plan_for(H, N, M, E, V, K, *options.reach, self.query.dtype)

    def layer(self, plan: Plan, shares: tuple[float, float], options: Options) -> Layer:
        slope = SLOPES[options.activation] if self.weight is not None else 1.0
        kept = 1 / (1 - options.dropout) if options.dropout < 1 else 0.0
        nothing, nowhere = plan.nothing, plan.nothing.reshape(-1)
        no_bias = np.zeros(plan.sizes.H, nothing.dtype)
        mask = rows_of(self.mask, plan.everything)
        map_bias, bias_steps = strided_rows_of(self.map_bias, nothing)
        return Layer(
            query=array_of(self.query),
            key=array_of(self.key),
            value=array_of(self.value),
            previous=rows_of(self.previous, nothing),
            weight=nowhere[:0] if self.weight is None else array_of(self.weight).reshape(-1),
            bias=no_bias if self.bias is None else array_of(self.bias),
            map_bias=map_bias,
            bias_steps=bias_steps,
            mask=mask.view(np.uint8),
            nothing=nothing,
            numbers=np.array([*shares, options.scale, slope, kept], nothing.dtype),
            offsets=plan.offsets,
            steps=plan.steps,
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
        """Compute output and map; keep what the backward pass needs."""
        given = _Given(query, key, value, previous, weight, bias, map_bias, mask)
        plan, shares = given.plan(options), (float(alpha), float(beta))
        layer, sizes, B = given.layer(plan, shares, options), plan.sizes, len(query)
        H, N, M = sizes.H, sizes.N, sizes.M
        chunks, parts = chunks_of(B, N, B * H * N * M)
        output, stats = query.new_empty(B, H, N, sizes.V), query.new_empty(B, H, N, 2)
        own_map = _memory_of(previous) if options.overwrite and parts == 1 else None
        own_map = query.new_empty(B, H, N, M) if own_map is None else own_map
        kept = options.differentiates and layer.numbers[3] != 1 and any(ctx.needs_input_grad)
        signs = query.new_zeros(
            *((B, H, N) if kept else (1, 1, 1)), sizes.P // LANES, dtype=torch.int16
        )
        tensors = (output, own_map, signs, stats)
        results = Results(*(tensor.numpy() for tensor in tensors))

        def work(scratch: np.ndarray, *chunk: int) -> None:
            forward(layer, results, sizes, scratch, *options.numbers(), *chunk[:4])

        run(work, chunks, forward_scratch(sizes), layer.query.dtype)
        ctx.options, ctx.shares = options, shares
        ctx.share_types = [getattr(share, "dtype", None) for share in (alpha, beta)]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*given, *tensors)
        return output, own_map

    @staticmethod
    def backward(ctx: Any, output_gradient: Tensor | None, map_gradient: Tensor | None) -> Any:
        """Compute every gradient."""
        check_gradients(output_gradient, map_gradient)
        saved = ctx.saved_tensors  # once: recomputation gives them once
        given, results = _Given(*saved[:8]), saved[8:]
        options, needs = ctx.options, ctx.needs_input_grad
        plan = given.plan(options)
        layer, sizes = given.layer(plan, ctx.shares, options), plan.sizes
        chunks, parts = chunks_of(len(given.query), sizes.N, results[1].numel())
        made = _empty_gradients(given, sizes.K, parts, needs[3], needs[8])
        gradients = Gradients(
            array_of(torch.zeros_like(results[0]) if output_gradient is None else output_gradient),
            rows_of(map_gradient, plan.nothing),
            *(tensor.numpy() for tensor in made.values()),
        )
        arrays = Results(*(tensor.numpy() for tensor in results))

        def work(scratch: np.ndarray, *chunk: int) -> None:
            numbers = (*options.numbers(), needs[6], chunk[4])
            backward(layer, arrays, gradients, sizes, scratch, *numbers, *chunk[:4])

        run(work, chunks, backward_scratch(sizes), layer.query.dtype)
        beta, shares = ctx.shares[1], made["numbers"].sum((0, 1))
        return (
            made["query"],
            _joined(made["key"]),
            _joined(made["value"]) if output_gradient is not None else None,
            made["previous"] if needs[3] else None,
            made["weight"].sum((0, 1)).mul_(beta).view(given.weight.shape) if needs[4] else None,  # type: ignore[union-attr]
            made["bias"].sum((0, 1)).mul_(beta) if needs[5] else None,
            shares[0].to(ctx.share_types[0]) if needs[6] else None,
            shares[1].to(ctx.share_types[1]) if needs[7] else None,
            made["map_bias"].sum_to_size(given.map_bias.shape) if needs[8] else None,  # type: ignore[union-attr]
            None,
            None,
        )


def _memory_of(previous: Tensor | None) -> Tensor | None:
    """Return the previous map's memory as a tensor to write to, told to autograd; None if unfit."""
    if previous is None or not previous.is_contiguous():
        return None
    torch.autograd.graph.increment_version(previous)
    return previous.detach()


def _empty_gradients(
    given: _Given, K: int, parts: int, needs_previous: bool, needs_map_bias: bool
) -> dict[str, Tensor]:
    """Make room for the gradients; one row for those that nobody needs."""
    (B, H, N, _), M, make = given.query.shape, given.key.shape[2], given.query.new_empty
    return {
        "query": make(given.query.shape),
        "key": make(parts, *given.key.shape),
        "value": make(parts, *given.value.shape),
        "previous": make((B, H, N, M) if needs_previous else (1, 1, 1, M)),
        "map_bias": make((B, H, N, M) if needs_map_bias else (1, 1, 1, M)),
        "weight": make(parts, B, H, H * K**2),
        "bias": make(parts, B, H),
        "numbers": make(parts, B, 2, dtype=torch.float64),
    }


def _joined(parts: Tensor) -> Tensor:
    return parts.sum(0) if len(parts) > 1 else parts[0]
