"""What pictures share: figures without global state, colours that all eyes tell apart, files."""

from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.ticker import MaxNLocator

from evolving_attention.errors import InputError

__all__ = [
    "GREY",
    "NETWORKS",
    "check_picture",
    "layer_axis",
    "name_networks",
    "new_figure",
    "save_picture",
]

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


def name_networks(legend: Legend) -> None:
    """Show names as they are: a dollar sign begins no formula."""
    for text in legend.get_texts():
        text.set_parse_math(False)


def check_picture(path: Path) -> None:
    """Raise :class:`InputError` unless a name ends in the name of a format for pictures."""
    if path.suffix[1:] not in (formats := FigureCanvasAgg.get_supported_filetypes()):
        raise InputError(f"{str(path)!r} is no picture; its name must end in {', '.join(formats)}.")


def save_picture(figure: Figure, path: Path) -> None:
    """Write a figure in the format its name ends in, without a date: same figure, same file."""
    check_picture(path)
    dates = {".svg": "Date", ".pdf": "CreationDate"}
    metadata = {dates[path.suffix]: None} if path.suffix in dates else None
    with rc_context({"svg.hashsalt": "evolving-attention"}):
        figure.savefig(path, dpi=120, metadata=metadata)
