"""Views: a picture, its numbers and a caption, of one network or of two on the same series."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal

from evolving_attention import Run, train
from evolving_attention.inspection import VIEWS, ViewOptions, chain_of_maps, kernels_of, view
from tests.inspection.test_pictures import picture
from tests.small import levels, one_sentence, small_recipe, write_npz

FEW = ViewOptions(samples=6)


@pytest.fixture(scope="module")
def alone(pair):
    """Every view of the evolving network."""
    return {name: view(name, pair[0], options=FEW) for name in VIEWS}


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_is_a_picture_with_numbers_and_a_caption(alone, name):
    shown = alone[name]
    assert picture(shown.figure).std() > 0.01
    assert len(shown.numbers) > 0
    assert shown.title
    assert len(shown.caption) > 100
    assert shown.stem.startswith(name if name != "chain" else "probabilities")


@pytest.mark.parametrize("name", ["chain", "query", "measures", "quality"])
def test_a_twin_beside_it_changes_none_of_its_numbers(alone, pair, name):
    numbers = view(name, *pair, FEW).numbers
    assert numbers["network"].unique().tolist() == ["evolving", "twin"]
    beside = numbers[numbers["network"] == "evolving"].reset_index(drop=True)
    assert_frame_equal(alone[name].numbers.reset_index(drop=True), beside)


class TestChain:
    @pytest.mark.parametrize("show", ["probabilities", "map"])
    def test_its_numbers_are_the_entries(self, pair, show):
        shown = view("chain", pair[0], options=ViewOptions(sample=3, show=show))
        chain = chain_of_maps(pair[0], 3)
        layers = chain.maps if show == "map" else chain.probabilities
        assert_array_equal(shown.numbers["value"], layers.ravel())
        row = shown.numbers.query("layer == 2 and head == 1 and query == 4 and key == 5")
        assert row["value"].tolist() == [layers[1, 0, 4, 5]]
        assert shown.title == f"{chain.title}, predicted {chain.prediction}"
        assert shown.stem == f"{show}-3"

    def test_both_networks_see_the_same_series_of_a_file(self, pair, unlabelled):
        shown = view("chain", *pair, ViewOptions(sample=2, input=unlabelled))
        assert shown.title == "series 2"
        for run in pair:
            expected = chain_of_maps(run, 2, unlabelled).probabilities
            found = shown.numbers[shown.numbers["network"] == run.folder.name]["value"]
            assert_array_equal(found, expected.ravel())


class TestQuery:
    def test_its_numbers_are_the_rows_of_the_position(self, pair):
        shown = view("query", pair[0], options=ViewOptions(sample=1, position=2))
        assert set(shown.numbers["query"]) == {2}
        expected = chain_of_maps(pair[0], 1).probabilities[:, :, 2]
        assert_array_equal(shown.numbers["value"], expected.ravel())

    def test_a_position_that_is_not_there_is_told(self, pair):
        with one_sentence("no position 6"):
            view("query", pair[0], options=ViewOptions(position=6))


class TestMeasures:
    def test_the_digest_is_the_mean_over_heads_and_series(self, pair):
        shown = view("measures", *pair, FEW)
        assert "6 series" in shown.title
        assert shown.numbers["series"].nunique() == 6
        rows = shown.numbers.query("network == 'twin' and layer == 2")
        assert_allclose(shown.digest.loc[("twin", 2), "entropy"], rows["entropy"].mean())

    def test_series_of_a_file_are_measured(self, pair, unlabelled):
        shown = view("measures", pair[0], options=ViewOptions(input=unlabelled))
        assert shown.numbers["series"].nunique() == 6

    def test_64_series_are_enough_by_default(self, pair, tmp_path):
        np.savez(tmp_path / "many.npz", X=np.random.default_rng(0).normal(size=(70, 2, 3)))
        shown = view("measures", pair[0], options=ViewOptions(input=str(tmp_path / "many.npz")))
        assert shown.numbers["series"].nunique() == 64


class TestKernels:
    def test_the_numbers_are_those_of_the_layers(self, pair):
        shown = view("kernels", pair[0])
        expected = kernels_of(pair[0].model)[0].figures()["identity_distance"]
        assert shown.numbers["identity_distance"].tolist() == [expected]

    def test_a_twin_has_none(self, pair):
        with one_sentence("no kernels"):
            view("kernels", pair[1])

    def test_they_are_those_of_one_network(self, pair):
        with one_sentence("--against"):
            view("kernels", *pair)


class TestQuality:
    def test_it_is_scored_on_the_test_part(self, pair):
        shown = view("quality", pair[0])
        assert "24 series to learn from, 10 to be scored on" in shown.title
        assert (shown.numbers["score"] * 10 % 1).round(6).isin([0, 1]).all()
        assert shown.digest.index.tolist() == [("evolving", 1), ("evolving", 2)]

    def test_it_needs_labels(self, pair, unlabelled):
        with one_sentence("targets"):
            view("quality", pair[0], options=ViewOptions(input=unlabelled))


class TestNames:
    def test_there_is_no_other_view(self, pair):
        with one_sentence("'maps'", "chain", "quality"):
            view("maps", pair[0])

    def test_a_run_is_not_held_against_one_of_other_inputs(self, pair):
        other = replace(pair[1], recipe=replace(pair[1].recipe, task="image_classification"))
        with one_sentence("image_classification", "the same task"):
            view("measures", pair[0], other)

    @pytest.mark.parametrize("option", [{"pixel": "3,3"}, {"chain": "cross"}])
    def test_an_option_of_another_family_is_refused(self, pair, option):
        with one_sentence(*option, "another kind"):
            view("query", pair[0], None, ViewOptions(**option))

    def test_a_run_is_not_held_against_itself(self, pair):
        with one_sentence("itself"):
            view("chain", pair[0], pair[0])

    def test_networks_of_different_tasks_do_not_compare(self, pair, tmp_path):
        data = write_npz(tmp_path / "data.npz", levels)
        other = train(small_recipe(data, tmp_path / "run", kind="regression", epochs=1))
        with one_sentence("classification", "regression"):
            view("chain", pair[0], other)

    def test_runs_of_one_name_are_told_apart_by_their_folders(self, pair, tmp_path):
        shutil.copytree(pair[1].folder, tmp_path / "evolving")
        shown = view("measures", pair[0], Run.load(tmp_path / "evolving"), FEW)
        assert set(shown.numbers["network"]) == {str(pair[0].folder), str(tmp_path / "evolving")}
