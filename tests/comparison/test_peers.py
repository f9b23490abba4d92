"""Peers: what they are given, how they are measured."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import accuracy_score, log_loss, root_mean_squared_error

from evolving_attention.comparison import PEERS, compare, peers
from evolving_attention.comparison.peers import ESTIMATORS, equal_series, run_peer
from evolving_attention.recipe import DataOptions, TimeSeriesRecipe
from tests.small import cut, levels, one_sentence, small_recipe, two_classes, write_npz, write_ts


class Dummy:
    """Takes series where scikit-learn's dummies take tables; notes what it was given."""

    def __init__(self, estimator, **options):
        self.estimator, self.options = estimator, options

    def fit(self, X, y):
        assert X.ndim == 3
        self.estimator.fit(X[:, 0], y)

    def predict(self, X):
        return self.estimator.predict(X[:, 0])

    def predict_proba(self, X):
        return self.estimator.predict_proba(X[:, 0])


@pytest.fixture
def made(monkeypatch):
    """Put dummies in the place of aeon's estimators; return those that are made."""
    made = []

    def make(estimator):
        def call(**options):
            made.append(Dummy(estimator(), **options))
            return made[-1]

        return call

    monkeypatch.setitem(
        ESTIMATORS,
        "rocket",
        {
            "classification": make(lambda: DummyClassifier(strategy="prior")),
            "regression": make(DummyRegressor),
        },
    )
    monkeypatch.setitem(
        ESTIMATORS, "quant", {"classification": make(lambda: DummyClassifier(strategy="prior"))}
    )
    return made


def recipe(data, kind="classification", seed=0):
    return TimeSeriesRecipe(
        task=f"time_series_{kind}", data=DataOptions(train=str(data)), seed=seed
    )


class TestSeries:
    def test_of_equal_lengths_stay_as_they_are(self):
        X, _ = two_classes(steps=12)
        train, test, note = equal_series(list(X), list(X[:3]))
        assert_array_equal(train, X)
        assert_array_equal(test, X[:3])
        assert note == ""

    def test_take_the_length_of_the_longest_in_training(self):
        short, long, longer = np.ones((2, 11)), np.ones((2, 13)), np.ones((2, 15))
        train, test, note = equal_series([short, long], [longer, short])
        assert train.shape == test.shape == (2, 2, 13)
        assert_array_equal(train[0, :, 11:], 0)
        assert_array_equal(test[0], longer[:, :13])
        assert "13 steps" in note

    def test_too_short_for_the_peers_are_padded(self):
        train, _, note = equal_series([np.ones((1, 8))] * 2, [np.ones((1, 8))])
        assert train.shape == (2, 1, 10)
        assert "10 steps" in note

    def test_lose_their_missing_values(self):
        gap, empty = np.arange(20.0).reshape(2, 10), np.ones((2, 10))
        gap[0, 4] = np.nan
        empty[1] = np.nan
        train, test, note = equal_series([gap, empty], [gap])
        assert train[0, 0, 4] == np.nanmean(gap[0])
        assert_array_equal(train[1, 1], 0)
        assert_array_equal(test[0], train[0])
        assert note == "missing values filled with means"

    def test_missing_at_the_end_of_all_channels_are_padding(self):
        padded = np.ones((2, 12))
        padded[:, 10:] = np.nan
        train, _, note = equal_series([padded, np.ones((2, 12))], [np.ones((2, 12))])
        assert_array_equal(train[0, :, 10:], 0)
        assert "means" not in note


class TestFigures:
    def test_of_a_classifier_are_scikit_learns(self, made, tmp_path):
        figures, _ = run_peer("rocket", recipe(write_npz(tmp_path / "data.npz")))
        (_, y), (_, truth) = two_classes(), two_classes(cases=10, seed=1)
        shares = np.tile([np.mean(y == 0), np.mean(y == 1)], (10, 1))
        assert figures["accuracy"] == accuracy_score(truth, shares.argmax(1))
        assert figures["log_loss"] == pytest.approx(log_loss(truth, shares))
        assert figures["train_seconds"] >= 0

    def test_of_a_regressor_are_scikit_learns(self, made, tmp_path):
        data = write_npz(tmp_path / "data.npz", levels)
        figures, _ = run_peer("rocket", recipe(data, "regression"))
        (_, y), (_, truth) = levels(), levels(cases=10, seed=1)
        expected = root_mean_squared_error(truth, np.full(10, y.mean()))
        assert figures["rmse"] == pytest.approx(expected, rel=1e-6)

    def test_certainties_are_no_probabilities(self, made, tmp_path, monkeypatch):
        monkeypatch.setattr(Dummy, "predict_proba", lambda self, X: np.eye(2)[[0] * len(X)])
        figures, _ = run_peer("rocket", recipe(write_npz(tmp_path / "data.npz")))
        assert "accuracy" in figures
        assert "log_loss" not in figures

    def test_are_those_of_the_recipes_seed(self, made, tmp_path):
        data = write_npz(tmp_path / "data.npz")
        run_peer("rocket", recipe(data, seed=3))
        run_peer("quant", recipe(data, seed=4))
        assert made[0].options["random_state"] == 3
        assert made[0].options["n_jobs"] >= 1
        assert made[1].options == {"random_state": 4}  # it takes no n_jobs

    def test_need_a_test_part(self, made, tmp_path):
        data = write_ts(tmp_path / "alone.ts", *two_classes())
        with one_sentence("alone.ts", "test part"):
            run_peer("rocket", recipe(data))


def test_every_peer_has_a_classifier_and_a_regressor_that_can_be_made():
    assert set(ESTIMATORS) == set(PEERS)
    for name in PEERS:
        for kind in ("classification", "regression"):
            assert peers._make(name, recipe("any", kind, seed=5)).random_state == 5


def test_a_comparison_says_what_was_done_to_the_series(made, tmp_path):
    for split, options in (("TRAIN", {}), ("TEST", {"cases": 10, "seed": 1})):
        X, y = two_classes(**options)
        write_ts(tmp_path / f"uneven_{split}.ts", cut(X), y)
    own = small_recipe(tmp_path / "uneven_TRAIN.ts", "unused", epochs=1)
    results = compare(own, tmp_path / "out", against=["rocket"], seeds=2)
    assert set(results["status"]) == {"finished"}
    assert results.query("variant == 'rocket'")["parameters"].isna().all()
    text = (tmp_path / "out/README.md").read_text()
    assert "- uneven, rocket, seed 0, 1: series padded with zeros or truncated to 10 steps" in text


@pytest.mark.slow
@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_aeons_own_estimators_run(name, kind, tmp_path):
    data = write_npz(tmp_path / "data.npz", two_classes if kind == "classification" else levels)
    figures, _ = run_peer(name, recipe(data, kind))
    assert figures["accuracy"] > 0.8 if kind == "classification" else figures["r2"] > 0.5
