import numpy as np
import pytest

from evolving_attention.errors import InputError
from evolving_attention.tasks.glue_data import find_task, load_dev, load_test, load_train
from evolving_attention.tasks.glue_files import read_glue_file
from evolving_attention.tasks.glue_tasks import GLUE, describe
from tests.glue import LABELS, sentence, write_task
from tests.tasks.helpers import one_sentence

TRAINED = [name for name, task in GLUE.items() if task.train]


@pytest.mark.parametrize("name", TRAINED)
def test_every_task_is_read_in_the_layout_of_its_own_files(tmp_path, name):
    folder = write_task(tmp_path, name)
    train, dev, tests = load_train(str(folder)), load_dev(str(folder)), load_test(str(folder))
    assert len(train) == 24
    labels = LABELS[name]
    expected = [labels[number % len(labels)] for number in range(24)]
    if describe(name).is_regression:
        assert train.targets.tolist() == [float(label) for label in expected]
    else:
        assert train.targets.tolist() == expected
    assert train.texts[0][0] == sentence(0, 0)
    pair = describe(name).texts
    assert {len(texts) for texts in train.texts} == {len(pair)}
    if len(pair) == 2:
        assert train.texts[0][1] == "It is so ."
    assert len(dev) == (20 if name == "MNLI" else 10)
    assert all(part.targets is None and len(part) == 6 for part in tests.values())
    assert list(tests) == (["MNLI-m.tsv", "MNLI-mm.tsv"] if name == "MNLI" else [f"{name}.tsv"])


def test_the_two_dev_parts_of_mnli_are_told_apart(tmp_path):
    dev = load_dev(str(write_task(tmp_path, "MNLI")))
    assert dev.parts.tolist() == ["matched"] * 10 + ["mismatched"] * 10


def test_the_diagnostic_set_is_predicted_with_mnli(tmp_path):
    write_task(tmp_path, "diagnostic")
    folder = write_task(tmp_path, "MNLI")
    assert list(load_test(str(folder))) == ["MNLI-m.tsv", "MNLI-mm.tsv", "AX.tsv"]
    with one_sentence("AX", "MNLI"):
        load_train(str(tmp_path / "diagnostic"))


def test_quotation_marks_are_characters(tmp_path):
    path = tmp_path / "train.tsv"
    path.write_text('sentence\tlabel\n" a lonely one\t1\n"two" of them\t0\n', encoding="utf-8")
    texts = read_glue_file(path, describe("SST-2")).texts
    assert texts == [('" a lonely one',), ('"two" of them',)]


def test_characters_that_python_takes_for_line_ends_stay_in_the_text(tmp_path):
    path = tmp_path / "train.tsv"
    path.write_bytes("sentence\tlabel\r\none\u2028two\x85three\t1\r\n".encode())
    read = read_glue_file(path, describe("SST-2"))
    assert read.texts == [("one\u2028two\x85three",)]
    assert read.targets.tolist() == ["1"]


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    folder = write_task(tmp_path, "MRPC")
    assert (folder / "dev.tsv").read_bytes().startswith(b"\xef\xbb\xbf")
    assert len(read_glue_file(folder / "dev.tsv", describe("MRPC"), labelled=True)) == 10


def test_a_wrong_number_of_columns_is_told_with_file_and_line(tmp_path):
    path = write_task(tmp_path, "RTE") / "train.tsv"
    lines = path.read_text().split("\n")
    path.write_text("\n".join([*lines[:4], "3\tonly one text", *lines[4:]]))
    with one_sentence(path, "line 5", "2 columns", "4"):
        read_glue_file(path, describe("RTE"))


def test_blank_lines_at_the_end_are_no_rows_and_others_are_told(tmp_path):
    path = write_task(tmp_path, "RTE") / "train.tsv"
    count, text = len(read_glue_file(path, describe("RTE"))), path.read_text()
    path.write_text(text + "\n \n")
    assert len(read_glue_file(path, describe("RTE"))) == count
    path.write_text(text.replace("\n", "\n\n", 1))
    with one_sentence(path, "line 2", "1 column", "4"):
        read_glue_file(path, describe("RTE"))


def test_rows_of_qqp_torn_by_line_breaks_are_left_out_and_told(tmp_path):
    path = write_task(tmp_path, "QQP") / "train.tsv"
    with path.open("a") as file:
        file.write('24\t1\t2\t"What is\nthis?\tIt is so .\t1\n')
    with pytest.warns(UserWarning, match="2 rows torn"):
        assert len(read_glue_file(path, describe("QQP"))) == 24


