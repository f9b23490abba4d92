"""Pictures of chains: an image a layer and head, true to the numbers, without global state."""

import io
import sys

import matplotlib
import matplotlib.image
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal

from evolving_attention.inspection import Chain, draw_chain, draw_query
from tests.small import one_sentence

SHAPES = {
    "several": (4, 3, 6),
    "one layer": (1, 3, 6),
    "one head": (4, 1, 6),
    "one of both": (1, 1, 6),
    "one step": (2, 2, 1),
}


def chain_of(layers=4, heads=3, positions=6, channels=2, patch_size=1, **changes):
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(layers, heads, positions, positions)).astype(np.float32)
    probabilities = np.exp(maps) / np.exp(maps).sum(-1, keepdims=True)
    series = rng.normal(size=(channels, positions * patch_size))
    fields = {
        "title": "series 3, target a",
        "prediction": "b",
        "series": series,
        "maps": maps,
        "probabilities": probabilities,
        "patch_size": patch_size,
    }
    return Chain(**fields | changes)


def picture(figure):
    """The pixels that `savefig` writes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=50)
    buffer.seek(0)
    return matplotlib.image.imread(buffer)


def images(figure):
    """The images of a figure, row by row, as arrays."""
    return [axes.images[0].get_array() for axes in figure.axes if axes.images]


class TestWhatIsDrawn:
    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
    @pytest.mark.parametrize("show", ["probabilities", "map"])
    def test_the_series_and_a_row_more_than_heads_for_each_layer(self, shape, show):
        layers, heads, _ = shape
        figure = draw_chain(chain_of(*shape), show=show)
        assert isinstance(figure, Figure)
        assert len(figure.axes) == 1 + layers * (1 + heads)
        assert len(images(figure)) == layers * (1 + heads)
        assert picture(figure).std() > 0.01

    @pytest.mark.parametrize("show", ["probabilities", "map"])
    def test_the_mean_over_heads_stands_above_each_head(self, show):
        chain = chain_of()
        drawn = np.stack(images(draw_chain(chain, show=show))).reshape(4, 4, 6, 6)
        shown = chain.probabilities if show == "probabilities" else chain.maps
        assert_allclose(drawn[0], shown.mean(1), rtol=1e-6)
        for head in range(3):
            assert_array_equal(drawn[1 + head], shown[:, head])

    def test_columns_are_layers_and_rows_are_heads_by_name(self):
        axes = [one for one in draw_chain(chain_of()).axes if one.images]
        assert [one.get_title() for one in axes[:4]] == [f"layer {n}" for n in (1, 2, 3, 4)]
        assert [one.get_ylabel() for one in axes[::4]] == ["mean", "head 1", "head 2", "head 3"]

    @pytest.mark.parametrize(("heads", "rows"), [(0, 1), (1, 2), (3, 4), (None, 4)])
    def test_so_many_heads_are_drawn_as_asked(self, heads, rows):
        chain = chain_of()
        drawn = images(draw_chain(chain, heads=heads))
        assert len(drawn) == 4 * rows
        assert_allclose(drawn[0], chain.probabilities[0].mean(0), rtol=1e-6)

    def test_the_title_is_that_of_the_chain(self):
        assert "series 3, target a, predicted b" in draw_chain(chain_of()).get_suptitle()
        assert "[map]" in draw_chain(chain_of(), show="map").get_suptitle()

    def test_every_channel_of_the_series_is_drawn_over_positions(self):
        chain = chain_of(channels=3, patch_size=4)
        lines = draw_chain(chain).axes[0].lines
        assert len(lines) == 3
        for line, channel in zip(lines, chain.series, strict=True):
            assert_array_equal(line.get_ydata(), channel)
            assert_allclose(line.get_xdata(), np.arange(24) / 4)

    def test_each_image_is_scaled_to_its_largest_entry_which_is_told(self):
        chain = chain_of()
        axes = [one for one in draw_chain(chain, show="map").axes if one.images]
        for one in axes:
            largest = np.abs(one.images[0].get_array()).max()
            assert one.images[0].get_clim() == pytest.approx((-largest, largest))
            assert f"{largest:.2g}" in one.get_xlabel()
        for one in draw_chain(chain).axes[1:]:
            assert one.images[0].get_clim()[0] == 0

    def test_maps_and_probabilities_are_different_pictures(self):
        chain = chain_of()
        first, second = (picture(draw_chain(chain, show=show)) for show in ("probabilities", "map"))
        assert first.shape == second.shape
        assert np.abs(first - second).max() > 0.1

    def test_another_chain_is_another_picture(self):
        chain = chain_of()
        other = chain_of(probabilities=chain.probabilities[::-1])
        assert not np.array_equal(picture(draw_chain(chain)), picture(draw_chain(other)))


class TestTwoNetworks:
    def test_each_has_a_block_of_rows_below_the_series(self):
        one, other = chain_of(network="evolving"), chain_of(network="twin")
        figure = draw_chain(one, against=other, heads=2)
        drawn = images(figure)
        assert len(drawn) == 2 * 3 * 4
        assert_allclose(drawn[0], one.probabilities[0].mean(0), rtol=1e-6)
        assert_allclose(drawn[12 + 5], other.probabilities[1, 0], rtol=1e-6)

    def test_each_has_its_name_and_prediction(self):
        one = chain_of(network="$evolving", prediction="a")
        figure = draw_chain(one, against=chain_of(network="twin"))
        titles = [part.get_suptitle() for part in figure.subfigs[1:]]
        assert titles == ["$evolving, predicted a", "twin, predicted b"]
        assert figure.get_suptitle().startswith("series 3, target a   [")

    def test_networks_that_predict_nothing_are_told_by_name_alone(self):
        one, other = (chain_of(network=name, prediction="") for name in ("one", "other"))
        figure = draw_chain(one, against=other)
        titles = [part.get_suptitle() for part in figure.subfigs if part.get_suptitle()]
        assert titles == ["one", "other"]
        assert figure.get_suptitle().startswith("series 3, target a   [")
        assert picture(figure).std() > 0.01

    @pytest.mark.filterwarnings("error")
    def test_they_may_differ_in_layers_and_heads(self):
        one, other = chain_of(4, 3, network="evolving"), chain_of(2, 1, network="twin")
        figure = draw_chain(one, against=other)
        assert len(images(figure)) == 4 * 4 + 2 * 2
        assert picture(figure).std() > 0.01


class TestWhatIsHardToDraw:
    def test_a_map_of_zeros(self):
        zeros = np.zeros((2, 2, 3, 3), dtype=np.float32)
        assert picture(draw_chain(chain_of(2, 2, 3, maps=zeros), show="map")).std() > 0.01

    def test_missing_values_in_the_series(self):
        series = np.full((2, 6), np.nan)
        assert picture(draw_chain(chain_of(series=series))).std() > 0.01

    @pytest.mark.parametrize(
        "title", ["target <$50K, predicted >$50K", "target $_, predicted $^", r"target $\x$"]
    )
    def test_a_label_with_signs_of_formulas_is_text(self, title):
        figure = draw_chain(chain_of(title=title, prediction=""))
        picture(figure)
        assert not any(text.get_parse_math() for text in figure.texts if title in text.get_text())

    @pytest.mark.parametrize("show", ["maps", "Probabilities"])
    def test_only_probabilities_and_maps_can_be_shown(self, show):
        with one_sentence("show", "probabilities", "map"):
            draw_chain(chain_of(), show=show)

    def test_tokens_with_signs_of_formulas_are_text(self):
        chain = chain_of(positions=3, tokens=["$$", "a", "$b$"], texts=("$$a$b$",))
        picture(draw_chain(chain))
        picture(draw_query(chain))

    def test_a_negative_number_of_heads_is_told(self):
        with one_sentence("heads", "-1"):
            draw_chain(chain_of(), heads=-1)


class TestNoGlobalState:
    def test_pyplot_is_not_needed(self, monkeypatch, tmp_path):
        monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it now fails
        draw_chain(chain_of()).savefig(tmp_path / "maps.png")
        assert matplotlib.image.imread(tmp_path / "maps.png").std() > 0.01

    def test_pyplot_knows_nothing_of_the_figure(self):
        pyplot = pytest.importorskip("matplotlib.pyplot")
        before = matplotlib.get_backend(), pyplot.get_fignums(), dict(matplotlib.rcParams)
        figure = draw_chain(chain_of())
        picture(figure)
        after = matplotlib.get_backend(), pyplot.get_fignums(), dict(matplotlib.rcParams)
        assert before == after
        assert isinstance(figure.canvas, FigureCanvasAgg)

    def test_the_chain_is_left_as_it_was(self):
        chain, same = chain_of(), chain_of()
        draw_chain(chain)
        for name in ("series", "maps", "probabilities"):
            assert_array_equal(getattr(chain, name), getattr(same, name))

    @pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
    def test_it_can_be_saved_in_other_formats(self, suffix, tmp_path):
        path = tmp_path / f"maps.{suffix}"
        draw_chain(chain_of(2, 1)).savefig(path)
        assert path.stat().st_size > 1000
