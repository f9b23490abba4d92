"""Pictures over time: the attention of one position, over the series."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from evolving_attention.inspection import draw_query
from tests.inspection.test_pictures import chain_of, picture
from tests.small import one_sentence


def bars(figure):
    """Heights of the bars, an array a panel."""
    panels = [one for one in figure.axes if one.patches]
    return np.array([[bar.get_height() for bar in one.patches] for one in panels])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(4, 3, 6), (1, 1, 6), (2, 2, 1)])
def test_there_is_a_row_for_each_layer(shape):
    figure = draw_query(chain_of(*shape))
    assert bars(figure).shape == (shape[0], shape[2])
    assert picture(figure).std() > 0.01


def test_bars_are_the_row_of_the_query_averaged_over_heads():
    chain = chain_of()
    figure = draw_query(chain, 4)
    assert_allclose(bars(figure), chain.probabilities.mean(1)[:, 4], rtol=1e-6)
    assert "position 4" in figure.get_suptitle()


def test_the_middle_is_the_default():
    chain = chain_of(positions=7)
    assert_allclose(bars(draw_query(chain)), bars(draw_query(chain, 3)))


def test_every_step_lies_over_its_position():
    chain = chain_of(positions=3, patch_size=4)
    lines = next(one for one in draw_query(chain).axes if not one.patches).lines
    assert len(lines) == 2
    steps = lines[0].get_xdata()
    assert len(steps) == 12
    assert np.all(np.round(steps) == np.arange(12) // 4)


def test_another_network_stands_beside_it():
    one, other = chain_of(network="evolving"), chain_of(layers=2, network="twin")
    figure = draw_query(one, 1, against=other)
    assert len(bars(figure)) == 4 + 2
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["evolving, predicted b", "twin, predicted b"]
    assert "predicted" not in figure.get_suptitle()


@pytest.mark.parametrize("position", [-1, 6])
def test_a_position_that_is_not_there_is_told(position):
    with one_sentence(f"no position {position}", "0 to 5"):
        draw_query(chain_of(), position)