def test_no_row_of_a_test_file_is_left_out(tmp_path):
    path = write_task(tmp_path, "QQP") / "test.tsv"
    with path.open("a") as file:
        file.write("6\tWhat is\n")
    with one_sentence(path, "line 8", "2 columns"):
        read_glue_file(path, describe("QQP"))


def test_an_unknown_label_is_told_with_file_and_line(tmp_path):
    path = write_task(tmp_path, "RTE") / "dev.tsv"
    path.write_text(path.read_text().replace("not_entailment", "contradiction", 1))
    with one_sentence(path, "line 3", "'contradiction'", "entailment, not_entailment"):
        read_glue_file(path, describe("RTE"))


@pytest.mark.parametrize("score", ["", "high", "nan", "inf"])
def test_a_score_that_is_no_number_is_told_with_file_and_line(tmp_path, score):
    path = write_task(tmp_path, "STS-B") / "train.tsv"
    path.write_text(path.read_text().replace("2.500", score, 1))
    with one_sentence(path, "line 3", repr(score)):
        read_glue_file(path, describe("STS-B"))


def test_a_line_that_is_not_utf8_is_told_by_its_number(tmp_path):
    path = tmp_path / "train.tsv"
    path.write_bytes(b"sentence\tlabel\nfine\t1\ncaf\xe9\t0\n")
    with one_sentence(path, "line 3", "UTF-8", "byte 4", "0xe9"):
        read_glue_file(path, describe("SST-2"))


def test_a_missing_column_is_told_by_its_name(tmp_path):
    path = tmp_path / "train.tsv"
    path.write_text("text\tlabel\nfine\t1\n")
    with one_sentence(path, "'sentence'", "'text', 'label'"):
        read_glue_file(path, describe("SST-2"))
    with one_sentence(path, "empty"):
        path.write_text("")
        read_glue_file(path, describe("SST-2"))
    with one_sentence(path, "no rows"):
        path.write_text("sentence\tlabel\n")
        read_glue_file(path, describe("SST-2"))


def test_a_file_of_another_task_is_none_of_cola(tmp_path):
    path = write_task(tmp_path, "MRPC") / "test.tsv"
    with one_sentence(path, "no column 'sentence'", "4 columns", "it has 5"):
        read_glue_file(path, describe("CoLA"))


def test_labels_that_are_needed_and_missing_are_told(tmp_path):
    folder = write_task(tmp_path, "SST-2")
    with one_sentence(folder / "test.tsv", "'label'"):
        read_glue_file(folder / "test.tsv", describe("SST-2"), labelled=True)


@pytest.mark.parametrize("name", ["sst2", "SST-2", "sst_2", "diagnostic", "ax", "stsb", "mnli"])
def test_tasks_have_the_names_that_people_give_them(name):
    assert describe(name).name in GLUE


def test_a_task_is_found_by_folder_by_archive_or_by_name(tmp_path):
    folder = write_task(tmp_path, "SST-2")
    assert find_task(str(folder)) == (describe("SST-2"), folder)
    assert find_task("sst2", str(tmp_path)) == (describe("SST-2"), folder)
    assert find_task("sst2") == (describe("SST-2"), None)
    (tmp_path / "links").mkdir()
    (tmp_path / "store").mkdir()
    target = (tmp_path / "SST-2").rename(tmp_path / "store" / "RTE")
    (link := tmp_path / "links" / "SST-2").symlink_to(target)
    assert find_task(str(link)) == (describe("SST-2"), link)
    with one_sentence("is a file", "name the folder"):
        find_task(str(target / "train.tsv"))
    with one_sentence("no folder RTE"):
        find_task("RTE", str(tmp_path))
    with one_sentence("no folder", "elsewhere/RTE"):
        find_task("elsewhere/RTE")
    with one_sentence("'IMDB'", "CoLA, SST-2"):
        find_task("IMDB")


def test_parts_are_joined_only_if_all_or_none_are_labelled(tmp_path):
    folder = write_task(tmp_path, "MNLI")
    (folder / "dev_mismatched.tsv").unlink()
    with pytest.raises(InputError, match="dev_mismatched"):
        load_dev(str(folder))
    (folder / "dev_matched.tsv").unlink()
    assert load_dev(str(folder)) is None


def test_a_fingerprint_changes_with_texts_and_with_targets(tmp_path):
    data = load_train(str(write_task(tmp_path, "RTE")))
    prints = {data.fingerprint(), data.take(np.arange(23)).fingerprint()}
    data.targets[0] = "not_entailment"
    assert len(prints | {data.fingerprint()}) == 3
