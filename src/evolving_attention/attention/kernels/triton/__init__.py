"""Fused kernels in Triton for GPUs: one map kept a layer.

A layer without a convolution is one kernel; one with it makes the map in a first and attends in a
second. What the backward pass cannot recompute cheaply it keeps: the map that was returned, a
number a row, and the signs of the convolution, one bit an entry. Everything else is recomputed
tile by tile.

``TRITON_INTERPRET=1`` runs the kernels in Triton's interpreter on the CPU, for tests.
"""

import os
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

__all__ = ["attend", "drawback", "refusal"]

KERNEL_SIZES = (1, 3, 5)
MOST_HEADS = 32
WIDEST_HEAD = 256
#: Entries of a head's map from which ``"auto"`` takes these kernels. Not measured yet.
FEWEST_ENTRIES = 128 * 128

_IS_INSTALLED = find_spec("triton") is not None


def attend(*arguments: Any, **options: Any) -> tuple[Tensor, Tensor]:
    """Compute evolving attention; the arguments are those of the reference."""
    from evolving_attention.attention.kernels.triton.operator import attend

    return attend(*arguments, **options)


def refusal(
    query_BHNE: Tensor,
    key_BHME: Tensor,
    value_BHMV: Tensor,
    previous_map: Tensor | None = None,
    weight: Tensor | None = None,
    *_: Any,
    **__: Any,
) -> str | None:
    """Return why these arguments cannot be taken, or None."""
    if (reason := _engine_refusal(query_BHNE.device)) is not None:
        return reason
    if not torch.compiler.is_compiling() and _is_transformed():
        return "function transforms and forward-mode derivatives need PyTorch's own operations."
    dtype = query_BHNE.dtype
    if torch.is_autocast_enabled(query_BHNE.device.type):
        dtype = torch.get_autocast_dtype(query_BHNE.device.type)
    if dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return f"the kernels take float32, bfloat16 and float16, not {dtype}."
    B, H, N, E = query_BHNE.shape
    M, V = value_BHMV.shape[2:]
    if B == 0:
        return "the batch is empty."
    if H > MOST_HEADS:
        return f"the kernels take up to {MOST_HEADS} heads, not {H}."
    if max(E, V) > WIDEST_HEAD:
        return f"the kernels take heads up to {WIDEST_HEAD} wide, not {max(E, V)}."
    if H * N * M >= 2**31:
        return f"the kernels take maps of fewer than 2**31 entries a sample, not {H} x {N} x {M}."
    if weight is not None and weight.shape[-1] not in KERNEL_SIZES:
        return f"the kernels take convolutions of size 1, 3 and 5, not {weight.shape[-1]}."
    return None


def drawback(query_BHNE: Tensor, key_BHME: Tensor, *_: Any, **__: Any) -> str | None:
    """Return why ``"auto"`` had better choose another backend, or None."""
    if query_BHNE.device.type != "cuda":
        return "Triton's interpreter is for tests."
    if query_BHNE.shape[2] * key_BHME.shape[2] < FEWEST_ENTRIES:
        return f"launching costs more than it saves below {FEWEST_ENTRIES} entries a head."
    return None


def _is_transformed() -> bool:
    """Whether a function transform is at work: forward-mode derivatives would be 0 in silence."""
    return (
        torch._C._functorch.peek_interpreter_stack() is not None
        or torch.autograd.forward_ad._current_level >= 0
    )


def _engine_refusal(device: torch.device) -> str | None:
    """Return why kernels cannot run on the device, or None."""
    if not _IS_INSTALLED:
        return "the package triton is not installed."
    if device.type == "cuda":
        return _capability_refusal(device)
    if device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1":
        return None
    return f"the kernels run on CUDA devices, not on {device.type!r}."


@cache
def _capability_refusal(device: torch.device) -> str | None:
    if torch.cuda.get_device_capability(device) < (8, 0):
        return "the kernels need a GPU of compute capability 8.0 or higher."
    return None
