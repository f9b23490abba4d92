"""The quality of maps: what they tell is found, what they do not tell is not."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from evolving_attention import train
from evolving_attention.inspection import map_quality
from evolving_attention.inspection.maps import chain_of_series
from evolving_attention.inspection.quality import SIDE, pooled_maps, reader_score
from evolving_attention.tasks.time_series_data import LabelledSeries
from tests.small import cut, levels, one_sentence, small_recipe, two_classes, write_npz


def labelled(make=two_classes, **options):
    series, targets = make(**options)
    return LabelledSeries(list(series), targets)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quality")
    return train(small_recipe(write_npz(folder / "data.npz"), folder / "run", epochs=1))


def images(targets, seed=0):
    """Maps with a bright corner, which one its class tells."""
    maps = np.random.default_rng(seed).normal(size=(len(targets), 2, SIDE, SIDE))
    for image, target in zip(maps, targets, strict=True):
        image[0, :8, 12 * target : 12 * target + 8] += 3.0
    return torch.from_numpy(maps).float()


class TestTheReader:
    def test_it_reads_a_class_from_where_attention_lies(self):
        seen, unseen = np.arange(48) % 2, np.arange(20) % 2
        score = reader_score(images(seen), seen, images(unseen, seed=1), unseen, seed=0)
        assert score == 1

    def test_it_reads_nothing_where_there_is_nothing(self):
        targets = np.random.default_rng(3).permutation(np.arange(64) % 2)
        blank = images(np.zeros(64, dtype=int))
        other = images(np.zeros(64, dtype=int), seed=1)
        assert 0.25 < reader_score(blank, targets, other, targets, seed=0) < 0.75

    def test_numbers_are_scored_by_r2(self):
        rng = np.random.default_rng(0)
        targets = rng.normal(size=(64, 1)).astype(np.float32)
        maps = rng.normal(size=(64, 2, SIDE, SIDE)).astype(np.float32)
        maps += 3 * targets[..., None, None]
        maps = torch.from_numpy(maps)
        score = reader_score(maps[:48], targets[:48], maps[48:], targets[48:], seed=0)
        assert 0.7 < score <= 1

    def test_the_seed_decides_and_the_global_stream_is_left_alone(self):
        targets = np.arange(12) % 2
        maps = images(np.zeros(12, dtype=int))
        torch.manual_seed(5)
        expected = torch.rand(3)
        torch.manual_seed(5)
        scores = [reader_score(maps, targets, maps, targets, seed=0) for _ in range(2)]
        assert scores[0] == scores[1]
        assert torch.equal(torch.rand(3), expected)


class TestPooledMaps:
    def test_every_series_gives_images_of_one_size(self, run):
        series = cut(two_classes(cases=5)[0])
        pooled = pooled_maps(run.model, run.task.processor, series)
        assert pooled.shape == (2, 5, 2, SIDE, SIDE)

    @pytest.mark.parametrize("show", ["probabilities", "map"])
    def test_they_keep_the_mean_of_the_map(self, run, show):
        series = list(two_classes(cases=2)[0])  # 6 steps, which divide SIDE
        pooled = pooled_maps(run.model, run.task.processor, series, show)
        chain = chain_of_series(run.model, run.task.processor, series[1])
        layers = chain.maps if show == "map" else 6 * chain.probabilities
        assert_allclose(pooled[:, 1].mean((-2, -1)), layers.mean((-2, -1)), rtol=1e-4, atol=1e-6)
        assert_allclose(pooled[0, 1, 0, 0, 0], layers[0, 0, 0, 0], rtol=1e-5)

    def test_only_probabilities_and_maps_can_be_shown(self, run):
        with one_sentence("show", "'maps'"):
            pooled_maps(run.model, run.task.processor, two_classes()[0], "maps")


class TestMapQuality:
    def test_there_is_a_row_for_each_layer_and_seed(self, run):
        found = map_quality(
            run.model, run.task.processor, labelled(), labelled(cases=10, seed=1), seeds=(0, 7)
        )
        assert found[["layer", "seed"]].to_numpy().tolist() == [[1, 0], [1, 7], [2, 0], [2, 7]]
        assert found["score"].between(0, 1).all()
        assert (found["chance"] == 0.5).all()

    def test_chance_is_the_share_of_the_commonest_training_class(self, run):
        train_part, test_part = labelled(), labelled(cases=10, seed=1)
        train_part = LabelledSeries(
            train_part.series[:8], np.array([1] * 6 + [0] * 2)
        )  # the commonest is 1
        test_part = LabelledSeries(test_part.series, np.array([1] * 3 + [0] * 7))
        found = map_quality(run.model, run.task.processor, train_part, test_part, seeds=(0,))
        assert found["chance"].unique() == pytest.approx([0.3])

    def test_a_regression_is_scored_against_the_mean(self, tmp_path):
        data = write_npz(tmp_path / "data.npz", levels)
        run = train(small_recipe(data, tmp_path / "run", kind="regression", epochs=1))
        parts = labelled(levels), labelled(levels, cases=10, seed=1)
        found = map_quality(run.model, run.task.processor, *parts, seeds=(0,))
        assert len(found) == 2
        assert np.isfinite(found["score"]).all()
        assert (found["chance"] <= 0).all()

    def test_series_without_targets_are_told(self, run):
        with one_sentence("targets"):
            map_quality(
                run.model, run.task.processor, labelled(), LabelledSeries(labelled().series)
            )
