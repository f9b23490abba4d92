import json

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from transformers import AutoFeatureExtractor

from evolving_attention.models.ea_dc_transformer import EADCTransformerConfig
from evolving_attention.tasks.time_series_processor import TimeSeriesProcessor
from tests.tasks.helpers import one_sentence, unless_refused

NAN, INF = float("nan"), float("inf")
MODES = ("robust", "standard", "series", "none")


def plain(**options):
    """A processor that only fills."""
    return TimeSeriesProcessor("none", None, **options)


def random_series(*lengths, channels=2, seed=0):
    rng = np.random.default_rng(seed)
    offset = np.arange(1, channels + 1)[:, None]
    return [10 * offset + offset * rng.normal(size=(channels, length)) for length in lengths]


def fitted(*arguments, lengths=(5, 7, 9), **options):
    return TimeSeriesProcessor(*arguments, **options).fit(random_series(*lengths))


def processed(processor, *rows):
    """The processed channels of one series, as a list each."""
    return processor([np.array(rows, dtype=float)])[0].T.tolist()


# Missing values


def test_inside_a_series_missing_values_are_interpolated():
    assert processed(plain().fit([[1.0]]), [1, NAN, NAN, 4, NAN, 2]) == [[1, 2, 3, 4, 3, 2]]


def test_at_the_edges_the_nearest_value_is_repeated():
    rows = [NAN, NAN, 5, 7, NAN], [1, 2, 3, 4, 5]
    assert processed(plain().fit([[[1.0], [1.0]]]), *rows)[0] == [5, 5, 5, 7, 7]


def test_a_missing_channel_takes_the_mean_of_the_training_part():
    training = [[[1, 2], [5, NAN]], [[3, 6, 3], [NAN, 8, NAN]]]
    assert processed(plain().fit(training), [1, 2], [NAN, NAN]) == [[1, 2], [6.5, 6.5]]


def test_a_series_without_any_value_takes_the_means_of_the_training_part():
    processor = plain().fit([[[1, 3], [5, 6]]])
    assert processed(processor, [NAN] * 3, [NAN] * 3) == [[2] * 3, [5.5] * 3]


@pytest.mark.parametrize("mode", MODES)
def test_a_channel_never_observed_in_training_is_harmless(mode):
    processor = TimeSeriesProcessor(mode).fit([[[1, 2, 3], [NAN] * 3]])
    assert processed(processor, [1, 2, 4], [NAN] * 3)[1] == [0] * 3
    assert np.isfinite(processed(processor, [1, 2, 4], [7, 9, 1e9])).all()


@pytest.mark.parametrize("mode", MODES)
def test_training_series_without_any_value_are_harmless(mode):
    processor = TimeSeriesProcessor(mode).fit([[NAN, NAN]])
    assert processed(processor, [NAN, NAN]) == [[0, 0]]
    assert np.isfinite(processed(processor, [1, 5])).all()


def test_steps_at_the_end_without_any_value_are_cut_off():
    processor = plain().fit([[[1.0], [1.0]]])
    assert processed(processor, [NAN, 2, NAN, NAN], [1, NAN, 3, NAN]) == [[2, 2, 2], [1, 2, 3]]


def test_steps_at_the_end_without_any_value_do_not_count_as_length():
    padded = [np.pad(values, ((0, 0), (0, 90)), constant_values=NAN) for values in random_series(9)]
    processor = TimeSeriesProcessor(longer_series="error").fit(padded)
    assert processor.max_length == 9
    assert processor(padded)[0].shape == (9, 2)


# Normalisation


def stacked(series):
    return np.concatenate(series, axis=1)


def robust(series):
    low, middle, high = np.nanpercentile(stacked(series), [25, 50, 75], axis=1)
    return middle, (high - low) / 1.3489795


def standard(series):
    return np.nanmean(stacked(series), axis=1), np.nanstd(stacked(series), axis=1)


@pytest.mark.parametrize(("mode", "statistics"), [("robust", robust), ("standard", standard)])
def test_channels_are_normalised_by_statistics_of_what_was_observed(mode, statistics):
    training, others = random_series(5, 7, 90), random_series(4, 20, seed=1)
    training[1][0, 2:5] = NAN
    center, scale = statistics(training)
    actual = TimeSeriesProcessor(mode, None).fit(training)(others)
    for inputs, values in zip(actual, others, strict=True):
        assert inputs.dtype == np.float32
        assert_allclose(inputs, (values.T - center) / scale, rtol=1e-5)


