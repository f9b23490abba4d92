import pickle
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from evolving_attention.tasks.time_series_data import (
    load_file,
    load_splits,
)
from evolving_attention.tasks.time_series_processor import TimeSeriesProcessor
from tests.tasks.files import ARFF, X, Y, npz, ts, write
from tests.tasks.helpers import one_sentence

NAN = float("nan")


# .ts files


def test_a_ts_file_of_equal_lengths(tmp_path):
    data = load_file(write(tmp_path / "a.ts", ts("1,2,3:a", "4,5,6.5:b")))
    assert_array_equal(data.series, [[[1, 2, 3]], [[4, 5, 6.5]]])
    assert data.targets.tolist() == ["a", "b"]


def test_a_ts_file_of_unequal_lengths_and_missing_values(tmp_path):
    rows = ("1,2,3:3,?,5:a", "4,5:NaN,7:b")
    data = load_file(write(tmp_path / "a.ts", ts(*rows, equal=False, univariate=False)))
    assert_array_equal(data.series[0], [[1, 2, 3], [3, NAN, 5]])
    assert_array_equal(data.series[1], [[4, 5], [NAN, 7]])


def test_a_ts_file_without_labels_has_no_targets(tmp_path):
    data = load_file(write(tmp_path / "a.ts", ts("1,2", "3,4", target="classlabel false")))
    assert_array_equal(data.series, [[[1, 2]], [[3, 4]]])
    assert data.targets is None


def test_a_ts_file_of_a_regression(tmp_path):
    path = write(tmp_path / "a.ts", ts("1,2:0.5", "3,4:-1", target="targetlabel true"))
    train, test = load_splits(str(path), kind="regression")
    assert train.targets.tolist() == [0.5, -1]
    assert test is None


MALFORMED_TS = {
    "empty": "",
    "prose": "hello\nworld\n",
    "no rows": ts(),
    "a word": ts("1,x:a", "3,4:b"),
    "an empty series": ts(":a", "3,4:b"),
    "lengths that differ": ts("1,2,3:a", "3,4:b"),
    "channels that differ": ts("1,2:3,4:a", "3,4:b", univariate=False),
    "lengths that differ between channels": ts("1,2:3:a", "3:4:b", equal=False, univariate=False),
    "a target that is no number": ts("1,2:x", "3,4:1", target="targetlabel true"),
}


@pytest.mark.parametrize("text", MALFORMED_TS.values(), ids=MALFORMED_TS)
def test_a_malformed_ts_file_is_told_in_one_sentence_that_names_it(tmp_path, text):
    with one_sentence("broken.ts"):
        load_file(write(tmp_path / "broken.ts", text))


def test_a_ts_file_of_bytes_is_told_in_one_sentence_that_names_it(tmp_path):
    (tmp_path / "broken.ts").write_bytes(bytes(range(256)))
    with one_sentence("broken.ts"):
        load_file(tmp_path / "broken.ts")


# .arff files

RELATIONAL = (
    "@relation made\n@attribute series relational\n@attribute a1 numeric\n@attribute a2 numeric\n"
    "@end series\n@attribute t {a,b}\n@data\n"
)


def test_an_arff_file(tmp_path):
    data = load_file(write(tmp_path / "a.arff", ARFF + "1,?,a\n3,4,b\n"))
    assert_array_equal(data.series, [[[1, NAN]], [[3, 4]]])
    assert data.targets.tolist() == ["a", "b"]


