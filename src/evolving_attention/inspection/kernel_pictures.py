"""Pictures of kernels: every layer's convolution as a table of small images.

Shape letters: H heads, O those a map goes to, I those it comes from; K kernel size.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from evolving_attention.inspection.kernels import Kernel
from evolving_attention.inspection.style import new_figure

__all__ = ["draw_kernels"]


def draw_kernels(kernels: list[Kernel], title: str = "") -> Figure:
    """Draw the kernels of every layer, on one colour scale around 0.

    A row of a layer's table makes one head's map, a column reads one head's; the last column is the
    bias. The identity would be a diagonal of tables with a single dark centre.

    Parameters
    ----------
    kernels : list of Kernel
        See :func:`~evolving_attention.inspection.kernels.kernels_of`.
    title : str
        Stands above.
    """
    tables = [_table(kernel) for kernel in kernels]
    extent = max(float(np.nanmax(np.abs(table))) for table in tables) or 1.0
    columns = min(4, len(kernels))
    rows = -(-len(kernels) // columns)
    figure = new_figure(3.1 * columns + 1.0, 3.35 * rows + 0.6)
    figure.suptitle(title, fontsize=12, parse_math=False)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, kernel, table in zip(grid.flat, kernels, tables, strict=False):
        image = axes.imshow(table, cmap="RdBu_r", vmin=-extent, vmax=extent)
        _label(axes, kernel)
    for axes in grid.flat[len(kernels) :]:
        axes.axis("off")
    figure.colorbar(image, ax=grid[:, -1], shrink=0.7, label="weight")
    return figure


def _table(kernel: Kernel) -> NDArray[np.floating]:
    """Lay the kernels side by side, a line of NaN between them, the bias apart at the right."""
    weight_OIKK = kernel.weight_OIKK.astype(np.float64)
    heads, size = weight_OIKK.shape[0], weight_OIKK.shape[-1]
    padded_OIKK = np.pad(weight_OIKK, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=np.nan)
    table = padded_OIKK.transpose(0, 2, 1, 3).reshape(heads * (size + 1), -1)[:-1]
    if kernel.bias_O is None:
        return table[:, :-1]
    bias = np.full((heads, size + 1, size + 1), np.nan)
    bias[:, :size, 1:] = kernel.bias_O[:, None, None]
    return np.concatenate([table, bias.reshape(heads * (size + 1), -1)[:-1]], axis=1)


def _label(axes: Axes, kernel: Kernel) -> None:
    heads, size = kernel.weight_OIKK.shape[0], kernel.weight_OIKK.shape[-1]
    centres = np.arange(heads) * (size + 1) + (size - 1) / 2
    names = [str(head) for head in range(1, heads + 1)]
    axes.set_yticks(centres, names, fontsize=7)
    if kernel.bias_O is not None:
        centres, names = np.append(centres, heads * (size + 1) + (size + 1) / 2), [*names, "bias"]
    axes.set_xticks(centres, names, fontsize=7)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("from head", fontsize=8)
    axes.set_ylabel("to head", fontsize=8)
    axes.set_title(
        f"layer {kernel.layer}: α {kernel.alpha:.2f}, β {kernel.beta:.2f}\n"
        f"from the identity {kernel.figures()['identity_distance']:.2f}",
        fontsize=9,
    )
