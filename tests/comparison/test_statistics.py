"""Statistics against cases that can be worked out by hand."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from evolving_attention.comparison.statistics import (
    bootstrap_interval,
    mean_ranks,
    paired_gains,
    scores_by_data,
    signed_rank_p,
    summarise,
    summarise_gains,
)
from tests.comparison.helpers import table

TWO_BY_TWO = table(
    ("A", "own", 0, 0.9),
    ("A", "own", 1, 0.7),
    ("A", "twin", 0, 0.8),
    ("A", "twin", 1, 0.7),
    ("B", "own", 0, 0.5),
    ("B", "own", 1, 0.5),
    ("B", "twin", 0, 0.6),
    ("B", "twin", 1, 0.6),
)


def test_summary_has_the_mean_and_the_deviation_of_a_sample():
    own = summarise(TWO_BY_TWO).query("data == 'A' and variant == 'own'").iloc[0]
    assert own["runs"] == 2
    assert own["accuracy_mean"] == pytest.approx(0.8)
    assert own["accuracy_sd"] == pytest.approx(0.1 * np.sqrt(2))


def test_a_single_run_has_no_deviation():
    row = summarise(table(("A", "own", 0, 0.9))).iloc[0]
    assert "accuracy_sd" not in row


class TestGains:
    def test_those_of_accuracy_are_points_paired_by_data_and_seed(self):
        gains = paired_gains(TWO_BY_TWO, "accuracy", "own", "twin")
        assert_allclose(gains[("A", 0)], 10)
        assert_allclose(gains[("A", 1)], 0, atol=1e-9)
        assert_allclose(gains[("B", 0)], -10)

    def test_those_of_an_error_are_per_cent_of_the_others(self):
        results = table(("A", "own", 0, 3.0), ("A", "twin", 0, 4.0), metric="rmse")
        assert_allclose(paired_gains(results, "rmse", "own", "twin"), [25])

    def test_those_of_the_log_loss_are_in_its_units(self):
        results = table(("A", "own", 0, 0.5), ("A", "twin", 0, 0.3), metric="log_loss")
        assert_allclose(paired_gains(results, "log_loss", "own", "twin"), [-0.2])

    def test_a_run_without_its_partner_does_not_count(self):
        results = table(("A", "own", 0, 0.9), ("A", "own", 1, 0.1), ("A", "twin", 0, 0.8))
        assert list(paired_gains(results, "accuracy", "own", "twin").index) == [("A", 0)]

    def test_a_variant_that_has_not_run_has_none(self):
        assert paired_gains(TWO_BY_TWO, "accuracy", "own", "other").empty

    def test_the_summary_averages_data_sets_whatever_their_seeds(self):
        # A: +10, 0 and B: -10, -10, -10: the mean of 5 and -10, not of five runs
        results = table(
            *TWO_BY_TWO[["data", "variant", "seed", "accuracy"]].itertuples(index=False),
            ("B", "own", 2, 0.5),
            ("B", "twin", 2, 0.6),
        )
        row = summarise_gains(results, "accuracy", "own").iloc[0]
        assert row["gain"] == pytest.approx(-2.5)
        assert (row["data_sets"], row["pairs"]) == (2, 5)
        assert (row["wins"], row["draws"], row["losses"]) == (1, 0, 1)
        assert np.isnan(row["p"])

    def test_equal_scores_are_a_draw(self):
        results = table(("A", "own", 0, 0.3), ("A", "twin", 0, 0.1 + 0.2))
        row = summarise_gains(results, "accuracy", "own").iloc[0]
        assert (row["wins"], row["draws"], row["losses"]) == (0, 1, 0)


class TestTheBootstrapInterval:
    def test_of_one_data_set_is_that_of_its_seeds(self):
        # the mean of two draws from 0 and 1 is 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4
        assert bootstrap_interval([np.array([0.0, 1.0])]) == (0.0, 1.0)
        assert bootstrap_interval([np.array([0.0, 1.0])], level=0.4) == (0.5, 0.5)

    def test_of_data_sets_with_one_seed_is_that_of_the_data_sets(self):
        groups = [np.array([0.0]), np.array([1.0])]
        assert bootstrap_interval(groups) == (0.0, 1.0)
        assert bootstrap_interval(groups, level=0.4) == (0.5, 0.5)

    def test_of_values_that_are_all_alike_has_no_width(self):
        assert bootstrap_interval([np.full(3, 2.0), np.full(5, 2.0)]) == (2.0, 2.0)

    def test_draws_values_anew_for_every_time_a_group_is_drawn(self):
        # Both are the wide group with probability 1/4. Then the mean is 1 where all four draws are,
        # 1/64 in all; were the two draws of values one and the same, it would be 1/16.
        groups = [np.array([-1.0, 1.0]), np.array([0.0, 0.0])]
        assert bootstrap_interval(groups, level=0.95) == (-0.5, 0.5)
        assert bootstrap_interval(groups, level=0.98) == (-1.0, 1.0)

    def test_of_a_normal_sample_is_as_wide_as_theory_says(self):
        sample = np.random.default_rng(0).normal(size=400)
        low, high = bootstrap_interval([sample])
        half = 1.96 * sample.std() / 20
        assert_allclose([low, high], sample.mean() + np.array([-half, half]), atol=0.005)

    def test_of_a_single_value_is_none(self):
        assert np.isnan(bootstrap_interval([np.array([1.0])])).all()

    def test_is_the_same_with_the_same_seed(self):
        groups = [np.arange(5.0), np.arange(3.0)]
        assert bootstrap_interval(groups) == bootstrap_interval(groups)
        assert bootstrap_interval(groups) != bootstrap_interval(groups, seed=1, draws=100)


class TestRanks:
    def test_the_best_is_first_and_ties_share(self):
        scores = scores_by_data(
            table(
                ("A", "x", 0, 0.9),
                ("A", "y", 0, 0.9),
                ("A", "z", 0, 0.1),
                ("B", "x", 0, 0.2),
                ("B", "y", 0, 0.5),
                ("B", "z", 0, 0.3),
            ),
            "accuracy",
        )
        assert mean_ranks(scores, "accuracy").to_dict() == {"x": 2.25, "y": 1.25, "z": 2.5}
        assert mean_ranks(scores, "rmse").to_dict() == {"x": 1.75, "y": 2.75, "z": 1.5}

    def test_a_data_set_that_one_has_not_finished_does_not_count(self):
        rows = [("A", "x", 0, 0.9), ("A", "y", 0, 0.1), ("B", "x", 0, 0.1)]
        ranks = mean_ranks(scores_by_data(table(*rows), "accuracy"), "accuracy")
        assert ranks.to_dict() == {"x": 1.0, "y": 2.0}


class TestTheSignedRankTest:
    def test_six_gains_of_one_sign_have_the_smallest_p_there_is(self):
        assert signed_rank_p(np.arange(1.0, 7.0)) == pytest.approx(2 / 2**6)

    def test_five_cannot_tell(self):
        assert np.isnan(signed_rank_p(np.arange(1.0, 6.0)))

    def test_no_difference_at_all_is_1(self):
        assert signed_rank_p(np.zeros(8)) == 1.0
