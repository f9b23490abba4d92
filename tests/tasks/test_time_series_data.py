from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal

from evolving_attention.tasks.time_series_data import (
    LabelledSeries,
    as_collection,
    load_file,
    load_splits,
)
from tests.tasks.files import ARFF, X, Y, npz, ts, write
from tests.tasks.helpers import one_sentence, unless_refused

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "time_series"
NAN, INF = float("nan"), float("inf")


def shapes(data):
    return [series.shape for series in data.series]


def lengths(data):
    return [series.shape[1] for series in data.series]


# Data sets by name


@pytest.mark.parametrize(
    ("name", "sizes", "shape", "classes"),
    [("BasicMotions", (40, 40), (6, 100), 4), ("CardanoSentiment", (74, 33), (2, 24), None)],
)
def test_a_bundled_data_set_loads_by_name(name, sizes, shape, classes):
    kind = "classification" if classes else "regression"
    parts = load_splits(name, kind=kind)
    assert tuple(len(part.series) for part in parts) == sizes
    for part in parts:
        assert set(shapes(part)) == {shape}
        assert len(part.targets) == len(part.series)
        assert classes is None or len(set(part.targets)) == classes


def test_japanese_vowels_loads_with_its_unequal_lengths():
    train, test = load_splits("JapaneseVowels", kind="classification")
    assert (len(train.series), len(test.series)) == (270, 370)
    assert (min(lengths(train)), max(lengths(train))) == (7, 26)
    assert (min(lengths(test)), max(lengths(test))) == (7, 29)
    assert {series.shape[0] for series in train.series + test.series} == {12}
    assert set(train.targets) == set(test.targets) == set("123456789")


def test_a_bundled_regression_loads_with_numbers_for_targets():
    train, test = load_splits("Covid3Month", kind="regression")
    assert set(shapes(train)) == set(shapes(test)) == {(1, 84)}
    for part, cases in ((train, 140), (test, 61)):
        assert (part.targets.dtype, part.targets.shape) == (np.float64, (cases,))
        assert np.isfinite(part.targets).all()


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_an_unknown_name_is_told_in_one_sentence(kind):
    with one_sentence("NoSuchDataSet", kind):
        load_splits("NoSuchDataSet", kind=kind)


def test_a_data_set_that_cannot_be_downloaded_is_told_in_one_sentence():
    with one_sentence("Handwriting", "download"):
        load_splits("Handwriting", kind="classification")


@pytest.mark.parametrize(
    ("name", "kind"), [("Covid3Month", "classification"), ("BasicMotions", "regression")]
)
def test_a_data_set_of_the_other_task_is_told_in_one_sentence(name, kind):
    with one_sentence(name, kind):
        load_splits(name, kind=kind)


def test_a_data_set_is_found_in_the_archive_folder(tmp_path):
    (tmp_path / "Made").mkdir()
    write(tmp_path / "Made" / "Made_TRAIN.ts", ts("1,2:a", "3,4:b"))
    write(tmp_path / "Made" / "Made_TEST.ts", ts("5,6:a"))
    train, test = load_splits("Made", kind="classification", archive=str(tmp_path))
    assert_array_equal(train.series, [[[1, 2]], [[3, 4]]])
    assert_array_equal(test.series, [[[5, 6]]])


def test_a_test_file_beside_a_named_data_set_is_used_or_refused(tmp_path):
    other = write(tmp_path / "other.ts", ts("5:6:7:8:9:1:a", univariate=False))
    parts = unless_refused(lambda: load_splits("BasicMotions", str(other), kind="classification"))
    assert parts is None or len(parts[1].series) == 1


@pytest.mark.parametrize(
    ("line", "words"), [("5:6:a", "2 channels"), ("5,6:c", "class 'c'")], ids=["channels", "class"]
)
def test_a_test_part_that_does_not_fit_is_told_before_training(tmp_path, line, words):
    train = write(tmp_path / "Made_TRAIN.ts", ts("1,2:a", "3,4:b"))
    write(tmp_path / "Made_TEST.ts", ts(line))
    with one_sentence(words, "training"):
        load_splits(str(train), kind="classification")


