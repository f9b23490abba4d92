import gzip

import pytest

from evolving_attention.tasks.parallel_files import PairOfFiles, Table, language_files, tables
from tests.parallel import write_corpus, write_lines
from tests.tasks.helpers import one_sentence


def pair(folder, sources, targets, suffix=""):
    return PairOfFiles(
        write_lines(folder / f"train.de{suffix}", sources),
        write_lines(folder / f"train.en{suffix}", targets),
    )


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_files_are_read_line_by_line_whatever_letters_they_have(tmp_path, suffix):
    sources = ["Größe 10 µm", "早上好。", "one\u2028two\x85three", "👩‍👩‍👧 da"]
    read = pair(tmp_path, sources, ["a", "b", "c", "d"], suffix).read("it")
    assert [text for (text,) in read.texts] == sources
    assert read.targets.tolist() == ["a", "b", "c", "d"]


def test_pairs_with_an_empty_side_are_left_out_counted_and_told(tmp_path, capsys):
    read = pair(tmp_path, ["a", "", "c", " \t", "e"], ["A", "B", "", "", "E"]).read("the part")
    assert [text for (text,) in read.texts] == ["a", "e"]
    assert read.targets.tolist() == ["A", "E"]
    assert read.empty == 3
    assert "3 of 5 pairs of the part were left out" in capsys.readouterr().err


@pytest.mark.parametrize(("sources", "targets"), [(3, 2), (2, 5), (0, 1)])
def test_unequal_numbers_of_lines_are_refused_with_both(tmp_path, sources, targets):
    with one_sentence(f"train.de has {sources} lines", f"train.en has {targets}"):
        pair(tmp_path, ["a"] * sources, ["b"] * targets).read("it")


def test_a_table_has_two_columns(tmp_path):
    path = write_lines(tmp_path / "train.tsv.gz", ['" ja\tyes "', "nein\tno"])
    assert Table(path).read("it").targets.tolist() == ['yes "', "no"]
    for columns, told in ((["a"], "1 column where"), (["a", "b", "c"], "3 columns where")):
        path = write_lines(tmp_path / "wrong.tsv", ["ja\tyes", "\t".join(columns)])
        with one_sentence("wrong.tsv, line 2,", told, "2"):
            Table(path).read("it")


def test_a_blank_line_of_a_table_is_an_empty_pair(tmp_path):
    read = Table(write_lines(tmp_path / "train.tsv", ["ja\tyes", "", "nein\tno", " "])).read("it")
    assert (read.targets.tolist(), read.empty) == (["yes", "no"], 2)


def test_nothing_to_read_is_told(tmp_path):
    with one_sentence("the part has no pair"):
        pair(tmp_path, ["", ""], ["a", "b"]).read("the part")


def test_a_file_that_is_torn_or_no_text_is_told_by_its_name(tmp_path):
    files = pair(tmp_path, ["a"] * 999, ["b"] * 999, ".gz")
    whole = files.source.read_bytes()
    for damaged in (whole[:-9], b"no gzip", whole[:12] + b"\xff\xff" + whole[14:]):
        files.source.write_bytes(damaged)
        with one_sentence("train.de.gz is no whole gzip file"):
            files.read("it")
    files.source.write_bytes(gzip.compress(b"a\nb\xe4\n"))
    with one_sentence("train.de.gz, line 2, is not UTF-8", "0xe4"):
        files.read("it")


def test_parts_of_a_folder_are_known_by_their_names(tmp_path):
    write_corpus(tmp_path, train=3, val=2)
    write_corpus(tmp_path, ".gz", train=4, test=2)
    for name in ("README.md", "train.tsv", "notes.txt", "alone.de", "europarl.de-en.pt-BR"):
        write_lines(tmp_path / name, ["a\tb"])
    write_lines(tmp_path / "europarl.de-en.de", ["a"])
    for language in ("mdf", "md", "ru"):  # the first is one
        write_lines(tmp_path / f"more.{language}", ["a"])
    found = language_files(tmp_path)
    assert {part: sorted(files) for part, files in found.items()} == {
        "train": ["de", "en"],
        "val": ["de", "en"],
        "test": ["de", "en"],
        "europarl.de-en": ["de", "pt-BR"],
        "more": ["mdf", "ru"],
    }
    assert found["train"]["de"].name == "train.de"
    assert list(tables(tmp_path)) == ["train"]
