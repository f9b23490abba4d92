"""Pictures of embeddings: the vectors of many series, projected onto a plane."""

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.utils.multiclass import type_of_target

from evolving_attention.errors import InputError
from evolving_attention.inspection.style import name_networks, new_figure

__all__ = ["PROJECTIONS", "draw_embedding", "project"]

#: Principal components, and t-SNE.
PROJECTIONS = ("pca", "tsne")

_MOST_NAMED_CLASSES = 20  # the colours of a qualitative map, and what a legend can hold


def project(vectors: NDArray, projection: str = "pca", seed: int = 0) -> tuple[NDArray, list[str]]:
    """Project vectors onto a plane.

    Parameters
    ----------
    vectors : array of shape (cases, D)
    projection : {"pca", "tsne"}
        The first two principal components; or t-SNE, which keeps neighbours together, and whose
        distances between far groups mean nothing.
    seed : int
        Of both.

    Returns
    -------
    points : array of shape (cases, 2)
    labels : list of str
        What each axis is.
    """
    if projection not in PROJECTIONS:
        raise InputError(
            f"projection must be {' or '.join(map(repr, PROJECTIONS))}, got {projection!r}."
        )
    if min(vectors.shape) < 2 or len(vectors) < 3:
        raise InputError(
            f"a picture needs at least 3 vectors of 2 numbers, got the shape {vectors.shape}."
        )
    vectors = vectors.astype(np.float64)
    if projection == "tsne":
        perplexity = min(30.0, (len(vectors) - 1) / 3)
        tsne = TSNE(perplexity=perplexity, init="pca", random_state=seed)
        return tsne.fit_transform(vectors), ["t-SNE 1", "t-SNE 2"]
    pca = PCA(2, random_state=seed)
    points = pca.fit_transform(vectors)
    shares = np.nan_to_num(pca.explained_variance_ratio_)  # vectors that are all equal have none
    return points, [
        f"component {number}, {share:.0%} of the variance"
        for number, share in enumerate(shares, start=1)
    ]


def draw_embedding(
    vectors: NDArray,
    labels: NDArray | None = None,
    *,
    by_value: bool | None = None,
    projection: str = "pca",
    title: str = "",
    seed: int = 0,
) -> Figure:
    """Draw vectors as points of a plane, coloured by class or by value.

    Parameters
    ----------
    vectors : array of shape (cases, D)
        Such as :func:`~evolving_attention.tasks.embedding.embed_series` makes.
    labels : array of shape (cases,) or (cases, 1), optional
        Default: one colour for all.
    by_value : bool, optional
        Whether labels are values on a scale of colours, rather than classes of a colour each.
        Default: where they are numbers, and some have a fraction or more than 20 differ.
    projection, seed
        See :func:`project`.
    title : str
        Stands above.

    Returns
    -------
    Figure
        ``figure.savefig(path)`` writes it.
    """
    points, names = project(vectors, projection, seed)
    figure = new_figure(7.5, 5.5)
    axes = figure.subplots()
    values = None if labels is None else np.asarray(labels)
    if values is not None and values.ndim == 2:
        values = values[:, 0]  # of several targets the first colours
    if values is None:
        axes.scatter(points[:, 0], points[:, 1], s=18, alpha=0.8)
    elif _are_values(values) if by_value is None else by_value:
        drawn = axes.scatter(points[:, 0], points[:, 1], c=values, s=18, cmap="viridis")
        figure.colorbar(drawn, label="target")
    else:
        _draw_classes(axes, points, values)
    axes.set(xlabel=names[0], ylabel=names[1])
    axes.tick_params(labelsize=8)
    axes.set_title(title, fontsize=11, parse_math=False)
    return figure


def _are_values(labels: NDArray) -> bool:
    if labels.dtype.kind not in "iuf":
        return False
    return type_of_target(labels) == "continuous" or len(np.unique(labels)) > _MOST_NAMED_CLASSES


def _draw_classes(axes: Axes, points: NDArray, labels: NDArray) -> None:
    classes = np.unique(labels)
    named = len(classes) <= _MOST_NAMED_CLASSES
    palette = colormaps["tab10" if len(classes) <= 10 else "tab20" if named else "turbo"]
    for number, label in enumerate(classes):
        colour = palette(number) if named else palette(number / (len(classes) - 1))
        own = points[labels == label]
        axes.scatter(own[:, 0], own[:, 1], s=18, alpha=0.8, color=colour, label=str(label))
    if named:
        legend = axes.legend(
            title="class", loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False
        )
        name_networks(legend)