def test_an_arff_file_of_several_channels(tmp_path):
    data = load_file(write(tmp_path / "a.arff", RELATIONAL + "'1,2\\n3,4',a\n'5,6\\n7,8',b\n"))
    assert_array_equal(data.series, [[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
    assert data.targets.tolist() == ["a", "b"]


@pytest.mark.parametrize(
    "rows", ["", "1,x,a\n", "1,2,a\n3,4,5,b\n"], ids=["no rows", "a word", "lengths that differ"]
)
def test_a_malformed_arff_file_is_told_in_one_sentence_that_names_it(tmp_path, rows):
    with one_sentence("broken.arff"):
        load_file(write(tmp_path / "broken.arff", ARFF + rows))


# .tsv files


def test_a_tsv_file_has_its_class_first(tmp_path):
    data = load_file(write(tmp_path / "a.tsv", "2\t1.0\t2.0\n-1\t3\t4\n"))
    assert_array_equal(data.series, [[[1, 2]], [[3, 4]]])
    assert data.targets.tolist() == [2, -1]


def test_what_pads_the_short_series_of_a_tsv_file_is_cut_off_before_the_network(tmp_path):
    data = load_file(write(tmp_path / "a.tsv", "1\t1\t2\t3\n2\t4\tNaN\tNaN\n2\t5\tNaN\t6\n"))
    processor = TimeSeriesProcessor("none", None).fit(data.series)
    assert [inputs[:, 0].tolist() for inputs in processor(data.series)] == [
        [1, 2, 3],
        [4],
        [5, 5.5, 6],
    ]


@pytest.mark.parametrize(
    "text",
    ["", "1\n2\n", "1\t2\tx\n2\t3\t4\n", "class\tt1\tt2\n1\t2\t3\n", "1\t2\n2\t3\t4\n"],
    ids=["empty", "no steps", "a word", "a header", "lengths that differ"],
)
def test_a_malformed_tsv_file_is_told_in_one_sentence_that_names_it(tmp_path, text):
    with one_sentence("broken.tsv"):
        load_file(write(tmp_path / "broken.tsv", text))


# .npz files


def test_an_npz_file_of_one_part(tmp_path):
    data = load_file(npz(tmp_path / "a.npz", X=X, y=Y))
    assert_array_equal(data.series, X)
    assert_array_equal(data.targets, Y)
    assert load_file(npz(tmp_path / "a.npz", X=X)).targets is None


def test_an_npz_file_of_both_parts(tmp_path):
    path = npz(tmp_path / "a.npz", X_train=X, y_train=Y, X_test=X[:1] + 1, y_test=Y[1:])
    train, test = load_splits(str(path), kind="classification")
    assert_array_equal(train.series, X)
    assert_array_equal(test.series, X[:1] + 1)
    assert (train.targets.tolist(), test.targets.tolist()) == ([0, 1], [1])


def test_an_npz_file_of_one_part_has_no_test_part(tmp_path):
    train, test = load_splits(str(npz(tmp_path / "a.npz", X=X, y=Y)), kind="classification")
    assert (len(train.series), test) == (2, None)


def test_an_npz_file_may_be_laid_out_with_steps_first(tmp_path):
    path = npz(tmp_path / "a.npz", X=X.transpose(0, 2, 1), y=Y)
    assert_array_equal(load_file(path, "steps_first").series, X)
    assert [series.shape for series in load_file(path).series] == [(4, 3)] * 2


def test_an_npz_file_of_series_without_channels_is_the_same_in_either_layout(tmp_path):
    path = npz(tmp_path / "a.npz", X=X[:, 0], y=Y)
    for layout in ("channels_first", "steps_first"):
        assert_array_equal(load_file(path, layout).series, X[:, :1])


def test_an_npz_file_without_a_training_part_says_what_it_holds(tmp_path):
    path = npz(tmp_path / "a.npz", X_test=X, y_test=Y)
    with one_sentence("a.npz", "X_test", "X_train"):
        load_splits(str(path), kind="classification")


RAGGED = np.array([np.zeros(2), np.zeros(3)], dtype=object)


@pytest.mark.parametrize(
    "arrays",
    [{"X": RAGGED, "y": Y}, {"X": X, "y": np.array(["a", "b"], dtype=object)}],
    ids=["series", "labels"],
)
def test_an_npz_file_of_objects_is_refused_in_one_sentence(tmp_path, arrays):
    path = npz(tmp_path / "objects.npz", **arrays)
    with one_sentence("objects.npz"):
        load_splits(str(path), kind="classification")


class Canary:
    def __reduce__(self):
        return Path.touch, (Path("hatched"),)


def test_no_pickle_in_an_npz_file_is_ever_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = npz(tmp_path / "a.npz", X=np.array([Canary(), Canary()], dtype=object))
    (tmp_path / "b.npz").write_bytes(pickle.dumps(Canary()))
    for each in (path, tmp_path / "b.npz"):
        with pytest.raises(ValueError):  # noqa: PT011 - which one is the test's before this
            load_file(each)
    assert not Path("hatched").exists()


@pytest.mark.parametrize("content", [b"", b"not a zip file"], ids=["empty", "prose"])
@pytest.mark.parametrize(
    "load", [load_file, lambda path: load_splits(str(path), kind="regression")]
)
def test_a_malformed_npz_file_is_told_in_one_sentence_that_names_it(tmp_path, content, load):
    (tmp_path / "broken.npz").write_bytes(content)
    with one_sentence("broken.npz"):
        load(tmp_path / "broken.npz")


def test_a_single_array_named_npz_is_told_in_one_sentence_that_names_it(tmp_path):
    with (tmp_path / "broken.npz").open("wb") as file:
        np.save(file, X)
    with one_sentence("broken.npz"):
        load_file(tmp_path / "broken.npz")


@pytest.mark.parametrize("targets", [np.arange(3), np.array(1)], ids=["three", "a scalar"])
def test_targets_that_do_not_pair_up_with_the_series_are_told_in_one_sentence(tmp_path, targets):
    with one_sentence("2 series", "targets"):
        load_file(npz(tmp_path / "a.npz", X=X, y=targets))
