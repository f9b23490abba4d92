import numpy as np
import pytest

from evolving_attention.tasks.glue_metrics import measure
from evolving_attention.tasks.glue_tasks import GLUE, describe

OFFICIAL = {
    "CoLA": ["matthews"],
    "SST-2": ["accuracy"],
    "MRPC": ["accuracy", "f1"],
    "STS-B": ["pearson", "spearman"],
    "QQP": ["accuracy", "f1"],
    "MNLI": ["accuracy"],
    "QNLI": ["accuracy"],
    "RTE": ["accuracy"],
    "WNLI": ["accuracy"],
    "AX": ["matthews"],
}


def test_every_task_has_its_official_metrics():
    assert {name: list(task.metrics) for name, task in GLUE.items()} == OFFICIAL


def test_metrics_of_classes_are_those_worked_out_by_hand():
    targets = np.array(["1", "1", "1", "0", "0", "0", "0", "1"])
    predicted = np.array(["1", "1", "0", "0", "0", "1", "0", "0"])
    # true positives 2, false negatives 2, true negatives 3, false positives 1
    matthews = (2 * 3 - 1 * 2) / np.sqrt(3 * 4 * 4 * 5)
    assert measure(describe("CoLA"), targets, predicted)["matthews"] == pytest.approx(matthews)
    figures = measure(describe("MRPC"), targets, predicted)
    assert figures["accuracy"] == 5 / 8
    assert figures["f1"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 2))
    assert figures["score"] == pytest.approx((figures["accuracy"] + figures["f1"]) / 2)


def test_correlations_are_of_values_and_of_ranks():
    targets = np.array([0.0, 1.0, 2.0, 3.0])
    figures = measure(describe("STS-B"), targets, np.array([0.0, 0.1, 0.2, 5.0]))
    assert figures["spearman"] == pytest.approx(1.0)
    assert 0.7 < figures["pearson"] < 0.9


@pytest.mark.filterwarnings("error")
def test_predictions_that_are_all_the_same_score_nothing():
    assert measure(describe("STS-B"), np.array([1.0, 2.0]), np.array([3.0, 3.0]))["score"] == 0.0
    ones = np.array(["1", "1"])
    assert measure(describe("CoLA"), np.array(["0", "1"]), ones)["matthews"] == 0.0
    assert measure(describe("CoLA"), ones, ones)["matthews"] == 0.0
    assert measure(describe("QQP"), ones, np.array(["0", "0"]))["f1"] == 0.0


def test_parts_are_measured_apart():
    targets = np.array(["entailment", "neutral", "neutral", "neutral"])
    predicted = np.array(["entailment", "neutral", "neutral", "entailment"])
    parts = np.array(["matched", "matched", "mismatched", "mismatched"])
    figures = measure(describe("MNLI"), targets, predicted, parts)
    assert figures == {"score": 0.75, "accuracy": 1.0, "accuracy_mismatched": 0.5}