@pytest.mark.parametrize("text", ["", "hello\n", "a,b,label\n1,2,x\n"])
def test_a_file_without_series_is_told_in_one_sentence(tmp_path, text):
    path = write(tmp_path / "a.ts", text)
    with one_sentence("a.ts", "no series"):
        load_splits(str(path), kind="classification")


def test_a_csv_is_told_what_is_read(tmp_path):
    path = write(tmp_path / "a.csv", "a,b\n1,2\n")
    with one_sentence("a.csv", ".tsv: the class, then the values"):
        load_splits(str(path), kind="classification")


# Targets


@pytest.mark.parametrize(
    ("targets", "words"),
    [(["u", "v"], "not numbers"), ([1, NAN], "missing"), ([1, INF], "infinite")],
)
def test_a_regression_needs_a_number_for_every_series(tmp_path, targets, words):
    path = npz(tmp_path / "a.npz", X=X, y=np.array(targets))
    with one_sentence("a.npz", words):
        load_splits(str(path), kind="regression")


def test_a_regression_reads_numbers_written_as_text_and_several_targets(tmp_path):
    path = write(tmp_path / "a.arff", ARFF + "1,2,0.5\n3,4,7\n")
    assert load_splits(str(path), kind="regression")[0].targets.tolist() == [0.5, 7]
    path = npz(tmp_path / "a.npz", X=X, y=np.array([[1, 2], [3, 4]]))
    assert load_splits(str(path), kind="regression")[0].targets.tolist() == [[1, 2], [3, 4]]


def test_a_missing_class_label_is_told_in_one_sentence(tmp_path):
    path = npz(tmp_path / "a.npz", X=X, y=np.array([1, NAN]))
    with one_sentence("missing"):
        load_splits(str(path), kind="classification")


def test_series_and_targets_must_pair_up():
    with one_sentence("2 series", "3 targets"):
        LabelledSeries(as_collection(X), np.zeros(3))


# Files and folders


def test_a_missing_file_is_told_in_one_sentence(tmp_path):
    present = write(tmp_path / "present.ts", ts("1,2:a", "3,4:b"))
    for suffix in (".ts", ".arff", ".tsv", ".npz"):
        with one_sentence(f"missing{suffix}"):
            load_splits(str(tmp_path / f"missing{suffix}"), kind="classification")
    with one_sentence("missing.ts"):
        load_splits(str(present), str(tmp_path / "missing.ts"), kind="classification")


@pytest.mark.parametrize("name", ["a.csv", "a.TS", "a"])
def test_a_file_of_unknown_format_names_the_known_ones(tmp_path, name):
    path = write(tmp_path / name, "1,2,3\n")
    with one_sentence(name, ".ts", ".arff", ".tsv", ".npz"):
        load_file(path)


def test_a_training_file_of_unknown_format_names_the_known_ones(tmp_path):
    path = write(tmp_path / "a.csv", "1,2,3\n")
    with one_sentence("a.csv", ".ts", ".npz"):
        load_splits(str(path), kind="classification")


@pytest.fixture
def folder(tmp_path):
    """A folder with TRAIN in its own name, and a training file of one series."""
    path = tmp_path / "Made_TRAIN_2" / "Made"
    path.mkdir(parents=True)
    write(path / "Made_TRAIN.ts", ts("1,2:a"))
    return path


def test_a_folder_is_read_by_its_name(folder):
    write(folder / "Made_TEST.ts", ts("3,4:a", "5,6:b"))
    write(folder / "Other_TRAIN.ts", ts("7,8:a"))
    train, test = load_splits(str(folder), kind="classification")
    assert_array_equal(train.series, [[[1, 2]]])
    assert_array_equal(test.series, [[[3, 4]], [[5, 6]]])


