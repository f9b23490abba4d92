from collections import Counter

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import accuracy_score, f1_score, log_loss
from transformers import EvalPrediction

from evolving_attention.models.ea_dc_transformer import (
    EADCTransformerConfig,
    EADCTransformerForClassification,
    EADCTransformerForRegression,
)
from evolving_attention.recipe import ProcessingOptions
from evolving_attention.tasks.time_series import (
    TimeSeriesTask,
    _batches_by_length,
    collate,
    model_options,
    predict_logits,
)
from evolving_attention.tasks.time_series_data import LabelledSeries
from tests.tasks.helpers import SMALL, one_sentence, sines_and_noise, waves

NAN = float("nan")


def labelled(targets, steps=6):
    """A random series for each target."""
    rng = np.random.default_rng(0)
    targets = np.array(list(targets))
    return LabelledSeries([rng.normal(size=(1, steps)) for _ in targets], targets)


def split_task(data, kind="classification", validation=0.0, **options):
    task = TimeSeriesTask(kind, **options)
    task.split(data, validation, 0)
    return task


# Batches


def test_a_batch_is_padded_to_its_longest_series():
    examples = [
        {"input_values": np.full((length, 2), length, dtype=np.float32), "labels": np.int64(length)}
        for length in (3, 1, 4)
    ]
    batch = collate(examples)
    assert batch["input_values"].shape == (3, 4, 2)
    assert batch["input_values"].dtype == torch.float32
    assert batch["input_values"][:, :, 1].tolist() == [[3, 3, 3, 0], [1, 0, 0, 0], [4] * 4]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 0, 0, 0], [1] * 4]
    assert batch["attention_mask"].dtype == torch.int64
    assert (batch["labels"].dtype, batch["labels"].tolist()) == (torch.int64, [3, 1, 4])


def test_a_batch_without_labels_has_none():
    assert set(collate([{"input_values": np.zeros((2, 1), dtype=np.float32)}])) == {
        "input_values",
        "attention_mask",
    }


def test_a_batch_of_regression_targets_keeps_them_apart():
    training, _ = TimeSeriesTask("regression").split(waves(6, targets=2), 0.0, 0)
    batch = collate([training[index] for index in range(len(training))])
    assert (batch["labels"].dtype, batch["labels"].shape) == (torch.float32, (6, 2))


@pytest.mark.parametrize("patch_size", [1, 4])
def test_batches_by_length_cover_every_series_once(patch_size):
    lengths = np.random.default_rng(0).integers(1, 3000, size=500).tolist()
    batches = _batches_by_length(lengths, patch_size)
    assert sorted(index for batch in batches for index in batch) == list(range(500))
    ordered = [lengths[index] for batch in batches for index in batch]
    assert ordered == sorted(ordered)
    for batch in batches:
        entries = sum((max(lengths[index] for index in batch) / patch_size) ** 2 for _ in batch)
        assert len(batch) == 1 or (len(batch) <= 64 and entries <= 2**22)


def test_batches_by_length_are_no_smaller_than_they_must_be():
    assert [len(batch) for batch in _batches_by_length([10] * 130, 1)] == [64, 64, 2]
    assert [len(batch) for batch in _batches_by_length([1024] * 9, 1)] == [4, 4, 1]
    assert [len(batch) for batch in _batches_by_length([4096] * 9, 4)] == [4, 4, 1]
    assert _batches_by_length([10**6] * 2, 1) == [[0], [1]]


# The split


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


# The network


