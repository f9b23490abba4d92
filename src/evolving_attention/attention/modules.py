"""Modules: the mechanism with its parameters, and multi-head self- and cross-attention.

Shape letters: B batch, H heads, N queries, M keys, E head width of queries and keys, V head width
of values, D model width. Every module takes the previous map and returns its own: a chain is
visible where it is used.
"""

from collections.abc import Iterator
from itertools import repeat
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from evolving_attention.attention.checks import check_choice
from evolving_attention.attention.functional import (
    ACTIVATIONS,
    BACKENDS,
    WINDOWS,
    evolving_attention,
    normalize_map,
)
from evolving_attention.attention.incremental import evolving_attention_rows, last_mixed_rows
from evolving_attention.attention.overwriting import maps_may_be_overwritten

__all__ = ["EvolvingAttention", "MultiHeadCrossAttention", "MultiHeadSelfAttention"]


class _MapConvolution(nn.Conv2d):
    """Holds kernel and bias; the layer's backend applies them.

    It draws beside the stream of random numbers, from a seed of its own: two networks that differ
    in their evolution alone then start from the same weights in all the rest, given the same seed.
    """

    def __init__(
        self, num_heads: int, kernel_size: int, bias: bool, delta: tuple[int, int] | None, salt: int
    ) -> None:
        self.delta, self.salt = delta, salt
        super().__init__(num_heads, num_heads, kernel_size, bias=bias)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Start again: at random, or as a delta; what transformers marks as loaded stays."""
        if getattr(self.weight, "_is_hf_initialized", False):
            return
        with torch.random.fork_rng(devices=[]):
            drawn = int(torch.randint(2**32, (), device="cpu"))
            torch.default_generator.manual_seed(drawn ^ self.salt)
            super().reset_parameters()
        if self.delta is not None:
            row, column = self.delta
            self.weight.zero_()[:, :, row, column].fill_diagonal_(1.0)


#: Entries of a map from which it is normalised sample by sample, where it may be overwritten.
_LARGE = 2**20


def _samples_of(mask: Tensor | None, count: int) -> Iterator[Tensor | None]:
    """Yield the mask of each sample."""
    if mask is None or mask.dim() < 4:
        yield from repeat(mask, count)
    else:
        yield from mask.expand(count, -1, -1, -1).split(1)


class EvolvingAttention(nn.Module):
    """:func:`evolving_attention` with its parameters: the convolution, and learned mixing.

    With ``alpha = beta = 0`` and fixed mixing there are no parameters and no evolution: the twin,
    and also the first layer of a chain.

    Parameters
    ----------
    num_heads : int
        H, the channels of the convolution; ``K^2 H^2 + H`` parameters. Without an activation there
        is no bias: it would add a constant to a row, which the softmax cannot see.
    alpha, beta : float in [0, 1]
        Share of the previous map and of the convolved map.
    kernel_size : int, odd
        K.
    activation : {"relu", "leaky_relu", "identity"}
        Applied to the convolved map.
    window : {"bidirectional", "causal", "cross"}
        Which neighbours the convolution reads.
    learned_mixing : bool
        Learn alpha and beta, one each a layer, starting from the values given.
    initialization : {"random", "identity"}
        ``"random"``: as the papers. ``"identity"``: the layer computes exactly what its twin
        computes until the first update, and every new parameter receives a gradient from the first
        step on. The kernel starts as a delta at the window's centre, which needs
        ``activation="identity"``; alpha is learned from 0, which needs ``learned_mixing=True`` (or
        no residual at all, ``alpha=0``); beta stays fixed, as it is only the kernel's scale when
        there is no activation.
    normalize : bool
        Mix with the previous map after :func:`normalize_map`, so that it cannot fade. The papers'
        form does not.
    dropout : float in [0, 1]
        Dropout of the probabilities.
    backend : str
        See :func:`evolving_attention`.

    Raises
    ------
    ValueError
        An option is unknown or out of range, or the options cannot start as the identity.
    """

    def __init__(
        self,
        num_heads: int,
        *,
        alpha: float = 0.0,
        beta: float = 0.0,
        kernel_size: int = 3,
        activation: str = "relu",
        window: str = "bidirectional",
        learned_mixing: bool = False,
        initialization: str = "random",
        normalize: bool = False,
        dropout: float = 0.0,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        check_evolution(alpha, beta, kernel_size, activation, learned_mixing, initialization)
        check_choice("window", window, WINDOWS)
        check_choice("backend", backend, ("auto", *BACKENDS))
        if not 0 <= dropout <= 1:
            raise ValueError(f"dropout must lie in [0, 1], got {dropout}.")
        if num_heads < 1:
            raise ValueError(f"num_heads must be at least 1, got {num_heads}.")
        self.activation, self.window, self.backend = activation, window, backend
        self.dropout, self.normalize = dropout, normalize
        self.identity_start = initialization == "identity"
        self.initial_mixing = (0.0 if self.identity_start else float(alpha), float(beta))
        self.alpha: float | nn.Parameter = float(alpha)
        self.beta: float | nn.Parameter = float(beta)
        if learned_mixing:
            self.alpha = nn.Parameter(torch.empty(()))
            if not self.identity_start:
                self.beta = nn.Parameter(torch.empty(()))
        self.convolution: _MapConvolution | None = None
        salt = int(torch.randint(2**32, (), device="cpu"))  # a twin takes it from the stream too
        if beta > 0 or learned_mixing:
            left, _, top, _ = WINDOWS[window](kernel_size)
            self.convolution = _MapConvolution(
                num_heads,
                kernel_size,
                bias=activation != "identity",
                delta=(top, left) if self.identity_start else None,
                salt=salt,
            )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start again from the initialisation chosen."""
        for share, value in zip((self.alpha, self.beta), self.initial_mixing, strict=True):
            if isinstance(share, nn.Parameter):
                nn.init.constant_(share, value)
        if self.convolution is not None:
            self.convolution.reset_parameters()

    def forward(
        self,
        query_BHNE: Tensor,
        key_BHME: Tensor,
        value_BHMV: Tensor,
        previous_map: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        map_bias: Tensor | None = None,
        scale: float | None = None,
        dropout: float | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the output ``[B, H, N, V]`` and this layer's map ``[B, H, N, M]``.

        ``dropout``, when given, takes the place of the module's own. Within
        :func:`overwriting_maps` the map may be in the previous one's memory.
        """
        overwrite = maps_may_be_overwritten()
        handed = self.handed(previous_map, mask, overwrite)
        return evolving_attention(
            query_BHNE,
            key_BHME,
            value_BHMV,
            handed,
            backend=self.backend,
            overwrite=overwrite or handed is not previous_map,  # then nobody else has it
            mask=mask,
            map_bias=map_bias,
            scale=scale,
            **self._options(dropout),
        )

    def forward_rows(
        self,
        query_BHNE: Tensor,
        key_BHME: Tensor,
        value_BHMV: Tensor,
        previous_map: Tensor | None = None,
        *,
        rows_before: Tensor | None = None,
        mask: Tensor | None = None,
        map_bias: Tensor | None = None,
        scale: float | None = None,
        dropout: float | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return output, map and mixed rows of the next queries of a sequence.

        See :func:`evolving_attention_rows`. Of the mixed rows the last :attr:`reach` are needed.
        """
        return evolving_attention_rows(
            query_BHNE,
            key_BHME,
            value_BHMV,
            self.handed(previous_map, mask),
            rows_before=rows_before,
            mask=mask,
            map_bias=map_bias,
            scale=scale,
            **self._options(dropout),
        )

    def last_mixed_rows(
        self,
        query_BHNE: Tensor,
        key_BHME: Tensor,
        previous_map: Tensor | None = None,
        *,
        count: int | None = None,
        mask: Tensor | None = None,
        map_bias: Tensor | None = None,
        scale: float | None = None,
    ) -> Tensor:
        """Return the mixed rows of the last queries, to go on after :meth:`forward`.

        See the function :func:`last_mixed_rows`.
        """
        return last_mixed_rows(
            query_BHNE,
            key_BHME,
            self.handed(previous_map, mask),
            count=count,
            alpha=self.alpha,
            mask=mask,
            map_bias=map_bias,
            scale=scale,
        )

    @property
    def reach(self) -> int:
        """How many rows above its own the convolution reads, in a window that looks back."""
        return 0 if self.convolution is None else self.convolution.kernel_size[0] - 1

    def _options(self, dropout: float | None) -> dict[str, Any]:
        return {
            "weight": None if self.convolution is None else self.convolution.weight,
            "bias": None if self.convolution is None else self.convolution.bias,
            "alpha": self.alpha,
            "beta": self.beta,
            "activation": self.activation,
            "window": self.window,
            "dropout": self.dropout if dropout is None else dropout,
            "training": self.training,
        }

    def handed(
        self, previous_map: Tensor | None, mask: Tensor | None, overwrite: bool = False
    ) -> Tensor | None:
        """Return the previous map as this layer mixes with it; None without a residual.

        With ``overwrite`` it may be changed in place.
        """
        if previous_map is None or not (isinstance(self.alpha, Tensor) or self.alpha > 0):
            return None
        if not self.normalize:
            return previous_map
        if not overwrite or previous_map.numel() < _LARGE:
            return normalize_map(previous_map, mask, backend=self.backend)
        for sample, own_mask in zip(
            previous_map, _samples_of(mask, len(previous_map)), strict=True
        ):
            # Rows do not know of one another.
            sample.copy_(normalize_map(sample[None], own_mask, backend=self.backend)[0])
        return previous_map

    def extra_repr(self) -> str:
        """Show what distinguishes one evolution from another."""
        alpha, beta = (
            share if isinstance(share, float) else "learned" for share in (self.alpha, self.beta)
        )
        return f"{alpha=}, {beta=}, activation={self.activation!r}, window={self.window!r}"


def check_evolution(
    alpha: float,
    beta: float,
    kernel_size: int,
    activation: str,
    learned_mixing: bool,
    initialization: str,
    prefix: str = "",
) -> None:
    """Raise ``ValueError`` unless these make an evolution; some names may have a ``prefix``."""
    check_choice(f"{prefix}activation", activation, ACTIVATIONS)
    check_choice(f"{prefix}initialization", initialization, ("random", "identity"))
    for name, share in (("alpha", alpha), ("beta", beta)):
        if not isinstance(share, Real) or not 0 <= share <= 1:
            raise ValueError(f"{name} must lie in [0, 1], got {share!r}.")
    if not isinstance(kernel_size, int) or kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"{prefix}kernel_size must be a positive odd number, got {kernel_size!r}.")
    if initialization == "random":
        return
    start = f"{prefix}initialization='identity'"
    if activation != "identity":
        raise ValueError(
            f"{start} needs {prefix}activation='identity': {activation!r} changes a map whatever "
            "the kernel."
        )
    if alpha > 0 and not learned_mixing:
        raise ValueError(
            f"{start} cannot hold with alpha fixed at {alpha}: set learned_mixing=True, and alpha "
            "is learned from 0, or alpha=0."
        )
    if learned_mixing and beta == 0:
        raise ValueError(f"{start} needs beta above 0: with 0 no gradient reaches the kernel.")


