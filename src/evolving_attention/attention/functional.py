"""Evolving attention: the one function and its specification.

Shape letters, used as suffixes of tensor names: B batch, H heads, N queries, M keys, E head width
of queries and keys, V head width of values, K kernel size.

A *map* is one layer's attention logits before the softmax, ``[B, H, N, M]``; *probabilities* come
after it. Source: Wang et al., "Evolving Attention with Residual Convolutions" (ICML 2021) and
"Convolution-enhanced Evolving Attention Networks" (TPAMI 2023). The papers' alpha and beta are
kept under their names.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from evolving_attention.attention.backends import (
    BACKENDS,
    BackendChoice,
    choose_backend,
    normalize_by_backend,
)
from evolving_attention.attention.checks import check_arguments, check_choice, check_mask

__all__ = [
    "ACTIVATIONS",
    "BACKENDS",
    "SLOPES",
    "WINDOWS",
    "attend",
    "convolve_map",
    "evolve_map",
    "evolving_attention",
    "explain_backend",
    "mix_map",
    "normalize_map",
    "own_logits",
    "probabilities",
    "reference",
]

#: Names of the activations a map may pass after its convolution.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,  # as the authors' time-series code
    "identity": lambda map_BHNM: map_BHNM,
}

#: What each multiplies negative entries by: the form in which kernels know it.
SLOPES = {"relu": 0.0, "leaky_relu": 0.01, "identity": 1.0}


def _pad_bidirectional(kernel_size: int) -> tuple[int, int, int, int]:
    half = kernel_size // 2
    return half, half, half, half


def _pad_causal(kernel_size: int) -> tuple[int, int, int, int]:
    return kernel_size - 1, 0, kernel_size - 1, 0


def _pad_cross(kernel_size: int) -> tuple[int, int, int, int]:
    half = kernel_size // 2
    return half, half, kernel_size - 1, 0


#: Windows a convolution may read: zero padding (left, right, top, bottom) for a kernel size.
WINDOWS: dict[str, Callable[[int], tuple[int, int, int, int]]] = {
    "bidirectional": _pad_bidirectional,  # rows i-1..i+1, columns j-1..j+1
    "causal": _pad_causal,  # rows i-2..i, columns j-2..j
    "cross": _pad_cross,  # rows i-2..i, columns j-1..j+1
}


def evolving_attention(
    query_BHNE: Tensor,
    key_BHME: Tensor,
    value_BHMV: Tensor,
    previous_map: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    alpha: float | Tensor = 0.0,
    beta: float | Tensor = 0.0,
    activation: str = "relu",
    window: str = "bidirectional",
    mask: Tensor | None = None,
    map_bias: Tensor | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    training: bool = False,
    backend: str = "auto",
    overwrite: bool = False,
) -> tuple[Tensor, Tensor]:
    """Attend with a map that evolves from the map of the layer before.

    With ``S = scale * query @ key^T + map_bias``, the residual and the convolution of the papers::

        mixed = alpha * previous_map + (1 - alpha) * S
        map   = beta * act(conv2d(mixed)) + (1 - beta) * mixed
        out   = softmax(map) @ value

    The convolution sees the map as an image whose channels are the heads. ``alpha = beta = 0`` is
    plain attention; ``beta = 0`` a residual between maps; ``alpha = 0`` a convolution within the
    layer.

    Parameters
    ----------
    query_BHNE, key_BHME, value_BHMV : Tensor
        Queries, keys and values of each head, floating point, any strides.
    previous_map : Tensor of shape [B, H, N, M], optional
        The map returned by the layer before. ``None``: no mixing, ``mixed = S``.
    weight : Tensor of shape [H, H, K, K], optional
        Kernel of the convolution, K odd. ``None``: no convolution, ``map = mixed``.
    bias : Tensor of shape [H], optional
        Bias of the convolution.
    alpha, beta : float in [0, 1] or 0-dim Tensor
        Share of the previous map, and share of the convolved map. Tensors when they are learned.
    activation : {"relu", "leaky_relu", "identity"}
        Applied to the convolved map.
    window : {"bidirectional", "causal", "cross"}
        Which neighbours the convolution reads. It does not mask: pass a causal ``mask`` too.
    mask : bool Tensor broadcastable to [B, H, N, M], optional
        True where a query may attend to a key. Elsewhere the map is 0, wherever a convolution
        reads it or it is handed on; minus infinity exists only inside the softmax.
    map_bias : Tensor broadcastable to [B, H, N, M], optional
        Added to the scaled logits (relative positions); finite: what is forbidden is masked.
    scale : float, optional
        Default: ``E ** -0.5``.
    dropout : float in [0, 1]
        Dropout of the probabilities, when ``training``.
    training : bool
        Whether dropout is active.
    backend : {"auto", "triton", "banded", "reference"}
        The implementation; ``"reference"`` is the specification. ``"auto"`` chooses, and
        :func:`explain_backend` says why.
    overwrite : bool
        Whether the previous map is not needed any more. Where gradients are switched off, a backend
        that can (``"banded"``) then writes the new map into its memory.

    Returns
    -------
    output_BHNV : Tensor
        Attended values. A query with nothing to attend to gets 0.
    map_BHNM : Tensor
        The map for the next layer: 0 where masked.

    Raises
    ------
    ValueError, TypeError
        An argument has a wrong shape, type, device or value; the message says which and what would
        be right.

    Examples
    --------
    >>> import torch
    >>> query = key = value = torch.randn(2, 4, 5, 8)
    >>> _, first_map = evolving_attention(query, key, value)
    >>> weight = torch.randn(4, 4, 3, 3)
    >>> output, second_map = evolving_attention(
    ...     query, key, value, first_map, weight, alpha=0.5, beta=0.5
    ... )
    >>> output.shape, second_map.shape
    (torch.Size([2, 4, 5, 8]), torch.Size([2, 4, 5, 5]))
    """
    arguments, options = _checked(
        query_BHNE,
        key_BHME,
        value_BHMV,
        previous_map,
        weight,
        bias,
        alpha=alpha,
        beta=beta,
        activation=activation,
        window=window,
        mask=mask,
        map_bias=map_bias,
        scale=scale,
        dropout=dropout,
        training=training,
    )
    check_choice("backend", backend, ("auto", *BACKENDS))
    choice = choose_backend(backend, *arguments, **options)
    chosen = BACKENDS[choice.name]
    if overwrite and chosen.overwrites and not torch.is_grad_enabled():
        options["overwrite"] = True
    return chosen.attend(*arguments, **options)


def explain_backend(
    *arguments: Any, backend: str = "auto", overwrite: bool = False, **options: Any
) -> BackendChoice:
    """Say which backend :func:`evolving_attention` would take for the same arguments, and why.

    ``overwrite`` makes no difference.

    Returns
    -------
    BackendChoice
        The ``name``, and ``passed_over``: for each backend that ``"auto"`` prefers, the sentence
        that says why it is not this one. Prints as one line each.

    Examples
    --------
    >>> import torch
    >>> query = key = value = torch.randn(2, 4, 5, 8)
    >>> explain_backend(query, key, value, backend="reference").name
    'reference'
    """
    check_choice("backend", backend, ("auto", *BACKENDS))
    checked, rest = _checked(*arguments, **options)
    return choose_backend(backend, *checked, **rest)


def _checked(
    query_BHNE: Tensor,
    key_BHME: Tensor,
    value_BHMV: Tensor,
    previous_map: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    alpha: float | Tensor = 0.0,
    beta: float | Tensor = 0.0,
    activation: str = "relu",
    window: str = "bidirectional",
    mask: Tensor | None = None,
    map_bias: Tensor | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    training: bool = False,
) -> tuple[tuple[Tensor | None, ...], dict[str, Any]]:
    """Check the arguments of :func:`evolving_attention`; return those of a backend."""
    check_choice("activation", activation, ACTIVATIONS)
    check_choice("window", window, WINDOWS)
    arguments = (query_BHNE, key_BHME, value_BHMV, previous_map, weight, bias)
    check_arguments(*arguments, mask, map_bias, alpha, beta, scale, dropout)
    return arguments, {
        "alpha": alpha,
        "beta": beta,
        "activation": activation,
        "window": window,
        "mask": mask,
        "map_bias": map_bias,
        "scale": query_BHNE.shape[-1] ** -0.5 if scale is None else scale,
        "dropout": dropout if training else 0.0,
    }


def reference(
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
    """Compute evolving attention in plain PyTorch: the specification every backend is held to.

    The arguments are those of :func:`evolving_attention`, checked; dropout is 0 outside training.
    """
    map_BHNM = evolve_map(
        own_logits(query_BHNE, key_BHME, map_bias, scale),
        previous_map,
        weight,
        bias,
        alpha=alpha,
        beta=beta,
        activation=activation,
        window=window,
        mask=mask,
    )
    return attend(map_BHNM, value_BHMV, mask, dropout), map_BHNM


def own_logits(
    query_BHNE: Tensor, key_BHME: Tensor, map_bias: Tensor | None, scale: float
) -> Tensor:
    """Return a layer's logits ``[B, H, N, M]`` before anything is mixed in."""
    logits_BHNM = (scale * query_BHNE) @ key_BHME.transpose(-2, -1)  # float16 could not scale later
    return logits_BHNM if map_bias is None else logits_BHNM + map_bias


