"""What is kept of one input that went through a network: its maps, layer by layer.

Shape letters: L attention layers, H heads, N positions, C channels, T steps.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Chain", "with_prediction"]


@dataclass
class Chain:
    """The maps of one series, or of one text.

    Attributes
    ----------
    title : str
        Which it is, and its target.
    series : array of shape (C, T)
        As it was given; of a text, without channels.
    maps, probabilities : array of shape (L, H, N, N)
        Logits before the softmax, and what comes after it.
    patch_size : int
        Steps a position.
    prediction : str
        What the network says; empty where it predicts nothing.
    network : str
        What the network is called, where there are several.
    texts : tuple of str, optional
        The text, or the two of a pair, as they were given.
    tokens : list of str, optional
        Of a text, what stands at each position.
    """

    title: str
    series: NDArray[np.floating]
    maps: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    patch_size: int
    prediction: str = ""
    network: str = ""
    texts: tuple[str, ...] | None = None
    tokens: list[str] | None = None


def with_prediction(called: str, prediction: str) -> str:
    """Return what to call an example or a network, and the prediction; either may be empty."""
    told = f"predicted {prediction}" if prediction else ""
    return ", ".join(filter(None, (called, told)))