class _MultiHeadAttention(nn.Module):
    """What self- and cross-attention share: heads, the evolving step, the output."""

    def __init__(
        self,
        num_heads: int,
        key_size: int,
        value_size: int,
        output_size: int | None,
        evolution: EvolvingAttention | None,
        relative_position: nn.Module | None,
    ) -> None:
        super().__init__()
        if num_heads < 1:
            raise ValueError(f"num_heads must be at least 1, got {num_heads}.")
        for name, size in (("key_size", key_size), ("value_size", value_size)):
            if size < num_heads or size % num_heads:
                raise ValueError(
                    f"{name} must be a positive multiple of the {num_heads} heads, got {size}."
                )
        self.num_heads, self.key_size, self.value_size = num_heads, key_size, value_size
        self.evolution = EvolvingAttention(num_heads) if evolution is None else evolution
        self.relative_position = relative_position
        self.output = nn.Identity() if output_size is None else nn.Linear(value_size, output_size)

    def _attend(
        self,
        query_BND: Tensor,
        key_BMD: Tensor,
        value_BMD: Tensor,
        previous_map: Tensor | None,
        mask: Tensor | None,
        grid: tuple[int, ...] = (),
    ) -> tuple[Tensor, Tensor]:
        query_BHNE, key_BHME, value_BHMV = (
            states.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for states in (query_BND, key_BMD, value_BMD)
        )
        query_BHNE = query_BHNE * query_BHNE.shape[-1] ** -0.5
        map_bias = None
        if self.relative_position is not None:
            map_bias = self.relative_position(query_BHNE, *grid)
        output_BHNV, map_BHNM = self.evolution(
            query_BHNE, key_BHME, value_BHMV, previous_map, mask=mask, map_bias=map_bias, scale=1.0
        )
        return self.output(output_BHNV.transpose(1, 2).flatten(-2)), map_BHNM