def test_each_series_can_be_normalised_by_itself():
    for inputs in fitted("series", None)(random_series(4, 20, seed=1)):
        assert_allclose(inputs.mean(0), 0, atol=1e-6)
        assert_allclose(inputs.std(0), 1, rtol=1e-5)


def test_normalisation_can_be_left_out():
    others = random_series(4, 20, seed=1)
    for inputs, values in zip(fitted("none", None)(others), others, strict=True):
        assert_array_equal(inputs, values.T.astype(np.float32))


def test_robust_statistics_of_a_normal_channel_are_its_mean_and_deviation():
    values = np.random.default_rng(0).normal(3, 2, size=(1, 100_000))
    processor = TimeSeriesProcessor().fit(values[None])
    assert_allclose((processor.center[0], processor.scale[0]), (3, 2), rtol=0.02)


def test_robust_statistics_do_not_feel_a_few_extreme_values():
    values = random_series(1000)
    expected = TimeSeriesProcessor().fit(values)
    values[0][:, :5] = 1e9
    actual = TimeSeriesProcessor().fit(values)
    assert_allclose(actual.center, expected.center, rtol=0.01)
    assert_allclose(actual.scale, expected.scale, rtol=0.05)


@pytest.mark.parametrize("mode", ["robust", "standard", "series"])
@pytest.mark.parametrize("unit", [1e-13, 1e-9, 1e9])
def test_the_unit_of_a_channel_does_not_matter(mode, unit):
    training, others = random_series(5, 90), random_series(20, seed=1)
    expected = TimeSeriesProcessor(mode).fit(training)(others)[0]
    in_unit = TimeSeriesProcessor(mode).fit([unit * values for values in training])
    assert_allclose(in_unit([unit * values for values in others])[0], expected, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 7.0, 0.1, 1e9 + 0.1])
@pytest.mark.parametrize("mode", ["robust", "standard", "series"])
def test_a_constant_channel_becomes_zero(mode, value):
    processor = TimeSeriesProcessor(mode).fit(np.full((3, 1, 7), value))
    assert_allclose(processed(processor, [value] * 7), 0, atol=1e-6)
    assert np.isfinite(processed(processor, [value, value + 1, -1e6])).all()


def test_a_channel_that_is_mostly_constant_is_scaled_by_its_deviation():
    values = np.zeros((1, 1, 100))
    values[..., :10] = 3
    processor = TimeSeriesProcessor().fit(values)
    assert_allclose((processor.center[0], processor.scale[0]), (0, values.std()))


@pytest.mark.parametrize("mode", MODES)
def test_a_series_of_one_step_is_finite(mode):
    assert np.isfinite(processed(fitted(mode), [3], [4])).all()


# Heavy tails


def softly_clipped(values, clip):
    """The definition, value by value."""
    return [
        value if abs(value) <= clip else np.sign(value) * (clip + np.log(1 + abs(value) - clip))
        for value in values
    ]


@pytest.mark.parametrize("clip", [0.5, 5, 5.0, 40.0])
def test_beyond_clip_values_grow_logarithmically(clip):
    values = [-300, -41, -5.5, -5, -1, 0, 0.5, 2, 5, 6, 40, 700]
    processor = TimeSeriesProcessor("none", clip).fit([[1.0, 2.0]])
    assert_allclose(processed(processor, values)[0], softly_clipped(values, clip), rtol=1e-6)


def test_without_clip_nothing_is_held_back():
    center, scale = robust(random_series(5, 7, 9))
    actual = processed(fitted(clip=None), [1e6, 0], [0, -1e6])
    expected = (np.array([[1e6, 0], [0, -1e6]]) - center[:, None]) / scale[:, None]
    assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.parametrize("mode", ["robust", "standard"])
def test_heavy_tails_are_bounded_and_keep_their_order(mode):
    values = np.random.default_rng(0).standard_cauchy(size=(1, 1, 20_000))
    assert np.abs(values - np.median(values)).max() > 300 * robust(values)[1][0]
    order = np.sort(values, axis=-1)
    inputs = TimeSeriesProcessor(mode).fit(values)(order)[0][:, 0]
    assert np.abs(inputs).max() < 5 + np.log(1e6)
    assert (np.diff(inputs) >= 0).all()
    assert (np.diff(inputs[[0, 10, 10_000, -10, -1]]) > 0).all()


