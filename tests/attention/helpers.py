"""The equations entry by entry in Python floats, random input, and a small chain of layers."""

import math
from itertools import product

import torch
from torch import nn

from evolving_attention.attention import (
    EvolvingAttention,
    MultiHeadSelfAttention,
    RelativePositionLogits1d,
)

WINDOWS = ("bidirectional", "causal", "cross")
ACTIVATIONS = ("relu", "leaky_relu", "identity")

# From the equations, not from the library.
_LOOKS_BACK_ONLY = {  # (over rows, over columns)
    "bidirectional": (False, False),
    "causal": (True, True),
    "cross": (True, False),
}
_ACTIVATION = {
    "relu": lambda x: max(x, 0.0),
    "leaky_relu": lambda x: x if x > 0 else 0.01 * x,
    "identity": lambda x: x,
}


def attend_by_entry(
    query_BHNE,
    key_BHME,
    value_BHMV,
    previous_map=None,
    weight=None,
    bias=None,
    *,
    alpha=0.0,
    beta=0.0,
    activation="relu",
    window="bidirectional",
    mask=None,
    map_bias=None,
    scale=None,
):
    """Return output and map, float64, from loops over single entries."""
    B, H, N, E = query_BHNE.shape
    M, V = value_BHMV.shape[-2:]
    size = 1 if weight is None else weight.shape[-1]
    scale = 1 / math.sqrt(E) if scale is None else scale
    alpha, beta = float(alpha), float(beta)
    mask = torch.ones(()).bool() if mask is None else mask
    map_bias = torch.zeros(()) if map_bias is None else map_bias
    allowed, added = (each.expand(B, H, N, M).tolist() for each in (mask, map_bias))
    query, key, value = (each.tolist() for each in (query_BHNE, key_BHME, value_BHMV))
    previous_map, weight, bias = (
        each if each is None else each.tolist() for each in (previous_map, weight, bias)
    )

    mixed = {}
    for b, h, i, j in product(range(B), range(H), range(N), range(M)):
        if not allowed[b][h][i][j]:
            continue
        dot = sum(query[b][h][i][e] * key[b][h][j][e] for e in range(E))
        entry = scale * dot + added[b][h][i][j]
        if previous_map is not None:
            entry = alpha * previous_map[b][h][i][j] + (1 - alpha) * entry
        mixed[b, h, i, j] = entry

    rows, columns = (
        [step - (size - 1 if looks_back else size // 2) for step in range(size)]
        for looks_back in _LOOKS_BACK_ONLY[window]
    )
    evolved = torch.zeros(B, H, N, M, dtype=torch.float64)
    for (b, h, i, j), entry in mixed.items():
        if weight is not None:
            convolved = 0.0 if bias is None else bias[h]
            for g, (a, row), (c, column) in product(range(H), enumerate(rows), enumerate(columns)):
                convolved += weight[h][g][a][c] * mixed.get((b, g, i + row, j + column), 0.0)
            entry = beta * _ACTIVATION[activation](convolved) + (1 - beta) * entry
        evolved[b, h, i, j] = entry

    output = torch.zeros(B, H, N, V, dtype=torch.float64)
    for b, h, i in product(range(B), range(H), range(N)):
        row = evolved[b, h, i].tolist()
        keys = [j for j in range(M) if allowed[b][h][i][j]]
        highest = max((row[j] for j in keys), default=0.0)
        shares = {j: math.exp(row[j] - highest) for j in keys}
        for j, v in product(keys, range(V)):
            output[b, h, i, v] += shares[j] / sum(shares.values()) * value[b][h][j][v]
    return output, evolved


def random_arguments(B=2, H=2, N=5, M=6, E=3, V=4, K=3, dtype=torch.float64):
    """All tensors the function takes; no row of the mask is empty."""
    mask = torch.rand(B, H, N, M) < 0.7
    mask[..., 0] |= ~mask.any(-1)
    return {
        "query_BHNE": torch.randn(B, H, N, E, dtype=dtype),
        "key_BHME": torch.randn(B, H, M, E, dtype=dtype),
        "value_BHMV": torch.randn(B, H, M, V, dtype=dtype),
        "previous_map": torch.randn(B, H, N, M, dtype=dtype),
        "weight": torch.randn(H, H, K, K, dtype=dtype) / K,
        "bias": torch.randn(H, dtype=dtype),
        "mask": mask,
        "map_bias": torch.randn(B, H, N, M, dtype=dtype),
    }


def plain_arguments(arguments):
    """Only queries, keys and values."""
    return {name: arguments[name] for name in ("query_BHNE", "key_BHME", "value_BHMV")}


def with_gradients(arguments):
    """Copies of the arguments, of which the differentiable ones want a gradient."""
    return {
        name: tensor.detach().clone().requires_grad_(tensor.is_floating_point())
        for name, tensor in arguments.items()
    }


class TwoLayers(nn.Module):
    """A chain of two, with relative positions and residuals."""

    def __init__(self, window="bidirectional"):
        super().__init__()
        self.first, self.second = (
            MultiHeadSelfAttention(
                8,
                2,
                output_size=8,
                evolution=evolution,
                relative_position=RelativePositionLogits1d(4, 6),
            )
            for evolution in (
                EvolvingAttention(2),
                EvolvingAttention(2, alpha=0.3, beta=0.6, window=window, learned_mixing=True),
            )
        )

    def forward(self, hidden, mask=None):
        change, own_map = self.first(hidden, mask=mask)
        hidden = hidden + change
        return self.second(hidden, own_map, mask=mask)
