"""A small run and its twin, and the same data without labels."""

from dataclasses import replace

import numpy as np
import pytest

from evolving_attention import train
from tests.small import cut, small_recipe, two_classes, write_npz, write_ts


@pytest.fixture(scope="session")
def pair(tmp_path_factory):
    """Two runs, named evolving and twin, of two layers and two heads on series of 6 steps."""
    folder = tmp_path_factory.mktemp("pair")
    recipe = small_recipe(write_npz(folder / "data.npz"), folder / "evolving", epochs=1)
    plain = replace(
        recipe, output=str(folder / "twin"), model=recipe.model | {"alpha": 0.0, "beta": 0.0}
    )
    return train(recipe), train(plain)


@pytest.fixture(scope="session")
def unlabelled(tmp_path_factory):
    """A file of series of 2 to 6 steps without labels."""
    path = tmp_path_factory.mktemp("unlabelled") / "new.ts"
    return str(write_ts(path, cut(np.asarray(two_classes(cases=6, seed=4)[0]))))
