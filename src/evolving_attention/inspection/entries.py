"""The numbers of maps: a row an entry.

Shape letters: H heads, N queries, M keys.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["entries"]


def entries(layers: Iterable[NDArray[np.floating]], **places: str) -> pd.DataFrame:
    """Return every entry of the maps, or probabilities, of a chain.

    Parameters
    ----------
    layers : iterable of array of shape (H, N, M)
        One a layer; their sizes may differ.
    **places : str
        Further columns, the same in every row, which come first.

    Returns
    -------
    DataFrame
        Columns ``layer`` and ``head``, from 1, ``query`` and ``key``, from 0, and ``value``.
    """
    tables = []
    for layer, map_HNM in enumerate(layers, start=1):
        head, query, key = np.indices(map_HNM.shape, dtype=np.int32).reshape(3, -1)
        columns = {"head": head + 1, "query": query, "key": key, "value": map_HNM.ravel()}
        tables.append(pd.DataFrame({**places, "layer": layer, **columns}))
    return pd.concat(tables, ignore_index=True)
