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
from evolving_attention.tasks.networks import batches_by_length
from evolving_attention.tasks.time_series import (
    MAX_POSITIONS,
    TimeSeriesTask,
    model_options,
)
from evolving_attention.tasks.time_series_batches import collate, predict_logits
from evolving_attention.tasks.time_series_data import LabelledSeries
from tests.tasks.helpers import SMALL, labelled, one_sentence, sines_and_noise, split_task, waves

NAN = float("nan")


# Batches


def examples(*lengths):
    return [
        {"input_values": np.full((length, 2), length, dtype=np.float32), "labels": np.int64(length)}
        for length in lengths
    ]


def test_a_batch_is_padded_to_its_longest_series():
    batch = collate(examples(3, 1, 4))
    assert batch["input_values"].shape == (3, 4, 2)
    assert batch["input_values"].dtype == torch.float32
    assert batch["input_values"][:, :, 1].tolist() == [[3, 3, 3, 0], [1, 0, 0, 0], [4] * 4]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 0, 0, 0], [1] * 4]
    assert batch["attention_mask"].dtype == torch.int64
    assert (batch["labels"].dtype, batch["labels"].tolist()) == (torch.int64, [3, 1, 4])


@pytest.mark.parametrize("lengths", [(1,), (4, 4, 4)])
def test_a_batch_without_padding_has_every_step_real(lengths):
    batch = collate(examples(*lengths))
    assert batch["input_values"].shape == (len(lengths), lengths[0], 2)
    assert batch.get("attention_mask", torch.ones(1)).all()


def test_a_batch_without_labels_has_none():
    batch = collate([{"input_values": values["input_values"]} for values in examples(2, 3)])
    assert set(batch) == {"input_values", "attention_mask"}


def test_a_batch_of_regression_targets_keeps_them_apart():
    training, _ = TimeSeriesTask("regression").split(waves(6, targets=2), 0.0, 0)
    batch = collate([training[index] for index in range(len(training))])
    assert (batch["labels"].dtype, batch["labels"].shape) == (torch.float32, (6, 2))


@pytest.mark.parametrize("patch_size", [1, 4])
def test_batches_by_length_cover_every_series_once(patch_size):
    lengths = np.random.default_rng(0).integers(1, 3000, size=500).tolist()
    batches = batches_by_length(lengths, patch_size)
    assert sorted(index for batch in batches for index in batch) == list(range(500))
    ordered = [lengths[index] for batch in batches for index in batch]
    assert ordered == sorted(ordered)
    for batch in batches:
        entries = sum((max(lengths[index] for index in batch) / patch_size) ** 2 for _ in batch)
        assert len(batch) == 1 or (len(batch) <= 64 and entries <= 2**22)


def test_batches_by_length_are_no_smaller_than_they_must_be():
    assert [len(batch) for batch in batches_by_length([10] * 130, 1)] == [64, 64, 2]
    assert [len(batch) for batch in batches_by_length([1024] * 9, 1)] == [4, 4, 1]
    assert [len(batch) for batch in batches_by_length([4096] * 9, 4)] == [4, 4, 1]
    assert batches_by_length([10**6] * 2, 1) == [[0], [1]]


# The network


@pytest.mark.parametrize("steps", [1, 50, MAX_POSITIONS, MAX_POSITIONS + 1, 1000, 2500])
def test_patches_are_as_long_as_few_enough_positions_need(steps):
    config = split_task(labelled("ab", steps)).model_config({})
    assert config.max_positions <= MAX_POSITIONS
    assert config.patch_size == 1 or -(-steps // (config.patch_size - 1)) > MAX_POSITIONS
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
    assert model(torch.zeros(5, 20, 2)).logits.shape == (5, targets)


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
