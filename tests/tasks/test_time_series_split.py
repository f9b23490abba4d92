from collections import Counter

import numpy as np
import pytest
from numpy.testing import assert_allclose

from evolving_attention.recipe import ProcessingOptions
from evolving_attention.tasks.time_series import TimeSeriesTask
from evolving_attention.tasks.time_series_batches import collate
from evolving_attention.tasks.time_series_data import LabelledSeries
from tests.tasks.helpers import SMALL, labelled, one_sentence, split_task, waves

NAN = float("nan")


def held_out(data, validation, seed=0, kind="classification"):
    """Return the targets that train and those that validate."""
    task = TimeSeriesTask(kind)
    parts = task.split(data, validation, seed)
    decoders = {
        "classification": lambda numbers: task.processor.class_labels[numbers],
        "regression": task.processor.decode,
    }
    return [None if part is None else decoders[kind](part.targets).tolist() for part in parts]


def test_the_split_is_stratified():
    train, validation = held_out(labelled(["a"] * 10 + ["b"] * 30 + ["c"] * 60), 0.2)
    assert Counter(train) == {"a": 8, "b": 24, "c": 48}
    assert Counter(validation) == {"a": 2, "b": 6, "c": 12}


def test_the_split_depends_on_the_seed_and_on_nothing_else():
    data = waves(30)
    first = held_out(data, 0.3, seed=0, kind="regression")
    np.random.seed(5)
    assert held_out(data, 0.3, seed=0, kind="regression") == first
    assert held_out(data, 0.3, seed=1, kind="regression") != first


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_every_series_trains_or_validates_with_its_own_target(kind):
    numbers = np.repeat(np.arange(10.0), 3)
    data = LabelledSeries([np.full((1, 4), number) for number in numbers], numbers)
    task = TimeSeriesTask(kind, ProcessingOptions("none", None))
    parts = task.split(data, 0.4, 0)
    pairs = []
    for part in parts:
        decoded = (
            task.processor.class_labels[part.targets]
            if kind == "classification"
            else task.processor.decode(part.targets)
        )
        pairs += [
            (inputs[0, 0], target) for inputs, target in zip(part.inputs, decoded, strict=True)
        ]
    assert [len(part) for part in parts] == [18, 12]
    assert_allclose(sorted(pairs), np.repeat(np.arange(10.0), 3)[:, None].repeat(2, 1), atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_a_class_with_one_example_trains(seed):
    train, validation = held_out(labelled([*"aaaa", *"bbbb", "c", "d"]), 0.5, seed)
    assert {"c", "d"} <= set(train)
    assert Counter(validation) == {"a": 2, "b": 2}


@pytest.mark.parametrize("seed", range(5))
def test_every_class_trains_where_fewer_are_held_out_than_there_are_classes(seed):
    train, validation = held_out(labelled("aabbccddee"), 0.2, seed)
    assert len(validation) == 2
    assert set(train) == set("abcde")


@pytest.mark.parametrize("validation", [0.0, 0.01])
def test_without_a_validation_part_everything_trains_in_order(validation):
    labels = list("abbaabab")
    assert held_out(labelled(labels), validation) == [labels, None]


def test_classes_of_one_example_each_all_train():
    assert held_out(labelled("abc"), 0.5) == [["a", "b", "c"], None]


def test_a_regression_is_split_by_its_share():
    data = waves(50)
    train, validation = held_out(data, 0.3, kind="regression")
    assert (len(train), len(validation)) == (35, 15)
    assert_allclose(sorted(train + validation), sorted(data.targets), rtol=1e-5)


@pytest.mark.parametrize("mode", ["robust", "standard"])
def test_statistics_come_from_the_training_part_alone(mode):
    series = [np.random.default_rng(length).normal(size=(2, length)) for length in range(5, 25)]
    series[3][1] = NAN
    data = LabelledSeries(series, np.array(["a", "b"] * 10))
    task = TimeSeriesTask("classification", ProcessingOptions(mode))
    _, validation = task.split(data, 0.25, 0)
    expected = task.processor.to_dict()
    apart = [len(inputs) for inputs in validation.inputs]
    assert len(apart) == 5
    for values in series:
        if values.shape[1] in apart:
            values *= 1e6
    task.split(data, 0.25, 0)
    assert task.processor.to_dict() == expected


def test_regression_statistics_come_from_the_training_part_alone():
    data = waves(20)
    task = TimeSeriesTask("regression")
    _, validation = task.split(data, 0.25, 0)
    before = task.processor.target_mean, task.processor.target_scale
    apart = np.isclose(data.targets[:, None], task.processor.decode(validation.targets)).any(1)
    assert apart.sum() == 5
    data.targets[apart] += 1e6
    task.split(data, 0.25, 0)
    assert (task.processor.target_mean, task.processor.target_scale) == before


def test_classes_are_known_from_all_of_the_data():
    task = split_task(labelled("aabbccddee"), validation=0.8)
    assert task.processor.classes == list("abcde")


def test_the_longest_series_counts_wherever_it_falls():
    data = labelled("aabbaabb")
    for index in range(len(data.series)):
        longer = [*data.series]
        longer[index] = np.zeros((1, 50))
        task = split_task(LabelledSeries(longer, data.targets), validation=0.25)
        assert task.processor.max_length == 50


def test_what_pads_the_series_does_not_count_as_length():
    data = labelled("aabb")
    data.series = [np.pad(s, ((0, 0), (0, 600)), constant_values=NAN) for s in data.series]
    task = split_task(data)
    assert task.processor.max_length == 6
    assert task.model_config(SMALL).patch_size == 1


def test_data_without_targets_are_told_in_one_sentence():
    with one_sentence("targets"):
        split_task(LabelledSeries([np.zeros((1, 3))] * 4))


def test_data_of_one_class_are_told_in_one_sentence():
    with one_sentence("2 classes", "cat"):
        split_task(labelled(["cat"] * 5))


def test_a_class_without_a_name_is_told_in_one_sentence():
    with one_sentence("missing"):
        split_task(labelled([0, NAN] * 5), validation=0.2)


@pytest.mark.parametrize("targets", [["a", "b", "c", "d"], [1, 2, NAN, 4]], ids=str)
def test_targets_that_are_no_numbers_are_told_in_one_sentence(targets):
    with one_sentence("target"):
        split_task(labelled(targets), "regression")


def test_an_unknown_kind_is_told_in_one_sentence():
    with one_sentence("'forecasting'", "classification", "regression"):
        split_task(labelled([1, 2, 3, 4]), "forecasting")


def test_an_unknown_normalisation_is_told_in_one_sentence():
    with one_sentence("normalization", "robust"):
        split_task(labelled("abab"), processing=ProcessingOptions("minmax"))


# Class weights


def class_weights(class_weight, labels):
    return split_task(labelled(labels), class_weight=class_weight).model_config({}).class_weights


def test_without_class_weights_none_are_used():
    assert class_weights(None, "aab") is None


def test_balanced_class_weights_are_inverse_to_the_frequencies():
    assert_allclose(class_weights("balanced", "baabaaaa"), [8 / (2 * 6), 8 / (2 * 2)])


def test_balanced_class_weights_count_the_training_part_alone():
    task = split_task(labelled("a" * 20 + "b" * 5 + "c"), validation=0.4, class_weight="balanced")
    weights = task.model_config({}).class_weights
    assert_allclose(weights, [16 / (3 * 12), 16 / (3 * 3), 16 / (3 * 1)])


@pytest.mark.parametrize(
    ("labels", "weights"),
    [
        ("ab", {"b": 3}),
        ([7, 9], {9: 3, 7: 1.0}),
        ([7, 9], {np.int64(9): 3}),
        ([False, True], {True: 3}),
        (["a", "b"], {np.str_("b"): np.float32(3)}),
    ],
)
def test_class_weights_may_be_named_one_by_one(labels, weights):
    assert class_weights(weights, list(labels) * 2) == [1, 3]


def test_weights_of_unknown_classes_are_told_in_one_sentence():
    with one_sentence("class_weight", "lynx"):
        class_weights({"cat": 1, "lynx": 2}, ["cat", "dog"])


@pytest.mark.parametrize(
    "weights",
    ["equal", [1, 2], {"a": "x"}, {"a": -1}, {"a": NAN}, {"a": 0, "b": 0}],
    ids=str,
)
def test_class_weights_that_cannot_work_are_told_in_one_sentence(weights):
    with one_sentence("class_weight"):
        class_weights(weights, "ab")


def test_class_weights_reach_the_loss():
    task = split_task(labelled("aab"), class_weight={"a": 1, "b": 5})
    model = task.build_model(SMALL).eval()
    batch = collate([{"input_values": np.zeros((4, 1), np.float32), "labels": n} for n in (0, 1)])
    output = model(**batch)
    losses = -output.logits.detach().log_softmax(1)[[0, 1], [0, 1]]
    assert abs(losses[0] - losses[1]) > 1e-3
    expected = (losses[0] + 5 * losses[1]) / 6
    assert_allclose(output.loss.item(), expected, rtol=1e-5)