@pytest.mark.parametrize("value", [1e30, 1e300])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("clip", [5.0, None])
def test_a_huge_value_becomes_a_finite_input_or_is_refused(mode, clip, value):
    processor = fitted(mode, clip)
    inputs = unless_refused(lambda: processed(processor, [value, 1, -value], [1, 2, 3]))
    if inputs is not None:
        assert np.isfinite(inputs).all()
        assert mode == "none" or inputs[0][0] > inputs[0][1] > inputs[0][2]


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("mode", ["robust", "standard"])
def test_training_values_whose_statistics_overflow_are_told_in_one_sentence(mode):
    with one_sentence("large"):
        TimeSeriesProcessor(mode).fit([[1e308, -1e308, 1e308, -1e308]])


# Lengths and channels


def test_a_longer_series_may_be_kept():
    values = np.arange(40.0).reshape(2, 20)
    assert_array_equal(fitted("none", None)([values])[0], values.T)


def test_a_longer_series_may_be_truncated():
    values = np.arange(40.0).reshape(2, 20)
    inputs = fitted("none", None, longer_series="truncate")([values])[0]
    assert_array_equal(inputs, values[:, :9].T)


def test_a_longer_series_may_be_resampled():
    values = np.stack([np.linspace(0, 1, 20), np.linspace(5, -3, 20) ** 2])
    inputs = fitted("none", None, longer_series="resample")([values])[0]
    positions = np.linspace(0, 1, 9)
    expected = [np.interp(positions, np.linspace(0, 1, 20), channel) for channel in values]
    assert_allclose(inputs, np.transpose(expected), rtol=1e-5)


def test_a_longer_series_may_be_an_error_that_says_which_and_what_to_do():
    processor = fitted(longer_series="error")
    with one_sentence("series 1", "20 steps", "9", "resample", "truncate"):
        processor(random_series(4, 20))


@pytest.mark.parametrize("choice", ["keep", "truncate", "resample", "error"])
def test_a_series_no_longer_than_in_training_is_left_alone(choice):
    series = random_series(9, 3, 1, seed=1)
    processor = fitted("none", None, longer_series=choice)
    for inputs, values in zip(processor(series), series, strict=True):
        assert_array_equal(inputs, values.T.astype(np.float32))


@pytest.mark.parametrize("channels", [1, 3])
def test_other_channels_than_in_training_are_told_in_one_sentence(channels):
    with one_sentence(f"{channels} channels", "2"):
        fitted()(random_series(4, channels=channels))


def test_no_series_are_told_in_one_sentence():
    for call in (TimeSeriesProcessor().fit, fitted()):
        with one_sentence("no series"):
            call([])


@pytest.mark.parametrize("mode", MODES)
def test_the_series_given_are_not_modified(mode):
    series = random_series(5, 12)
    series[0][0, 1] = series[1][1, -1] = NAN
    before = [values.copy() for values in series]
    for inputs in TimeSeriesProcessor(mode, longer_series="truncate").fit(series, 9)(series):
        inputs += 1
    for values, expected in zip(series, before, strict=True):
        assert_array_equal(values, expected)


# Options


@pytest.mark.parametrize("clip", [0, -1.0, NAN])
def test_clip_must_be_positive(clip):
    with one_sentence("clip", "positive"):
        TimeSeriesProcessor(clip=clip)


def test_an_unknown_normalisation_names_the_known_ones():
    with one_sentence("normalization", "'minmax'", *MODES):
        fitted("minmax")


def test_an_unknown_choice_for_longer_series_names_the_known_ones():
    with one_sentence("longer_series", "'pad'", "keep", "resample", "truncate", "error"):
        fitted(longer_series="pad")(random_series(20))


@pytest.mark.parametrize(
    "use",
    [
        lambda processor: processor([[1.0]]),
        lambda processor: processor.encode(np.array([1])),
        lambda processor: processor.decode(np.zeros((1, 2))),
    ],
    ids=["call", "encode", "decode"],
)
def test_a_processor_that_is_not_fitted_says_so(use):
    with one_sentence("fit"):
        use(TimeSeriesProcessor())


# Class labels

