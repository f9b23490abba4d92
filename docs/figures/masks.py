"""Draw masks.svg: one map of a padded series, in the chain, in the softmax, and after it.

Run: python docs/figures/masks.py
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from style import BLUE, GREY, INK, MAPS, save

STEPS, REAL = 8, 6  # the last two steps are padding

rng = np.random.default_rng(0)
distance = np.abs(np.subtract.outer(np.arange(STEPS), np.arange(STEPS)))
logits = 2.5 - distance + 0.5 * rng.standard_normal((STEPS, STEPS))
attend = np.arange(STEPS) < REAL
attend = attend[:, None] & attend[None, :]

chain = np.where(attend, logits, 0.0)
weights = np.where(attend, np.exp(logits), 0.0)
probabilities = weights / np.maximum(weights.sum(1, keepdims=True), 1e-9)


def draw(axes: Axes, title: str, values: np.ndarray, low: float, masked: str, colour: str) -> None:
    shown = np.ma.masked_where(~attend, values)
    axes.imshow(shown, cmap=MAPS, vmin=low)
    axes.set_facecolor(colour)
    for i, j in zip(*np.nonzero(~attend), strict=True):
        axes.text(j, i, masked, ha="center", va="center", color=INK, fontsize=8)
    axes.axhline(REAL - 0.5, color=BLUE, linewidth=1.2)
    axes.axvline(REAL - 0.5, color=BLUE, linewidth=1.2)
    axes.set(title=title, xticks=[], yticks=[], xlabel="keys")


figure, panels = plt.subplots(1, 3, figsize=(9.6, 3.5), layout="constrained")
draw(panels[0], "the map, read and handed on", chain, -4.0, "0", "white")
draw(panels[1], "inside the softmax", chain, -4.0, "−∞", GREY)
draw(panels[2], "probabilities", probabilities, 0.0, "0", "white")
panels[0].set_ylabel("queries")
save(figure, __file__)
