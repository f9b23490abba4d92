"""What the figures share: colours, one text size, and files that are the same at every run."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "evolving-attention", "font.size": 10, "axes.titlesize": 11})

INK = "#263238"
BLUE = "#3949ab"
PALE_BLUE = "#c5cae9"
AMBER = "#ffb300"
GREY = "#cfd8dc"
MAPS = "Blues"


def save(figure: Figure, script: str) -> None:
    """Write the figure beside its script, as an SVG of the same name."""
    path = Path(script).with_suffix(".svg")
    figure.savefig(path, bbox_inches="tight", facecolor="white", metadata={"Date": None})
