"""Kernels: the convolutions over maps that a network has learned.

Shape letters: H heads, first those a map goes to (O), then those it comes from (I); K kernel size.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor, nn

from evolving_attention.attention import EvolvingAttention
from evolving_attention.attention.functional import WINDOWS
from evolving_attention.errors import InputError

__all__ = ["Kernel", "kernel_table", "kernels_of"]


@dataclass
class Kernel:
    """The convolution of one layer.

    Attributes
    ----------
    layer : int
        Number of the layer in the chain, from 1.
    weight_OIKK : array
        Kernel; the heads it makes come first.
    bias_O : array, optional
        Bias.
    alpha, beta : float
        Share of the previous map and of the convolved map, as learned where they are.
    centre : tuple of int
        Row and column of the entry that is computed, within the window.
    """

    layer: int
    weight_OIKK: NDArray[np.float32]
    bias_O: NDArray[np.float32] | None
    alpha: float
    beta: float
    centre: tuple[int, int]

    @property
    def identity_OIKK(self) -> NDArray[np.float32]:
        """The kernel that would leave a map as it is: 1 at the centre, from each head to itself."""
        identity_OIKK = np.zeros_like(self.weight_OIKK)
        np.einsum("hh...->h...", identity_OIKK)[(slice(None), *self.centre)] = 1.0
        return identity_OIKK

    def figures(self) -> dict[str, float]:
        """Return what can be said of a kernel in numbers.

        Returns
        -------
        dict
            ``identity_distance``, ``|W - I| / |I|``; ``identity_cosine``, 1 for a multiple of the
            identity; ``own_head`` and ``centre``, the shares of ``|W|^2`` from each head to itself
            and at the centre of the window; ``bias_min`` and ``bias_max``, 0 without a bias.
        """
        weight, identity = (
            self.weight_OIKK.astype(np.float64),
            self.identity_OIKK.astype(np.float64),
        )
        norm, identity_norm = np.linalg.norm(weight), np.linalg.norm(identity)
        energy_OIKK = weight**2 / (norm**2 or 1.0)
        row, column = self.centre
        bias = np.zeros(1) if self.bias_O is None else self.bias_O
        return {
            "identity_distance": float(np.linalg.norm(weight - identity) / identity_norm),
            "identity_cosine": float((weight * identity).sum() / ((norm or 1.0) * identity_norm)),
            "own_head": float(np.einsum("hhij->", energy_OIKK)),
            "centre": float(energy_OIKK[..., row, column].sum()),
            "bias_min": float(bias.min()),
            "bias_max": float(bias.max()),
        }


def kernels_of(model: nn.Module) -> list[Kernel]:
    """Return the convolutions of a network, in the order of its layers.

    Raises
    ------
    InputError
        The network has none.
    """
    layers = [module for module in model.modules() if isinstance(module, EvolvingAttention)]
    kernels = [
        _kernel(number, layer)
        for number, layer in enumerate(layers, start=1)
        if layer.convolution is not None
    ]
    if not kernels:
        raise InputError(
            "the network has no kernels to look at: with beta=0 no map is convolved, as in a twin."
        )
    return kernels


def _kernel(number: int, layer: EvolvingAttention) -> Kernel:
    assert layer.convolution is not None
    weight, bias = layer.convolution.weight, layer.convolution.bias
    left, _, top, _ = WINDOWS[layer.window](weight.shape[-1])
    return Kernel(
        number,
        _array(weight),
        None if bias is None else _array(bias),
        _share(layer.alpha),
        _share(layer.beta),
        (top, left),
    )


def _share(value: float | Tensor) -> float:
    return float(value.detach().float().mean()) if isinstance(value, Tensor) else value


def _array(parameter: Tensor) -> NDArray[np.float32]:
    return parameter.detach().float().cpu().numpy()


def kernel_table(kernels: list[Kernel]) -> pd.DataFrame:
    """Return a row a layer: alpha, beta, and :meth:`Kernel.figures`."""
    shares = [
        {"layer": kernel.layer, "alpha": kernel.alpha, "beta": kernel.beta} for kernel in kernels
    ]
    return pd.DataFrame(
        [share | kernel.figures() for share, kernel in zip(shares, kernels, strict=True)]
    )
