"""Evolving attention for the next queries of a sequence: what the full pass computes for them.

The convolution of a window that looks back, ``"causal"`` or ``"cross"``, reads K - 1 rows above its
own. So the next queries need the *mixed* rows of the K - 1 queries before them, and nothing else
of the past but keys and values. A causal map gains a column with every query; a row that was made
before has 0 there, as the masked map of the full pass has.

Shape letters: B batch, H heads, N queries, M keys, L keys when the rows before were made, R rows
before, E head width of queries and keys, V head width of values, K kernel size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from evolving_attention.attention.checks import check_arguments, check_choice
from evolving_attention.attention.functional import (
    ACTIVATIONS,
    attend,
    convolve_map,
    mix_map,
    own_logits,
)

__all__ = ["append_rows", "evolving_attention_rows", "last_mixed_rows"]


def evolving_attention_rows(
    query_BHNE: Tensor,
    key_BHME: Tensor,
    value_BHMV: Tensor,
    previous_map: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    rows_before: Tensor | None = None,
    alpha: float | Tensor = 0.0,
    beta: float | Tensor = 0.0,
    activation: str = "relu",
    window: str = "causal",
    mask: Tensor | None = None,
    map_bias: Tensor | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    training: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Attend from the next queries of a sequence with the evolution of one layer.

    Chained over a sequence cut anywhere, it gives the outputs and rows of maps that
    :func:`evolving_attention`, which explains the other arguments, gives at once.

    Parameters
    ----------
    previous_map : Tensor of shape [B, H, N, M], optional
        Rows of the layer before, of the same queries over all keys so far.
    rows_before : Tensor of shape [B, H, R, L], optional
        Mixed rows of the queries before: the last K - 1, or all where there were fewer; more
        are not read. L, their number of keys then, may be less than M.
    window : {"causal", "cross"}
        Windows that look back.

    Returns
    -------
    output_BHNV, map_BHNM : Tensor
        As :func:`evolving_attention`, for these queries.
    mixed_BHNM : Tensor
        Their mixed rows, for the queries to come; see :func:`append_rows`.

    Raises
    ------
    ValueError, TypeError
        An argument has a wrong shape, type, device or value; the message says which.

    Examples
    --------
    >>> import torch
    >>> keys, weight = torch.randn(1, 2, 5, 4), torch.randn(2, 2, 3, 3)
    >>> rows = None
    >>> for step in range(1, 6):
    ...     so_far = keys[:, :, :step]
    ...     output, map_row, mixed = evolving_attention_rows(
    ...         so_far[:, :, -1:], so_far, so_far, weight=weight, beta=0.5, rows_before=rows
    ...     )
    ...     rows = append_rows(rows, mixed, keep=2)
    >>> map_row.shape, rows.shape
    (torch.Size([1, 2, 1, 5]), torch.Size([1, 2, 2, 5]))
    """
    check_choice("activation", activation, ACTIVATIONS)
    check_choice("window", window, ("causal", "cross"))
    arguments = (query_BHNE, key_BHME, value_BHMV, previous_map, weight, bias)
    check_arguments(*arguments, mask, map_bias, alpha, beta, scale, dropout)
    scale = query_BHNE.shape[-1] ** -0.5 if scale is None else scale
    logits_BHNM = own_logits(query_BHNE, key_BHME, map_bias, scale)
    _check_rows(rows_before, logits_BHNM)
    mixed_BHNM = mix_map(logits_BHNM, previous_map, alpha=alpha, mask=mask)
    if rows_before is not None and weight is not None:
        reach = weight.shape[-1] - 1
        first = max(rows_before.shape[-2] - reach, 0)
        rows_before = _widen(rows_before[..., first:, :], mixed_BHNM)
    map_BHNM = convolve_map(
        mixed_BHNM,
        weight,
        bias,
        beta=beta,
        activation=activation,
        window=window,
        mask=mask,
        rows_before=rows_before,
    )
    output_BHNV = attend(map_BHNM, value_BHMV, mask, dropout if training else 0.0)
    return output_BHNV, map_BHNM, mixed_BHNM


def last_mixed_rows(
    query_BHNE: Tensor,
    key_BHME: Tensor,
    previous_map: Tensor | None = None,
    *,
    count: int | None = None,
    alpha: float | Tensor = 0.0,
    mask: Tensor | None = None,
    map_bias: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """Return the mixed rows of the last queries alone, to go on after a full pass.

    Parameters
    ----------
    count : int, optional
        How many. Default: all.

    Returns
    -------
    Tensor of shape [B, H, min(count, N), M]
    """
    N = query_BHNE.shape[-2]
    first = 0 if count is None else max(N - count, 0)

    def last(tensor: Tensor | None) -> Tensor | None:
        if tensor is None or tensor.dim() < 2 or tensor.shape[-2] != N:  # the same for all rows
            return tensor
        return tensor[..., first:, :]

    scale = query_BHNE.shape[-1] ** -0.5 if scale is None else scale
    logits_BHNM = own_logits(query_BHNE[..., first:, :], key_BHME, last(map_bias), scale)
    return mix_map(logits_BHNM, last(previous_map), alpha=alpha, mask=last(mask))


def append_rows(rows_before: Tensor | None, mixed_BHNM: Tensor, keep: int | None = None) -> Tensor:
    """Put new mixed rows below those before.

    Parameters
    ----------
    rows_before : Tensor of shape [B, H, R, L], optional
        What was kept so far, of L keys.
    mixed_BHNM : Tensor
        Of :func:`evolving_attention_rows`.
    keep : int, optional
        How many of the last rows are returned. Default: all.

    Returns
    -------
    Tensor of shape [B, H, min(keep, R + N), M]
        A tensor of its own: the rows let go take no memory.
    """
    if rows_before is not None:
        mixed_BHNM = torch.cat([_widen(rows_before, mixed_BHNM), mixed_BHNM], -2)
    if keep is None or keep >= mixed_BHNM.shape[-2]:
        return mixed_BHNM
    return mixed_BHNM[..., mixed_BHNM.shape[-2] - keep :, :].clone()


def _widen(rows_BHRL: Tensor, mixed_BHNM: Tensor) -> Tensor:
    """Add the keys that did not exist yet, masked: 0."""
    return F.pad(rows_BHRL, (0, mixed_BHNM.shape[-1] - rows_BHRL.shape[-1])).to(mixed_BHNM.dtype)


def _check_rows(rows_before: Tensor | None, map_BHNM: Tensor) -> None:
    if rows_before is None:
        return
    B, H, _, M = map_BHNM.shape
    if rows_before.dim() != 4 or rows_before.shape[:2] != (B, H) or rows_before.shape[-1] > M:
        raise ValueError(
            f"rows_before must have the shape [B, H, R, L] with B = {B}, H = {H} and at most "
            f"{M} keys, got {list(rows_before.shape)}."
        )
