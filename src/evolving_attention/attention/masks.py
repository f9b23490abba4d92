"""Attention masks: boolean, ``True`` where a query may attend to a key.

Shape letters: B batch, N queries, M keys.
"""

import torch
from torch import Tensor

__all__ = ["causal_mask", "padding_mask"]


def padding_mask(query_mask_BN: Tensor, key_mask_BM: Tensor | None = None) -> Tensor:
    """Let real queries attend to real keys, and nothing else.

    Rows of padded queries are masked too: a convolution over the map would read them.

    Parameters
    ----------
    query_mask_BN : Tensor of shape [B, N]
        Non-zero (or True) at real queries.
    key_mask_BM : Tensor of shape [B, M], optional
        The same for keys; default: the queries' (self-attention).

    Returns
    -------
    bool Tensor of shape [B, 1, N, M]
    """
    key_mask_BM = query_mask_BN if key_mask_BM is None else key_mask_BM
    return query_mask_BN.bool()[:, None, :, None] & key_mask_BM.bool()[:, None, None, :]


def causal_mask(
    num_queries: int, num_keys: int | None = None, device: torch.device | None = None
) -> Tensor:
    """Let a query attend to keys up to its own position.

    With fewer queries than keys, the last of both are aligned.

    Parameters
    ----------
    num_queries : int
        N.
    num_keys : int, optional
        M. Default: as many as queries.
    device : torch.device, optional
        Where the mask is made.

    Returns
    -------
    bool Tensor of shape [1, 1, N, M]
    """
    num_keys = num_queries if num_keys is None else num_keys
    everywhere = torch.ones(num_queries, num_keys, dtype=torch.bool, device=device)
    return everywhere.tril(num_keys - num_queries)[None, None]