@pytest.mark.parametrize("steps", [1, 100, 256, 257, 1000, 2500])
def test_patches_are_as_long_as_few_enough_positions_need(steps):
    config = split_task(labelled("ab", steps)).model_config({})
    assert config.max_positions <= 256
    assert config.patch_size == 1 or -(-steps // (config.patch_size - 1)) > 256
    assert split_task(labelled("ab", steps)).model_config({"patch_size": "auto"}) == config


def test_a_patch_size_can_be_set():
    assert split_task(labelled("ab", 1000)).model_config({"patch_size": 2}).max_positions == 500


def test_a_classifier_knows_its_data():
    task = split_task(sines_and_noise(channels=3, steps=20))
    model = task.build_model(SMALL)
    assert isinstance(model, EADCTransformerForClassification)
    assert (model.config.input_size, model.config.max_length) == (3, 20)
    assert model.config.id2label == {0: "noise", 1: "sine"}
    assert model.config.label2id == {"noise": 0, "sine": 1}
    assert model(torch.zeros(5, 20, 3)).logits.shape == (5, 2)


@pytest.mark.parametrize(
    ("labels", "names"), [([3, 1], ["1", "3"]), ([True, False], ["False", "True"])]
)
def test_class_names_of_a_classifier_are_text(labels, names):
    config = split_task(labelled(labels)).model_config({})
    assert config.id2label == dict(enumerate(names))


@pytest.mark.parametrize("targets", [1, 2])
def test_a_regressor_knows_its_data(targets):
    model = split_task(waves(targets=targets), "regression").build_model(SMALL)
    assert isinstance(model, EADCTransformerForRegression)
    assert model(torch.zeros(5, 20, 1)).logits.shape == (5, targets)


def test_options_reach_the_network():
    options = SMALL | {"alpha": 0.1, "pooling": "max", "dilated": False}
    config = split_task(labelled("ab")).build_model(options).config
    assert {name: getattr(config, name) for name in options} == options


def test_the_options_given_are_not_modified():
    options = dict(SMALL)
    split_task(labelled("ab")).build_model(options)
    assert options == SMALL


def test_the_options_of_a_network_make_it_again():
    task = split_task(labelled("ab", 1000))
    config = task.model_config(SMALL)
    assert task.model_config(model_options(config)) == config
    assert task.model_config(model_options()) == task.model_config({})


def test_an_unknown_option_suggests_the_nearest():
    with one_sentence("'hiden_size'", "did you mean 'hidden_size'?"):
        split_task(labelled("ab")).build_model({"hiden_size": 8})


def test_an_option_like_no_other_lists_what_there_is():
    with one_sentence("'zzz'", "hidden_size", "pooling", "alpha"):
        split_task(labelled("ab")).build_model({"zzz": 8})


@pytest.mark.parametrize("name", ["input_size", "max_length", "class_weights"])
def test_what_follows_from_the_data_is_no_option(name):
    assert hasattr(EADCTransformerConfig(), name)
    with one_sentence(f"no option {name!r}"):
        split_task(labelled("ab")).build_model({name: 3})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("hidden_size", 0),
        ("hidden_size", "wide"),
        ("hidden_size", 8.5),
        ("alpha", 2),
        ("alpha", NAN),
        ("pooling", "median"),
        ("map_kernel_size", 2),
        ("map_activation", 3),
        ("patch_size", 0),
        ("patch_size", "automatic"),
        ("patch_size", None),
        ("hidden_dropout", 1.5),
        ("label_smoothing", -1),
    ],
)
def test_a_wrong_value_of_an_option_is_told_in_one_sentence(option, value):
    words = ("kernel_size",) if option == "map_kernel_size" else (option,)
    with one_sentence(*words, value):
        split_task(labelled("ab")).build_model(SMALL | {option: value})


@pytest.mark.parametrize(
    ("option", "value"),
    [("hidden_size", 7), ("num_attention_heads", 3), ("key_ratio", 2), ("value_ratio", 0.1)],
)
def test_sizes_that_do_not_go_together_are_told_in_one_sentence(option, value):
    with one_sentence("heads"):
        split_task(labelled("ab")).build_model(SMALL | {option: value})


def test_a_flatten_head_turns_longer_series_kept_into_an_error():
    task = split_task(labelled("ab"))
    task.build_model(SMALL | {"pooling": "flatten"})
    with one_sentence("series 0", "7 steps"):
        task.processor([np.zeros((1, 7))])


def test_a_flatten_head_leaves_any_other_choice_for_longer_series():
    task = split_task(labelled("ab"), processing=ProcessingOptions(longer_series="resample"))
    model = task.build_model(SMALL | {"pooling": "flatten"})
    assert predict_logits(model, task.processor, [np.zeros((1, 70))]).shape == (1, 2)


def test_other_heads_keep_longer_series():
    task = split_task(labelled("ab"))
    model = task.build_model(SMALL | {"pooling": "mean"})
    assert task.processor([np.zeros((1, 70))])[0].shape == (70, 1)
    assert np.isfinite(predict_logits(model, task.processor, [np.zeros((1, 70))])).all()


# Measures

LOGITS = np.array([[2.0, 0, -1], [0, 1, 0.5], [0, 0.2, 0.1], [-1, 0, 3]], dtype=np.float32)


@pytest.mark.parametrize("labels", [list("abca"), [5, 7, 9, 5]])
def test_a_classifier_is_measured_as_by_hand(labels):
    task = split_task(labelled(labels))
    truth = np.array([0, 1, 2, 0])
    probabilities = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    measured = task.measure(LOGITS, np.array(labels))
    assert set(measured) == {"accuracy", "f1_macro", "log_loss"}
    assert measured["accuracy"] == 0.5
    assert_allclose(measured["f1_macro"], np.mean([2 / 3, 2 / 3, 0]))
    assert_allclose(measured["log_loss"], -np.log(probabilities[range(4), truth]).mean(), rtol=1e-6)


def test_a_classifier_is_measured_as_by_scikit_learn():
    rng = np.random.default_rng(0)
    logits, truth = rng.normal(size=(200, 4)), rng.integers(4, size=200)
    measured = split_task(labelled("abcd")).measure(logits, np.array(list("abcd"))[truth])
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert_allclose(measured["accuracy"], accuracy_score(truth, logits.argmax(1)))
    assert_allclose(measured["f1_macro"], f1_score(truth, logits.argmax(1), average="macro"))
    assert_allclose(measured["log_loss"], log_loss(truth, probabilities))


