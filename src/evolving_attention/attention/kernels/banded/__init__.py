"""Evolving attention on the CPU, band by band of query rows, in scratch memory that fits the cache.

A map is read once and written once; what the backward pass needs beside it is made again. The
loops are compiled by Numba at the first call and kept on disk.
"""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

__all__ = ["attend", "drawback", "normalize", "refusal"]


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
    overwrite: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return the output and the map, as the reference does; in ``previous_map``'s place if asked.

    A band reads the rows of the previous map that it needs before it writes its own, and keeps what
    the next band needs of them, mixed. So the same memory can hold both.
    """
    from evolving_attention.attention.functional import WINDOWS
    from evolving_attention.attention.kernels.banded.autograd import BandedAttention, Options

    dtype = query_BHNE.dtype
    left, _, top, _ = WINDOWS[window](1 if weight is None else weight.shape[-1])
    seed = int(torch.randint(2**62, (), device="cpu")) if dropout > 0 else 0
    tensors = (query_BHNE, key_BHME, value_BHMV, previous_map, weight, bias)
    output_BHNV, map_BHNM = BandedAttention.apply(
        *map(_wide, tensors),
        alpha if previous_map is not None else 0.0,  # else it has no effect, and no gradient
        beta if weight is not None else 0.0,
        _wide(map_bias),
        mask,
        Options(activation, (top, left), scale, dropout, seed, overwrite, torch.is_grad_enabled()),
    )
    return output_BHNV.to(dtype), map_BHNM.to(dtype)


def _wide(tensor: Tensor | None) -> Tensor | None:
    if tensor is None or tensor.dtype in (torch.float32, torch.float64):
        return tensor
    return tensor.float()


def normalize(map_BHNM: Tensor, mask: Tensor | None, eps: float) -> Tensor | None:
    """Return what ``normalize_map`` does; None where it had better do it itself.

    Without a mask PyTorch's layer norm is as good.
    """
    if mask is None or map_BHNM.dtype not in (torch.float32, torch.float64):
        return None
    if map_BHNM.dim() != 4 or map_BHNM.numel() == 0:
        return None
    if {map_BHNM.device.type, mask.device.type} != {"cpu"}:
        return None
    if torch.is_autocast_enabled("cpu") or _is_traced([map_BHNM, mask]) or _engine() is None:
        return None
    from evolving_attention.attention.kernels.banded.normalization import NormalizeRows

    rows: Tensor = NormalizeRows.apply(map_BHNM, mask, eps)
    return rows


def refusal(
    query_BHNE: Tensor, *others: Tensor | None, alpha: Any, beta: Any, **options: Any
) -> str | None:
    """Say why these arguments cannot be taken; None if they can."""
    tensors = [
        tensor
        for tensor in (query_BHNE, *others, alpha, beta, options["mask"], options["map_bias"])
        if isinstance(tensor, Tensor)
    ]
    if query_BHNE.device.type != "cpu":
        return f"it computes on the CPU, and query is on {query_BHNE.device}."
    if query_BHNE.dtype not in _DTYPES:
        return f"it cannot compute in {query_BHNE.dtype}."
    if torch.is_autocast_enabled("cpu"):
        return "under autocast each operation chooses its type."
    if query_BHNE.numel() == 0:
        return "the batch is empty."
    if _is_traced(tensors):
        return "compilers, tracers and function transforms see only PyTorch's own operations."
    if _engine() is None:
        return "Numba, which compiles it, is missing or switched off."
    return None


_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def _is_traced(tensors: list[Tensor]) -> bool:
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch._C._len_torch_dispatch_stack() > 0
        or torch.autograd.forward_ad._current_level >= 0
        or any(type(tensor) not in (Tensor, Parameter) for tensor in tensors)
    )


@lru_cache(maxsize=1)
def _engine() -> Any:
    try:
        import numba
    except ImportError:
        return None
    return None if numba.config.DISABLE_JIT else numba


#: Entries of the smallest map for which it is faster with a convolution, and without one, where
#: only the softmax is gained; heads wider than this are better left to a matrix library then.
#: Measured on one core by `make bench`.
SMALLEST_CONVOLVED, SMALLEST_PLAIN, WIDEST_PLAIN = 2**12, 2**18, 16


def drawback(
    query_BHNE: Tensor,
    key_BHME: Tensor,
    value_BHMV: Tensor,
    previous_map: Tensor | None,
    weight: Tensor | None,
    *_: Any,
    **__: Any,
) -> str | None:
    """Say why another backend is the better choice; None if none is."""
    B, H, N, E = query_BHNE.shape
    entries = B * H * N * key_BHME.shape[2]
    smallest = SMALLEST_PLAIN if weight is None else SMALLEST_CONVOLVED
    kind = "without a convolution" if weight is None else "with a convolution"
    if entries < smallest:
        return f"{kind} it is faster from {smallest} entries of a map on, not at {entries}."
    width = max(E, value_BHMV.shape[3])
    widest = WIDEST_PLAIN if weight is None else key_BHME.shape[2]  # what it lays out anew counts
    if width > widest:
        return f"{kind} it is faster for heads up to {widest} wide, not for {width}."
    return None