LABELS = {
    "int": np.array([3, -1, 2, 3]),
    "int8": np.array([3, -1, 2, 3], dtype=np.int8),
    "uint64": np.array([2**63 + 1, 0], dtype=np.uint64),
    "float": np.array([0.5, -1.5, 0.1]),
    "float32": np.array([0.5, -1.5, 0.1], dtype=np.float32),
    "str": np.array(["cat", "dog", "ä 'quoted' name", "cat"]),
    "numeric str": np.array(["10", "9", "1"]),
    "bool": np.array([True, False, True]),
    "object str": np.array(["cat", "a longer name", "cat"], dtype=object),
    "object int": np.array([3, 1, 2], dtype=object),
    "list of str": ["cat", "dog", "cat"],
    "list of np.str_": [np.str_("cat"), np.str_("dog")],
    "list of int": [2, 1, 2],
}
ODD_LABELS = {
    "bytes": np.array([b"cat", b"dog"]),
    "dates": np.array(["2020-01-01", "2021-01-01"], dtype="datetime64[D]"),
    "str and int": np.array(["cat", 1, "cat"], dtype=object),
    "str and None": np.array(["cat", None, "dog"], dtype=object),
    "float and NaN": np.array([1.0, NAN, 2.0]),
    "a column": np.array([[0], [1], [0]]),
}


def reloaded(processor, folder):
    processor.save_pretrained(folder)
    return TimeSeriesProcessor.from_pretrained(folder)


def round_trip(labels, folder):
    """Encode labels, decode the network's outputs, both with a saved and loaded processor."""
    processor = reloaded(fitted().fit_classes(labels), folder)
    numbers = processor.encode(labels)
    assert numbers.dtype == np.int64
    return processor, numbers, processor.decode(np.eye(len(processor.classes))[numbers])


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_labels_come_back_as_they_were(labels, tmp_path):
    processor, numbers, decoded = round_trip(labels, tmp_path)
    given = np.asarray(labels)
    assert decoded.dtype == given.dtype == processor.class_labels.dtype
    assert decoded.tolist() == given.tolist()
    assert list(map(type, decoded.tolist())) == list(map(type, given.tolist()))
    assert sorted(set(numbers)) == list(range(len(set(given.tolist()))))
    assert processor.classes == sorted(set(given.tolist()))


@pytest.mark.parametrize("labels", ODD_LABELS.values(), ids=ODD_LABELS)
def test_odd_labels_come_back_as_they_were_or_are_refused(labels, tmp_path):
    result = unless_refused(lambda: round_trip(labels, tmp_path))
    if result is not None:
        assert result[2].tolist() == np.ravel(labels).tolist()


def test_decoding_takes_the_class_of_the_largest_output():
    processor = fitted().fit_classes(np.array(["b", "a", "c"]))
    decoded = processor.decode(np.array([[-3.0, -1, -2], [0.1, 0, 0]], dtype=np.float32))
    assert decoded.tolist() == ["b", "a"]


def test_an_unseen_class_is_told_in_one_sentence():
    processor = fitted().fit_classes(np.array(["cat", "dog"]))
    with one_sentence("'a longer name'", "cat", "dog"):
        processor.encode(np.array(["dog", "a longer name"]))


@pytest.mark.parametrize("labels", [[1, 1, 1], ["cat"], []])
def test_fewer_than_two_classes_are_told_in_one_sentence(labels):
    with one_sentence("2 classes"):
        fitted().fit_classes(np.array(labels))


# Regression targets


@pytest.mark.parametrize("targets", [[4.0, 8, 15, 16], [[4, 1], [8, 2], [15, -7]]])
def test_targets_are_encoded_in_standard_units_and_come_back(targets, tmp_path):
    targets = np.array(targets)
    processor = reloaded(fitted().fit_targets(targets), tmp_path)
    encoded = processor.encode(targets)
    expected = (targets - targets.mean(0)) / targets.std(0)
    assert encoded.dtype == np.float32
    assert_allclose(encoded, expected.reshape(len(targets), -1), rtol=1e-5, atol=1e-6)
    decoded = processor.decode(encoded)
    assert decoded.shape == targets.shape
    assert_allclose(decoded, targets, rtol=1e-5)


def test_targets_far_from_zero_keep_their_precision():
    targets = 1e9 + np.arange(5.0)
    processor = fitted().fit_targets(targets)
    assert_allclose(processor.decode(processor.encode(targets)), targets, rtol=0, atol=1e-5)


@pytest.mark.parametrize("value", [4.0, 0.1])
def test_a_constant_target_is_learned_as_zero_and_comes_back(value):
    processor = fitted().fit_targets(np.full(1000, value))
    assert_allclose(processor.encode(np.full(2, value)), 0, atol=1e-6)
    assert_allclose(processor.decode(np.zeros((2, 1))), value)
    assert_allclose(processor.decode(np.ones((1, 1))), value + 1)


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
@pytest.mark.parametrize(
    "targets",
    [["u", "v"], [1.0, NAN], [1.0, INF], [1e308, -1e308]],
    ids=["text", "missing", "infinite", "overflowing"],
)
def test_targets_that_cannot_be_learned_are_told_in_one_sentence(targets):
    with one_sentence("target"):
        fitted().fit_targets(np.array(targets))


