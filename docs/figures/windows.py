"""Draw windows.svg: which entries of a map the convolution reads for one entry.

Run: python docs/figures/windows.py
"""

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from style import AMBER, BLUE, GREY, INK, PALE_BLUE, save

QUERIES = 8
ROW, COLUMN = 5, 4  # the entry being computed
BACK, AROUND = range(-2, 1), range(-1, 2)


def draw(axes: Axes, title: str, keys: int, rows: range, columns: range, future: bool) -> None:
    for i in range(QUERIES):
        for j in range(keys):
            read = i - ROW in rows and j - COLUMN in columns
            colour = PALE_BLUE if read else GREY if future and j > i else "white"
            axes.add_patch(Rectangle((j, i), 1, 1, facecolor=colour, edgecolor=INK, linewidth=0.5))
            if future and j > i:
                axes.text(j + 0.5, i + 0.5, "0", ha="center", va="center", color=INK, fontsize=7)
    axes.add_patch(
        Rectangle(
            (COLUMN + columns[0], ROW + rows[0]), 3, 3, fill=False, edgecolor=BLUE, linewidth=2.5
        )
    )
    axes.add_patch(Rectangle((COLUMN, ROW), 1, 1, facecolor=AMBER, edgecolor=INK))
    axes.set(xlim=(-0.1, keys + 0.1), ylim=(QUERIES + 0.1, -0.1), aspect="equal", title=title)
    axes.set_xticks([COLUMN + 0.5], ["j"])
    axes.set_yticks([ROW + 0.5], ["i"])
    axes.tick_params(length=0)
    axes.set_xlabel("keys")
    axes.set_ylabel("queries")
    axes.spines[:].set_visible(False)


figure, (bidirectional, causal, cross) = plt.subplots(
    1, 3, figsize=(9.6, 3.6), width_ratios=[8, 8, 10], layout="constrained"
)
draw(bidirectional, "bidirectional", 8, AROUND, AROUND, future=False)
draw(causal, "causal", 8, BACK, BACK, future=True)
draw(cross, "cross", 10, BACK, AROUND, future=False)
save(figure, __file__)