def test_a_part_without_some_of_the_classes_can_be_measured():
    measured = split_task(labelled("abc")).measure(LOGITS[:1], np.array(["a"]))
    assert measured["accuracy"] == measured["f1_macro"] == 1
    assert 0 < measured["log_loss"] < 0.2


def test_a_class_that_training_never_saw_cannot_be_measured():
    with one_sentence("'z'"):
        split_task(labelled("abc")).measure(LOGITS[:1], np.array(["z"]))


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_a_regressor_is_measured_in_the_units_of_its_target(shape):
    task = split_task(labelled([10.0, 20, 30, 40]), "regression")
    predicted = np.array([12.0, 20, 26, 42])
    logits = ((predicted - 25) / np.sqrt(125))[:, None].astype(np.float32)
    measured = task.measure(logits, np.array([10.0, 20, 30, 40]).reshape(shape))
    assert_allclose(measured["rmse"], np.sqrt((4 + 0 + 16 + 4) / 4), rtol=1e-5)
    assert_allclose(measured["mae"], (2 + 0 + 4 + 2) / 4, rtol=1e-5)
    assert_allclose(measured["r2"], 1 - 24 / 500, rtol=1e-5)


def test_a_regressor_of_several_targets_is_measured_by_their_mean():
    targets = np.array([[0.0, 10], [2, 30], [4, 50]])
    task = split_task(labelled(targets), "regression")
    predicted = targets + np.array([[1, 0], [1, 0], [1, 30]])
    logits = ((predicted - targets.mean(0)) / targets.std(0)).astype(np.float32)
    measured = task.measure(logits, targets)
    assert_allclose(measured["rmse"], (1 + np.sqrt(300)) / 2, rtol=1e-5)
    assert_allclose(measured["mae"], (1 + 10) / 2, rtol=1e-5)
    assert_allclose(measured["r2"], (1 - 3 / 8 + 1 - 900 / 800) / 2, rtol=1e-4)


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_encoded_targets_are_measured_as_the_targets_are(kind):
    data = labelled("abca") if kind == "classification" else labelled([10.0, 20, 30, 45])
    task = TimeSeriesTask(kind)
    training, _ = task.split(data, 0.0, 0)
    logits = LOGITS if kind == "classification" else LOGITS[:, :1]
    encoded = task.compute_metrics(EvalPrediction(logits, training.targets))
    expected = task.measure(logits, data.targets)
    assert encoded == pytest.approx(expected, rel=1e-5)


# Predictions


@pytest.fixture(scope="module", params=[{}, {"patch_size": 4}, {"pooling": "attention"}], ids=str)
def network(request):
    """A network that is not trained, and 150 series of 1 to 40 steps."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        rng = np.random.default_rng(0)
        lengths = [1, 40, *rng.integers(1, 40, size=148)]
        series = [rng.normal(size=(2, length)) for length in lengths]
        task = split_task(LabelledSeries(series, np.array(["a", "b"] * 75)))
        model = task.build_model(SMALL | {"num_blocks": 2, "hidden_dropout": 0.5} | request.param)
    return model, task.processor, series


def test_predictions_do_not_depend_on_the_series_beside_them(network):
    model, processor, series = network
    together = predict_logits(model, processor, series)
    alone = np.concatenate([predict_logits(model, processor, [values]) for values in series])
    assert (together.shape, together.dtype) == ((150, 2), np.float32)
    assert together.std(0).min() > 1e-2
    assert_allclose(together, alone, rtol=1e-5, atol=1e-5)


def test_predictions_come_in_the_order_of_the_series(network):
    model, processor, series = network
    order = np.random.default_rng(1).permutation(len(series))
    expected = predict_logits(model, processor, series)[order]
    actual = predict_logits(model, processor, [series[index] for index in order])
    assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_predictions_of_a_network_left_in_training_mode_have_no_dropout(network):
    model, processor, series = network
    expected = predict_logits(model, processor, series)
    assert_array_equal(predict_logits(model.train(), processor, series), expected)
    assert not model.training


def test_predictions_follow_the_batches_that_the_lengths_ask_for(network):
    model, processor, series = network
    sizes = []
    handle = model.register_forward_pre_hook(
        lambda _, __, inputs: sizes.append(len(inputs["input_values"])), with_kwargs=True
    )
    predict_logits(model, processor, series)
    handle.remove()
    assert sizes == [64, 64, 22]


def test_series_of_one_step_can_be_predicted(network):
    model, processor, _ = network
    assert np.isfinite(predict_logits(model, processor, np.ones((3, 2, 1)))).all()


def test_series_of_other_channels_cannot_be_predicted(network):
    model, processor, _ = network
    with one_sentence("3 channels", "2"):
        predict_logits(model, processor, np.ones((3, 3, 5)))