def test_another_number_of_targets_than_in_training_is_told_in_one_sentence():
    processor = fitted().fit_targets(np.array([[1.0, 2], [3, 4]]))
    with one_sentence("target"):
        processor.encode(np.array([1.0, 2.0]))


# Saving


def strict_json(path):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def save(processor, folder):
    """Save as a run folder is saved: beside the configuration of the model."""
    EADCTransformerConfig().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder / "preprocessor_config.json"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("load", [TimeSeriesProcessor, AutoFeatureExtractor])
def test_a_loaded_processor_gives_the_same_to_the_bit(mode, load, tmp_path):
    processor = fitted(mode, clip=3.5, longer_series="resample")
    save(processor.fit_classes(np.array(["a", "b"])), tmp_path)
    loaded = load.from_pretrained(tmp_path)
    assert type(loaded) is TimeSeriesProcessor
    assert loaded.to_dict() == processor.to_dict()
    series = random_series(3, 20, seed=1)
    series[0][0] = series[1][1, 3:7] = NAN
    for actual, expected in zip(loaded(series), processor(series), strict=True):
        assert_array_equal(actual, expected)


def test_what_is_saved_is_json_that_can_be_read(tmp_path):
    processor = fitted(clip=None).fit_classes(np.array(["cat", "dog"]))
    content = strict_json(save(processor, tmp_path))
    assert content["classes"] == ["cat", "dog"]
    assert content["clip"] is None
    assert content["max_length"] == 9
    assert content["center"] == processor.center
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".json"]


@pytest.mark.parametrize("mode", MODES)
def test_what_is_saved_is_strict_json_whatever_was_missing(mode, tmp_path):
    processor = TimeSeriesProcessor(mode).fit([[[1, 2, NAN], [NAN] * 3]])
    strict_json(save(processor.fit_targets(np.array([2.0, 2.0])), tmp_path))


def test_an_infinite_clip_is_refused_or_saved_as_strict_json(tmp_path):
    processor = unless_refused(lambda: fitted(clip=INF))
    if processor is not None:
        strict_json(save(processor, tmp_path))


# Differences


def test_differences_follow_the_values_order_by_order():
    processor = fitted("none", None, differences=2)
    assert processor.num_channels == 2
    assert processor.input_size == 6
    inputs = processed(processor, [1, 4, 9, 16], [0, 0, 1, 1])
    assert inputs == [
        [1, 4, 9, 16],
        [0, 0, 1, 1],
        [0, 3, 5, 7],
        [0, 0, 1, 0],
        [0, 3, 2, 2],
        [0, 0, 1, -1],
    ]


def test_differences_have_a_scale_of_their_own():
    inputs = np.concatenate(fitted("standard", None, differences=1)(random_series(5, 7, 9)))
    assert_allclose(inputs.std(0), 1.0, rtol=1e-5)
    assert_allclose(inputs.mean(0), 0.0, atol=1e-6)


def test_differences_come_after_missing_values_are_filled():
    processor = fitted("none", None, differences=1)
    assert processed(processor, [1, NAN, 5], [NAN] * 3)[2:] == [[0, 2, 2], [0, 0, 0]]


def test_missing_values_do_not_reach_the_statistics_of_differences():
    processor = TimeSeriesProcessor("standard", differences=1).fit([[[1, NAN, 3, 7, 9]]])
    assert processor.mean[1] == pytest.approx((0 + 4 + 2) / 3)


def test_differences_are_those_of_a_resampled_series():
    processor = fitted("none", None, longer_series="resample", differences=1)
    values = np.stack([np.arange(17.0), np.zeros(17)])
    assert_allclose(processor([values])[0][:, 2], [0] + [2] * 8)


def test_a_processor_with_differences_is_loaded_with_them(tmp_path):
    processor = fitted(differences=1)
    save(processor, tmp_path)
    loaded = TimeSeriesProcessor.from_pretrained(tmp_path)
    series = random_series(6)
    assert_array_equal(loaded(series)[0], processor(series)[0])


@pytest.mark.parametrize("orders", [-1, 1.0, True, "auto"])
def test_what_is_no_number_of_differences_is_refused(orders):
    with one_sentence("differences must be a whole number, 0 or more", repr(orders)):
        TimeSeriesProcessor(differences=orders)
