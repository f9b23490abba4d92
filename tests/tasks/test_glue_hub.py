import sys
from types import ModuleType

import pytest

from evolving_attention.tasks.glue_data import load_dev, load_test, load_train
from tests.tasks.helpers import one_sentence


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for the Hub: columns by configuration and split, as the data set's card has."""
    asked = []
    columns = {
        ("rte", "train"): {"sentence1": ["a "], "sentence2": ["b"], "label": [1], "idx": [0]},
        ("rte", "test"): {"sentence1": ["a"], "sentence2": ["b"], "label": [-1], "idx": [0]},
        ("stsb", "train"): {"sentence1": ["a"], "sentence2": ["b"], "label": [3.8], "idx": [0]},
        ("mnli", "validation_matched"): {"premise": ["a"], "hypothesis": ["b"], "label": [2]},
        ("mnli", "validation_mismatched"): {"premise": ["c"], "hypothesis": ["d"], "label": [0]},
        ("mnli", "test_matched"): {"premise": ["a"], "hypothesis": ["b"], "label": [-1]},
        ("mnli", "test_mismatched"): {"premise": ["a"], "hypothesis": ["b"], "label": [-1]},
        ("ax", "test"): {"premise": ["a"], "hypothesis": ["b"], "label": [-1]},
    }

    def load_dataset(path, name, split):
        asked.append(path)
        if (name, split) not in columns:
            raise ConnectionError("Couldn't reach the Hub. Try again.")
        return columns[name, split]

    module = ModuleType("datasets")
    module.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", module)
    return asked


def test_labels_from_the_hub_are_those_of_the_files(hub):
    train = load_train("RTE")
    assert (train.texts, train.targets.tolist()) == ([("a", "b")], ["not_entailment"])
    assert load_train("STS-B").targets.tolist() == [3.8]
    assert hub == ["nyu-mll/glue"] * 2


def test_parts_and_unlabelled_splits_come_from_the_hub_too(hub):
    dev = load_dev("MNLI")
    assert dev.parts.tolist() == ["matched", "mismatched"]
    assert dev.targets.tolist() == ["contradiction", "entailment"]
    tests = load_test("MNLI")
    assert list(tests) == ["MNLI-m.tsv", "MNLI-mm.tsv", "AX.tsv"]
    assert all(part.targets is None for part in tests.values())


def test_without_a_network_the_message_says_what_else_there_is(hub):
    with one_sentence("CoLA", "nyu-mll/glue", "Couldn't reach", "--data.train PATH/CoLA"):
        load_train("CoLA")


def test_a_missing_package_is_told_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with one_sentence("datasets is not installed", "evolving-attention[text]"):
        load_train("CoLA")
