"""What pictures share: figures without global state, and colours that colour-blind eyes tell apart."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

__all__ = ["GREY", "NETWORKS", "layer_axis", "new_figure"]

GREY = "#8a8a8a"

#: How the lines of a network and of the one beside it look: other colours, markers and dashes.
NETWORKS: tuple[dict[str, Any], ...] = (
    {"color": "#0072b2", "marker": "o", "linestyle": "-", "markersize": 4.5},
    {"color": "#d55e00", "marker": "s", "linestyle": "--", "markersize": 4.0},
)


def new_figure(width: float, height: float) -> Figure:
    """Make a figure, in inches, that pyplot knows nothing of."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def layer_axis(axes: Axes, layers: int) -> None:
    """Let the horizontal axis count layers."""
    axes.set_xlim(0.6, layers + 0.4)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