def attend(map_BHNM: Tensor, value_BHMV: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """Return the values ``[B, H, N, V]`` that a map attends to, with dropout of probabilities."""
    probabilities_BHNM = probabilities(map_BHNM, mask)
    if dropout > 0:
        probabilities_BHNM = F.dropout(probabilities_BHNM, dropout)
    return probabilities_BHNM.to(value_BHMV.dtype) @ value_BHMV


def evolve_map(
    logits_BHNM: Tensor,
    previous_map: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    alpha: float | Tensor = 0.0,
    beta: float | Tensor = 0.0,
    activation: str = "relu",
    window: str = "bidirectional",
    mask: Tensor | None = None,
) -> Tensor:
    """Make a layer's map from its own logits and the map of the layer before.

    The middle of :func:`evolving_attention`, which explains the arguments; they are not checked
    again here.

    Returns
    -------
    Tensor of shape [B, H, N, M]
        The map, 0 where masked.
    """
    mixed_BHNM = mix_map(logits_BHNM, previous_map, alpha=alpha, mask=mask)
    return convolve_map(
        mixed_BHNM, weight, bias, beta=beta, activation=activation, window=window, mask=mask
    )


def mix_map(
    logits_BHNM: Tensor,
    previous_map: Tensor | None = None,
    *,
    alpha: float | Tensor = 0.0,
    mask: Tensor | None = None,
) -> Tensor:
    """Mix a layer's own logits with the previous map: the first half of :func:`evolve_map`."""
    mixed_BHNM = logits_BHNM
    if previous_map is not None:
        mixed_BHNM = _blend(logits_BHNM, previous_map, alpha)
    return _zero_masked(mixed_BHNM, mask)


def convolve_map(
    mixed_BHNM: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    beta: float | Tensor = 0.0,
    activation: str = "relu",
    window: str = "bidirectional",
    mask: Tensor | None = None,
    rows_before: Tensor | None = None,
) -> Tensor:
    """Mix what :func:`mix_map` made with its convolution: the second half of :func:`evolve_map`.

    Parameters
    ----------
    rows_before : Tensor of shape [B, H, R, M], optional
        Mixed rows of the R queries before the first one here, for a window that looks back from
        its row; further ones do not exist, and count as 0.
    """
    if weight is None:
        return mixed_BHNM
    left, right, top, bottom = WINDOWS[window](weight.shape[-1])
    seen_BHNM = mixed_BHNM
    if rows_before is not None:
        seen_BHNM, top = torch.cat([rows_before, mixed_BHNM], -2), top - rows_before.shape[-2]
    padded_BHNM = F.pad(seen_BHNM, (left, right, top, bottom))
    convolved_BHNM = ACTIVATIONS[activation](F.conv2d(padded_BHNM, weight, bias))
    return _zero_masked(_blend(mixed_BHNM, convolved_BHNM, beta), mask)


def normalize_map(
    map_BHNM: Tensor,
    mask: Tensor | None = None,
    eps: float = 1e-6,
    *,
    backend: str = "reference",
) -> Tensor:
    """Give every row of a map mean 0 and variance 1 over the keys that it may attend to.

    The softmax cannot see what is added to a row, and the scale of maps fades along a chain: an
    alpha below 1 shrinks what it is handed again and again. Rows alone are looked at, so nothing
    passes from one query to another. Statistics are taken in float32 at least.

    Parameters
    ----------
    map_BHNM : Tensor of shape [B, H, N, M]
        A map, 0 where masked.
    mask : bool Tensor broadcastable to [B, H, N, M], optional
        True where a query may attend to a key.
    eps : float
        Added to the variance: a row of equal entries becomes 0.
    backend : {"auto", "triton", "banded", "reference"}
        Whose loops to use where there are some; this here is the specification.

    Returns
    -------
    Tensor of shape [B, H, N, M]
        0 where masked.

    Raises
    ------
    ValueError, TypeError
        The mask is not boolean, or does not broadcast to the map.
    """
    check_mask(mask, map_BHNM.shape)
    if backend != "reference":
        check_choice("backend", backend, ("auto", *BACKENDS))
        rows_BHNM = normalize_by_backend(backend, map_BHNM, mask, eps)
        if rows_BHNM is not None:
            return rows_BHNM
    if mask is None:
        return F.layer_norm(map_BHNM, map_BHNM.shape[-1:], eps=eps)
    mask = mask.expand(*mask.shape[:-1], map_BHNM.shape[-1])  # one for all keys counts them all
    count_BHN1 = mask.sum(-1, keepdim=True).clamp(min=1)
    dtype = torch.promote_types(map_BHNM.dtype, torch.float32)  # squares of float16 overflow
    wide_BHNM = _zero_masked(map_BHNM, mask).to(dtype)
    centered_BHNM = _zero_masked(wide_BHNM - wide_BHNM.sum(-1, keepdim=True) / count_BHN1, mask)
    variance_BHN1 = centered_BHNM.square().sum(-1, keepdim=True) / count_BHN1
    return (centered_BHNM * torch.rsqrt(variance_BHN1 + eps)).to(map_BHNM.dtype)


def probabilities(map_BHNM: Tensor, mask: Tensor | None = None) -> Tensor:
    """Turn a map into attention probabilities, exactly 0 where masked.

    A row with nothing to attend to is all 0, with finite gradients. The softmax is taken in
    float32 for half-precision maps.

    Returns
    -------
    Tensor of shape [B, H, N, M]
        Rows sum to 1, or to 0 where everything is masked. At least float32.
    """
    dtype = torch.promote_types(map_BHNM.dtype, torch.float32)
    if mask is None:
        return map_BHNM.softmax(-1, dtype=dtype)
    # A row of minus infinities would make NaN, also in the gradient: leave such rows finite, then
    # zero them.
    attendable_BHN1 = mask.any(-1, keepdim=True)
    finite_BHNM = map_BHNM.masked_fill(~mask & attendable_BHN1, float("-inf"))
    return finite_BHNM.softmax(-1, dtype=dtype).masked_fill(~mask, 0.0)


def _blend(own_BHNM: Tensor, other_BHNM: Tensor, share: float | Tensor) -> Tensor:
    """Return ``share * other + (1 - share) * own``, exactly ``own`` where both are equal."""
    if isinstance(share, Tensor):
        share = share.to(own_BHNM.dtype)
    return torch.lerp(own_BHNM, other_BHNM.to(own_BHNM.dtype), share)


def _zero_masked(map_BHNM: Tensor, mask: Tensor | None) -> Tensor:
    return map_BHNM if mask is None else map_BHNM.masked_fill(~mask, 0.0)
