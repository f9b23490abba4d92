"""Curves: the averages of the tables, a line a network."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from evolving_attention.inspection import MEASURES, draw_profile, draw_quality, summary
from tests.inspection.test_pictures import picture


def profile_of(*networks, layers=3, missing=()):
    rng = np.random.default_rng(0)
    index = pd.MultiIndex.from_product(
        [networks, range(4), range(1, layers + 1), (1, 2)],
        names=["network", "series", "layer", "head"],
    )
    table = pd.DataFrame(rng.uniform(size=(len(index), len(MEASURES))), index, [*MEASURES])
    table[[*missing]] = np.nan
    return table.reset_index()


def quality_of(*networks, layers=3, seeds=2):
    rng = np.random.default_rng(0)
    index = pd.MultiIndex.from_product(
        [networks, range(1, layers + 1), range(seeds)], names=["network", "layer", "seed"]
    )
    table = pd.DataFrame({"score": rng.uniform(size=len(index))}, index).reset_index()
    return table.assign(chance=0.25)


class TestProfiles:
    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("networks", [("evolving",), ("evolving", "twin")])
    def test_every_measure_has_a_panel_and_every_network_a_line(self, networks):
        table = profile_of(*networks)
        figure = draw_profile(table, "some series")
        assert [axes.get_title() for axes in figure.axes] == [name for name, _ in MEASURES.values()]
        averages = summary(table)
        for axes, measure in zip(figure.axes, MEASURES, strict=True):
            assert len(axes.lines) == len(networks)
            for line, network in zip(axes.lines, networks, strict=True):
                assert_allclose(line.get_ydata(), averages.loc[network][(measure, "mean")])
                assert_allclose(line.get_xdata(), [1, 2, 3])
        assert picture(figure).std() > 0.01

    def test_names_stand_in_a_legend_where_there_are_two(self):
        (legend,) = draw_profile(profile_of("$evolving", "twin$")).legends
        assert [text.get_text() for text in legend.get_texts()] == ["$evolving", "twin$"]
        assert not any(text.get_parse_math() for text in legend.get_texts())
        assert not draw_profile(profile_of("evolving")).legends

    def test_networks_differ_in_more_than_colour(self):
        first, second = draw_profile(profile_of("evolving", "twin")).axes[0].lines
        for look in ("get_color", "get_marker", "get_linestyle"):
            assert getattr(first, look)() != getattr(second, look)()

    @pytest.mark.filterwarnings("error")
    def test_what_no_layer_has_is_said_not_to_apply(self):
        figure = draw_profile(profile_of("twin", missing=["kept"]))
        said = [axes for axes in figure.axes if axes.texts]
        assert [axes.get_title() for axes in said] == [MEASURES["kept"][0]]
        picture(figure)

    @pytest.mark.filterwarnings("error")
    def test_one_layer_of_one_series(self):
        table = profile_of("evolving", layers=1).query("series == 0")
        assert picture(draw_profile(table)).std() > 0.01


class TestQuality:
    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("seeds", [1, 3])
    def test_there_is_a_line_for_each_network_and_one_for_chance(self, seeds):
        table = quality_of("evolving", "twin", seeds=seeds)
        figure = draw_quality(table, "accuracy")
        (axes,) = figure.axes
        assert len(axes.lines) == 3
        for line, network in zip(axes.lines, ["evolving", "twin"], strict=False):
            expected = table[table["network"] == network].groupby("layer")["score"].mean()
            assert_allclose(line.get_ydata(), expected)
        assert_allclose(axes.lines[2].get_ydata(), 0.25)
        assert "accuracy" in axes.get_ylabel()
        assert picture(figure).std() > 0.01