def test_a_folder_with_one_training_file_of_another_name_is_read(folder):
    (folder / "Made_TRAIN.ts").rename(folder / "Other_TRAIN.ts")
    train, test = load_splits(str(folder), kind="classification")
    assert (len(train.series), test) == (1, None)


def test_a_folder_with_several_training_files_of_other_names_is_ambiguous(folder):
    for name in ("One", "Two"):
        write(folder / f"{name}_TRAIN.ts", ts("1,2:a"))
    (folder / "Made_TRAIN.ts").unlink()
    with one_sentence("2 training files", "One_TRAIN.ts"):
        load_splits(str(folder), kind="classification")


def test_a_folder_without_a_training_file_says_what_is_looked_for(folder):
    (folder / "Made_TRAIN.ts").unlink()
    with one_sentence("Made_TRAIN.ts"):
        load_splits(str(folder), kind="classification")


@pytest.mark.parametrize("suffix", [".ts", ".tsv", ".arff"])
def test_the_test_file_is_found_beside_the_training_file(folder, suffix):
    row = {".ts": ts("3,4:b"), ".tsv": "1\t3\t4\n", ".arff": ARFF + "3,4,b\n"}[suffix]
    for part in ("TRAIN", "TEST"):
        write(folder / f"Made_{part}{suffix}", row)
    _, test = load_splits(str(folder / f"Made_TRAIN{suffix}"), kind="classification")
    assert_array_equal(test.series, [[[3, 4]]])


def test_only_the_part_of_a_file_name_changes_to_find_the_test_file(folder):
    path = write(folder / "TRAINS_TRAIN.ts", ts("1,2:a"))
    write(folder / "TRAINS_TEST.ts", ts("3,4:b"))
    _, test = load_splits(str(path), kind="classification")
    assert_array_equal(test.series, [[[3, 4]]])


def test_a_training_file_alone_has_no_test_part(folder):
    assert load_splits(str(folder / "Made_TRAIN.ts"), kind="classification")[1] is None
    path = write(folder / "solo.ts", ts("1,2:a"))
    assert load_splits(str(path), kind="classification")[1] is None


def test_a_test_file_that_is_named_is_read(folder):
    write(folder / "Made_TEST.ts", ts("3,4:a"))
    other = npz(folder / "other.npz", X_train=X, X_test=X[:, :1] + 9, y_test=Y)
    _, test = load_splits(str(folder / "Made_TRAIN.ts"), str(other), kind="classification")
    assert_array_equal(test.series, X[:, :1] + 9)


# Arrays


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        (X, [(3, 4), (3, 4)]),
        (X[:, 0], [(1, 4), (1, 4)]),
        (X.astype(np.int16), [(3, 4), (3, 4)]),
        ([X[0], X[0][:, :2]], [(3, 4), (3, 2)]),
        ([[1, 2, 3], [4, 5]], [(1, 3), (1, 2)]),
        (([1, 2], np.array([3])), [(1, 2), (1, 1)]),
        ([[1, None, 3]], [(1, 3)]),
        (torch.zeros(2, 3, 4), [(3, 4), (3, 4)]),
    ],
)
def test_arrays_and_lists_become_a_collection(series, expected):
    collection = as_collection(series)
    assert [values.shape for values in collection] == expected
    for values, given in zip(collection, series, strict=True):
        assert_array_equal(values, np.atleast_2d(np.asarray(given, dtype=float)))


NOT_A_COLLECTION = {
    "no series": ([], "no series"),
    "an array of no series": (np.zeros((0, 1, 3)), "no series"),
    "no steps": (np.zeros((2, 1, 0)), "series 0"),
    "a series of no steps": ([[1.0], []], "series 1"),
    "no channels": (np.zeros((2, 0, 3)), "series 0"),
    "one dimension": (np.zeros(3), "(3,)"),
    "four dimensions": (np.zeros((1, 2, 3, 4)), "(1, 2, 3, 4)"),
    "a series of three dimensions": ([[1.0], np.zeros((1, 2, 3))], "series 1"),
    "other channels": ([X[0], X[0][:2]], "series 1"),
    "text": ([[1.0], ["a"]], "series 1"),
    "a word": ("abc", "series 0"),
    "channels of unequal length": ([[[1, 2], [3, 4]], [[1, 2], [3]]], "series 1"),
    "infinity": ([[[1, 2], [3, 4]], [[1, 2], [3, INF]]], "series 1 is infinite in channel 1"),
    "minus infinity": ([[1, -INF]], "channel 0 at step 1"),
    "complex numbers": (np.array([[1j, 2.0]]), "series"),
    "nothing": (None, "series"),
    "a number": (5, "series"),
}


@pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")
@pytest.mark.parametrize(("series", "where"), NOT_A_COLLECTION.values(), ids=NOT_A_COLLECTION)
def test_what_is_no_collection_is_told_in_one_sentence_that_says_where(series, where):
    with one_sentence(where):
        as_collection(series)


def test_a_data_frame_is_read_by_its_rows_or_refused():
    collection = unless_refused(lambda: as_collection(pd.DataFrame(X[:, 0])))
    if collection is not None:
        assert_array_equal(collection, X[:, :1])


# What developers have at hand


def shared(*parts):
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"the shared data set {'/'.join(parts)} is not here")
    return str(path)


@pytest.mark.parametrize(
    ("name", "train_cases", "test_cases", "shape", "classes"),
    [
        ("ArticularyWordRecognition", 275, 300, (9, 144), 25),
        ("AtrialFibrillation", 15, 15, (2, 640), 3),
        ("FingerMovements", 316, 100, (28, 50), 2),
        ("Handwriting", 150, 850, (3, 152), 26),
        ("Libras", 180, 180, (2, 45), 15),
        ("PenDigits", 7494, 3498, (2, 8), 10),
        ("RacketSports", 151, 152, (6, 30), 4),
        ("SelfRegulationSCP1", 268, 293, (6, 896), 2),
        ("StandWalkJump", 12, 15, (4, 2500), 3),
        ("UWaveGestureLibrary", 120, 320, (3, 315), 8),
    ],
)
def test_the_shared_classification_sets_load(name, train_cases, test_cases, shape, classes):
    train, test = load_splits(shared("classification", name), kind="classification")
    assert (len(train.series), len(test.series)) == (train_cases, test_cases)
    assert set(shapes(train)) == set(shapes(test)) == {shape}
    assert set(train.targets) >= set(test.targets)
    assert len(set(train.targets)) == classes


@pytest.mark.parametrize(
    ("path", "train_cases", "test_cases", "shape"),
    [
        ("Tecator", 172, 43, (1, 100)),
        ("rebuilt/AppliancesEnergy.npz", 95, 42, (24, 144)),
        ("rebuilt/IEEEPPG.npz", 1768, 1328, (5, 1000)),
    ],
)
def test_the_shared_regression_sets_load(path, train_cases, test_cases, shape):
    source = shared("regression", *path.split("/"))
    train, test = load_splits(source, kind="regression", layout="steps_first")
    for part, cases in ((train, train_cases), (test, test_cases)):
        assert (len(part.series), part.targets.shape) == (cases, (cases,))
        assert set(shapes(part)) == {shape}
        assert np.isfinite(part.targets).all()


# Data to pretrain on


@pytest.mark.parametrize("name", ["JapaneseVowels", "Covid3Month"])
def test_a_named_data_set_of_either_kind_can_be_pretrained_on(name):
    train, test = load_splits(name, kind="pretraining")
    assert train.series
    assert test.series


def test_labels_that_no_task_takes_do_not_matter_for_pretraining(tmp_path):
    path = npz(tmp_path / "made.npz", X=X, y=np.array([np.nan, np.inf]))
    assert len(load_splits(str(path), kind="pretraining")[0].series) == 2
    with one_sentence("made.npz"):
        load_splits(str(path), kind="classification")


def test_an_unknown_name_is_of_neither_kind():
    with one_sentence("'NoSuchDataSet'", "classification or regression"):
        load_splits("NoSuchDataSet", kind="pretraining")
