"""The report: tables, picture, honesty about small samples."""

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from evolving_attention.comparison import report
from evolving_attention.comparison.tables import gains_table, markdown, scores_table
from tests.comparison.helpers import table, write_comparison


def many(data_sets, variants=("own", "twin", "rocket"), seeds=3, metric="accuracy", **options):
    """Scores in which the first variant is the best, then the second."""
    rng = np.random.default_rng(0)
    return table(
        *(
            (f"D{data}", variant, seed, 0.8 - 0.1 * place + 0.01 * rng.normal())
            for data in range(data_sets)
            for place, variant in enumerate(variants)
            for seed in range(seeds)
        ),
        metric=metric,
        **options,
    )


def test_a_table_in_markdown():
    assert markdown(["a", "b"], [["x", "1"]]) == "| a | b |\n| --- | ---: |\n| x | 1 |"


class TestTheTableOfScores:
    def test_has_means_and_deviations_over_seeds(self):
        results = table(("A", "own", 0, 0.8), ("A", "own", 1, 0.9), ("A", "twin", 0, 0.7))
        assert scores_table(results, "accuracy").splitlines()[2:] == [
            "| A | 0.8500 ± 0.0707 | 0.7000 |"
        ]

    def test_ends_in_means_and_ranks_over_what_all_have_finished(self):
        rows = [("A", "own", 0, 0.8), ("A", "twin", 0, 0.6), ("B", "own", 0, 0.5)]
        rows += [("C", "own", 0, 0.6), ("C", "twin", 0, 0.7)]
        assert scores_table(table(*rows), "accuracy").splitlines()[3:] == [
            "| B | 0.5000 | – |",
            "| C | 0.6000 | 0.7000 |",
            "| mean of 2 | 0.7000 | 0.6500 |",
            "| mean rank of 2 | 1.50 | 1.50 |",
        ]

    def test_has_no_mean_of_errors_in_different_units(self):
        text = scores_table(many(3, metric="rmse", kind="regression"), "rmse")
        assert "mean of" not in text
        assert "| mean rank of 3 | 3.00 | 2.00 | 1.00 |" in text


class TestTheTableOfGains:
    def test_says_how_many_data_sets_and_seeds_there_are(self):
        text = gains_table(many(6), ["accuracy"], "own")
        twin = next(line for line in text.splitlines() if line.startswith("| twin"))
        assert "| 6 × 3 |" in twin
        assert "| 6 / 0 / 0 |" in twin
        assert "| 0.031 |" in twin

    def test_of_a_single_run_has_neither_interval_nor_test(self):
        results = table(("A", "own", 0, 0.9), ("A", "twin", 0, 0.8))
        assert gains_table(results, ["accuracy"], "own").splitlines()[2] == (
            "| twin | accuracy (points) | +10.00 | – | 1 / 0 / 0 | – | 1 × 1 |"
        )

    def test_leaves_out_what_has_no_figures(self):
        results = many(2).assign(log_loss=np.nan)
        assert "log loss" not in gains_table(results, ["accuracy", "log_loss"], "own")


class TestThePicture:
    @pytest.mark.parametrize("metric", ["accuracy", "rmse"])
    def test_is_drawn_for_six_data_sets_and_three_variants(self, metric, tmp_path):
        kind = "classification" if metric == "accuracy" else "regression"
        write_comparison(
            tmp_path, many(6, metric=metric, kind=kind), variants=["own", "twin", "rocket"]
        )
        report(tmp_path)
        picture = matplotlib.image.imread(tmp_path / "ranks.png")
        assert picture[..., :3].min() < 0.5 < picture[..., :3].max()
        assert "(ranks.png)" in (tmp_path / "README.md").read_text()

    @pytest.mark.parametrize(
        ("results", "found"),
        [
            (many(5), "data sets: 5, variants: 3"),
            (many(6, variants=("own", "twin")), "data sets: 6, variants: 2"),
            (many(6).assign(accuracy=0.5), "all scores are alike"),
        ],
        ids=["data", "variants", "alike"],
    )
    def test_is_left_out_with_a_note_where_it_would_tell_nothing(self, results, found, tmp_path):
        write_comparison(tmp_path, results, variants=list(results["variant"].unique()))
        report(tmp_path)
        assert not (tmp_path / "ranks.png").exists()
        assert found in (tmp_path / "README.md").read_text()

    def test_takes_two_variants_that_are_the_same(self, tmp_path):
        results = many(6)
        twin = results.query("variant == 'twin'").assign(variant="same")
        write_comparison(
            tmp_path, pd.concat([results, twin]), variants=["own", "twin", "rocket", "same"]
        )
        report(tmp_path)
        assert (tmp_path / "ranks.png").exists()


class TestTheFolder:
    def test_every_figure_of_the_tables_is_in_csv_files_too(self, tmp_path):
        write_comparison(tmp_path, many(3), variants=["own", "twin", "rocket"])
        results = report(tmp_path)
        assert len(results) == len(pd.read_csv(tmp_path / "results.csv")) == 27
        summary = pd.read_csv(tmp_path / "summary.csv")
        assert len(summary) == 9
        assert set(summary["runs"]) == {3}
        gains = pd.read_csv(tmp_path / "gains.csv")
        assert list(gains["against"]) == ["twin", "rocket"]
        assert f"{gains['gain'][0]:+.2f}" in (tmp_path / "README.md").read_text()

    def test_nothing_but_failures_is_reported_too(self, tmp_path):
        results = many(1, variants=("own",)).assign(
            accuracy=np.nan, status="failed", message="failed: it broke"
        )
        write_comparison(tmp_path, results, variants=["own"])
        assert set(report(tmp_path)["status"]) == {"failed"}
        text = (tmp_path / "README.md").read_text()
        assert "- D0, own, seed 0, 1, 2: failed: it broke" in text