class MultiHeadSelfAttention(_MultiHeadAttention):
    """Multi-head self-attention whose map evolves.

    Parameters
    ----------
    hidden_size : int
        D, the width of the input.
    num_heads : int
        H.
    key_size, value_size : int, optional
        Widths of queries and keys, and of values, over all heads: multiples of H. Default: D.
    output_size : int, optional
        Width of the output projection. ``None``: no projection, the output has ``value_size``
        channels.
    evolution : EvolvingAttention, optional
        The evolving step. Default: plain attention.
    relative_position : Module, optional
        Maps scaled queries ``[B, H, N, E]``, and ``grid`` where there is one, to logits
        ``[B, H, N, N]``, such as
        :class:`~evolving_attention.attention.relative_position.RelativePositionLogits1d`.
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        key_size: int | None = None,
        value_size: int | None = None,
        output_size: int | None = None,
        evolution: EvolvingAttention | None = None,
        relative_position: nn.Module | None = None,
    ) -> None:
        key_size = hidden_size if key_size is None else key_size
        value_size = hidden_size if value_size is None else value_size
        super().__init__(num_heads, key_size, value_size, output_size, evolution, relative_position)
        self.query_key_value = nn.Linear(hidden_size, 2 * key_size + value_size)

    def forward(
        self,
        hidden_BND: Tensor,
        previous_map: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        grid: tuple[int, ...] = (),
    ) -> tuple[Tensor, Tensor]:
        """Return the output ``[B, N, output_size]`` and this layer's map ``[B, H, N, N]``.

        ``mask`` is boolean, broadcastable to the map, True where a query may attend. ``grid`` is
        the height and width of an image whose rows are the sequence, for relative positions in
        two dimensions.
        """
        sizes = (self.key_size, self.key_size, self.value_size)
        query_BND, key_BND, value_BND = self.query_key_value(hidden_BND).split(sizes, dim=-1)
        return self._attend(query_BND, key_BND, value_BND, previous_map, mask, grid)


class MultiHeadCrossAttention(_MultiHeadAttention):
    """Multi-head attention from one sequence to another whose map evolves.

    Parameters
    ----------
    hidden_size : int
        Width of the queries' sequence.
    memory_size : int
        Width of the sequence attended to.
    num_heads, key_size, value_size, output_size, evolution
        As in :class:`MultiHeadSelfAttention`.
    """

    def __init__(
        self,
        hidden_size: int,
        memory_size: int,
        num_heads: int,
        *,
        key_size: int | None = None,
        value_size: int | None = None,
        output_size: int | None = None,
        evolution: EvolvingAttention | None = None,
    ) -> None:
        key_size = hidden_size if key_size is None else key_size
        value_size = hidden_size if value_size is None else value_size
        super().__init__(num_heads, key_size, value_size, output_size, evolution, None)
        self.query = nn.Linear(hidden_size, key_size)
        self.key_value = nn.Linear(memory_size, key_size + value_size)

    def forward(
        self,
        hidden_BND: Tensor,
        memory_BMD: Tensor,
        previous_map: Tensor | None = None,
        *,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the output ``[B, N, output_size]`` and this layer's map ``[B, H, N, M]``."""
        key_BMD, value_BMD = self.key_value(memory_BMD).split(
            (self.key_size, self.value_size), dim=-1
        )
        return self._attend(self.query(hidden_BND), key_BMD, value_BMD, previous_map, mask)
