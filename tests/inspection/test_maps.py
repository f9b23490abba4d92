"""The chain of maps that is looked at is the one that the network computed."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from evolving_attention import Run, train
from evolving_attention.inspection import chain_of_maps
from evolving_attention.inspection.maps import spread_over
from evolving_attention.tasks.time_series_batches import collate
from evolving_attention.tasks.time_series_data import LabelledSeries
from tests.small import cut, levels, one_sentence, small_recipe, two_classes, write_npz, write_ts


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two blocks of two layers, two heads, series of 6 steps."""
    folder = tmp_path_factory.mktemp("maps")
    data = write_npz(folder / "data.npz")
    return train(small_recipe(data, folder / "run", epochs=1, model={"num_blocks": 2}))


@pytest.fixture(scope="module")
def patches(tmp_path_factory):
    """One block over patches of four steps, series of 10 steps, a number to predict."""
    folder = tmp_path_factory.mktemp("patches")
    data = write_npz(folder / "data.npz", lambda **options: levels(steps=10, **options))
    recipe = small_recipe(
        data, folder / "run", kind="regression", epochs=1, model={"patch_size": 4}
    )
    return train(recipe)


class TestTheChain:
    def test_it_has_an_entry_for_each_layer_head_query_and_key(self, run):
        chain = chain_of_maps(run, 3)
        assert chain.maps.shape == chain.probabilities.shape == (4, 2, 6, 6)
        assert chain.maps.dtype == chain.probabilities.dtype == np.float32
        assert chain.patch_size == 1

    def test_it_holds_what_the_network_returns(self, run):
        series = two_classes(cases=10, seed=1)[0][3]
        inputs = collate([{"input_values": run.task.processor([series])[0]}])
        with torch.inference_mode():
            output = run.model(**inputs, output_maps=True, output_attentions=True)
        chain = chain_of_maps(run, 3)
        assert len(output.maps) == 4
        for layer in range(4):
            assert_array_equal(chain.maps[layer], output.maps[layer][0])
            assert_array_equal(chain.probabilities[layer], output.attentions[layer][0])

    def test_probabilities_are_the_softmax_of_the_maps(self, run):
        chain = chain_of_maps(run, 0)
        assert_allclose(chain.probabilities.sum(-1), 1, rtol=1e-5)
        exponentials = np.exp(chain.maps.astype(np.float64))
        expected = exponentials / exponentials.sum(-1, keepdims=True)
        assert_allclose(chain.probabilities, expected, rtol=1e-4)

    def test_the_series_is_as_it_was_given(self, run):
        X, _ = two_classes(cases=10, seed=1)
        assert_array_equal(chain_of_maps(run, 7).series, X[7])

    def test_each_series_has_its_own(self, run):
        assert not np.allclose(chain_of_maps(run, 0).maps, chain_of_maps(run, 1).maps)

    def test_it_tells_series_target_and_prediction(self, run):
        _, y = two_classes(cases=10, seed=1)
        predicted = run.predict(run.recipe.data.train)["prediction"]
        for sample in (0, 3, 9):
            chain = chain_of_maps(run, sample)
            assert chain.title == f"series {sample}, target {y[sample]}"
            assert chain.prediction == str(predicted[sample])

    def test_a_loaded_run_has_the_same(self, run):
        assert_array_equal(chain_of_maps(Run.load(run.folder), 2).maps, chain_of_maps(run, 2).maps)

    def test_the_network_keeps_its_mode_and_needs_no_gradient(self, run):
        chain_of_maps(run, 0)
        assert not run.model.training
        assert all(parameter.grad is None for parameter in run.model.parameters())

    def test_patches_are_positions(self, patches):
        chain = chain_of_maps(patches, 1)
        assert chain.maps.shape == (2, 2, 3, 3)
        assert chain.series.shape == (2, 10)
        assert chain.patch_size == 4

    def test_a_regression_tells_numbers(self, patches):
        predicted = patches.predict(patches.recipe.data.train)["prediction"][1]
        assert float(chain_of_maps(patches, 1).prediction) == pytest.approx(predicted, rel=1e-4)


class TestOtherSeries:
    def test_a_file_of_series_may_be_looked_at(self, run, tmp_path):
        X, _ = two_classes(cases=6, seed=4)
        path = write_ts(tmp_path / "new.ts", cut(X))
        chain = chain_of_maps(run, 2, str(path))
        assert chain.series.shape == (2, 4)
        assert chain.maps.shape == (4, 2, 4, 4)
        assert "target" not in chain.title

    def test_a_series_of_one_step_has_maps_of_one_entry(self, run, tmp_path):
        path = write_ts(tmp_path / "new.ts", two_classes(steps=1)[0])
        chain = chain_of_maps(run, 0, str(path))
        assert chain.maps.shape == (4, 2, 1, 1)
        assert_allclose(chain.probabilities, 1)

    @pytest.mark.parametrize("sample", [-1, 10, 1000])
    def test_a_series_that_is_not_there_is_told(self, run, sample):
        with one_sentence(f"no series {sample}", "0 to 9"):
            chain_of_maps(run, sample)

    def test_a_run_without_a_test_part_asks_for_a_file(self, tmp_path):
        data = write_npz(tmp_path / "data.npz", X_test=None, y_test=None)
        trained = train(small_recipe(data, tmp_path / "run", epochs=1))
        with one_sentence("no test part", "file of series"):
            chain_of_maps(trained, 0)
        np.savez(tmp_path / "new.npz", X=two_classes(cases=2)[0])
        assert chain_of_maps(trained, 1, str(tmp_path / "new.npz")).maps.shape == (2, 2, 6, 6)


def test_a_network_without_attention_has_nothing_to_look_at(tmp_path):
    model = {"key_ratio": 0.0, "value_ratio": 0.0}
    data = write_npz(tmp_path / "data.npz")
    trained = train(small_recipe(data, tmp_path / "run", epochs=1, model=model))
    with one_sentence("no attention to look at", "key_ratio"):
        chain_of_maps(trained, 0)


class TestSeveralSeries:
    @pytest.mark.parametrize(
        ("count", "chosen"), [(1, [0]), (2, [0, 9]), (4, [0, 3, 6, 9]), (10, [*range(10)])]
    )
    def test_they_are_spread_over_all_of_them(self, count, chosen):
        X, _ = two_classes(cases=10)
        found = spread_over(LabelledSeries(list(X), np.arange(10)), count)
        assert found.targets.tolist() == chosen
        assert_array_equal(found.series, X[chosen])

    def test_there_are_no_more_than_there_are(self):
        X, _ = two_classes(cases=3)
        found = spread_over(LabelledSeries(list(X)), 64)
        assert len(found.series) == 3
        assert found.targets is None

    def test_none_at_all_are_refused(self):
        with one_sentence("samples", "0"):
            spread_over(LabelledSeries(list(two_classes()[0])), 0)
