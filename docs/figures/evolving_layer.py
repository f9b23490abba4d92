"""Draw evolving_layer.svg: the way of the data through one layer with evolution.

Run: python docs/figures/evolving_layer.py
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyBboxPatch, Rectangle
from style import AMBER, BLUE, INK, MAPS, PALE_BLUE, save

figure, axes = plt.subplots(figsize=(11, 4.9), layout="constrained")
axes.set(xlim=(0, 23), ylim=(0, 10.2), aspect="equal")
axes.axis("off")

Point = tuple[float, float]


def arrow(start: Point, end: Point, *, colour: str = INK, bend: str = "arc3") -> None:
    style = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.4, "connectionstyle": bend}
    axes.annotate("", xy=end, xytext=start, arrowprops=style)


def box(centre: Point, text: str, width: float = 2.4, colour: str = PALE_BLUE) -> None:
    x, y = centre
    corner = (x - width / 2, y - 0.65)
    shape = FancyBboxPatch(corner, width, 1.3, boxstyle="round,pad=0.08", fc=colour, ec=INK)
    axes.add_patch(shape)
    axes.text(x, y, text, ha="center", va="center", color=INK)


def note(place: Point, text: str, colour: str = INK) -> None:
    axes.text(*place, text, ha="center", va="center", color=colour)


def plus(centre: Point) -> None:
    axes.plot(*centre, marker="o", markersize=20, color=AMBER, markeredgecolor=INK)
    axes.plot(*centre, marker="+", markersize=11, color=INK)


def heads(centre: Point, text: str, width: float) -> None:
    """A map: one N x M image a head, drawn as a stack; `width` is that of its diagonal."""
    x, y = centre
    distance = np.abs(np.subtract.outer(np.arange(8), np.arange(8)))
    image = np.exp(-((distance / width) ** 2)) + 0.15 * np.cos(3 * distance + np.arange(8))
    for shift in (0.36, 0.18, 0.0):
        left, bottom = x - 0.9 + shift, y - 0.9 + shift
        axes.add_patch(Rectangle((left, bottom), 1.8, 1.8, fc="white", ec=INK, linewidth=0.8))
    extent = (x - 0.9, x + 0.9, y - 0.9, y + 0.9)
    axes.imshow(image, extent=extent, cmap=MAPS, vmin=-0.3, vmax=1.3, zorder=2)
    axes.text(x, y - 1.1, text, ha="center", va="top", color=INK)


heads((2, 8.4), "$A_{i-1}$, the map before", 3.5)
heads((2, 4.6), "$S_i$, this layer's logits", 2.6)
box((2, 1.3), "$Q_i K_i^T$", 2.2)
arrow((2, 2.1), (2, 2.75))

plus((5.6, 6.5))
arrow((3.4, 8.2), (5.2, 6.8))
note((4.7, 8.0), "× α")
arrow((3.4, 4.8), (5.2, 6.2))
note((4.9, 5.1), "× (1 − α)")

heads((8.2, 6.5), "$mixed_i$, masked: 0", 3.0)
arrow((6.1, 6.5), (7.1, 6.5))

box((12.2, 6.5), "Conv2d 3 × 3\nchannels = heads", 3.4)
arrow((9.5, 6.5), (10.3, 6.5))
box((15.3, 6.5), "act", 1.2)
arrow((14.0, 6.5), (14.55, 6.5))
plus((17.9, 6.5))
arrow((16.0, 6.5), (17.4, 6.5))
note((16.65, 6.95), "× β")
arrow((8.8, 7.9), (17.8, 7.1), bend="arc3,rad=-0.22")
note((13.4, 9.2), "× (1 − β)")

heads((20.4, 6.5), "$A_i$, masked: 0", 1.6)
arrow((18.4, 6.5), (19.3, 6.5))
arrow((20.6, 7.9), (20.6, 9.3), colour=BLUE)
note((20.6, 9.7), "to layer $i+1$", BLUE)

box((20.4, 1.9), "softmax\nmasked: −∞ here only", 4.2)
arrow((20.4, 4.7), (20.4, 2.75))
box((15.3, 1.9), "× $V_i$", 1.8)
arrow((18.1, 1.9), (16.35, 1.9))
arrow((14.2, 1.9), (12.6, 1.9), colour=BLUE)
note((10.7, 1.9), "output of layer $i$", BLUE)
save(figure, __file__)
