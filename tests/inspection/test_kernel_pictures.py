"""Pictures of kernels: every weight once, where the labels say, on one scale."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from evolving_attention.inspection import Kernel, draw_kernels
from tests.inspection.test_pictures import picture


def kernels(layers=3, heads=2, size=3, bias=True):
    rng = np.random.default_rng(0)
    return [
        Kernel(
            layer,
            rng.normal(size=(heads, heads, size, size)).astype(np.float32),
            rng.normal(size=heads).astype(np.float32) if bias else None,
            0.5,
            0.25,
            (size // 2, size // 2),
        )
        for layer in range(2, layers + 2)
    ]


def images(figure):
    return [one.images[0] for one in figure.axes if one.images]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("layers", [1, 4, 5])
@pytest.mark.parametrize(("heads", "size"), [(1, 1), (2, 3), (3, 5)])
def test_there_is_a_table_for_each_layer(layers, heads, size):
    figure = draw_kernels(kernels(layers, heads, size), "some kernels")
    assert len(images(figure)) == layers
    assert figure.get_suptitle() == "some kernels"
    assert picture(figure).std() > 0.01


def test_kernels_lie_in_rows_by_the_head_they_make_and_columns_by_the_head_they_read():
    (kernel,) = kernels(1)
    table = np.ma.filled(images(draw_kernels([kernel]))[0].get_array(), np.nan)
    for to in range(2):
        for source in range(2):
            cell = table[4 * to : 4 * to + 3, 4 * source : 4 * source + 3]
            assert_allclose(cell, kernel.weight_OIKK[to, source], rtol=1e-6)
        assert_allclose(table[4 * to : 4 * to + 3, 9:], kernel.bias_O[to], rtol=1e-6)
    assert np.isnan(table[3]).all()
    assert np.isnan(table[:, 3]).all()


def test_all_layers_share_one_scale_around_0():
    some = kernels(3)
    some[1].weight_OIKK[0, 1, 2, 2] = -7.0
    assert {image.get_clim() for image in images(draw_kernels(some))} == {(-7.0, 7.0)}


def test_titles_tell_layer_and_shares():
    titles = [one.get_title() for one in draw_kernels(kernels(2)).axes if one.images]
    assert [title.split(":")[0] for title in titles] == ["layer 2", "layer 3"]
    assert all("α 0.50, β 0.25" in title for title in titles)


def test_without_a_bias_there_is_no_column_for_it():
    axes = next(one for one in draw_kernels(kernels(1, bias=False)).axes if one.images)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2"]
    assert axes.images[0].get_array().shape == (7, 7)
