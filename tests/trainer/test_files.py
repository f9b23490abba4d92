"""Folders and files that are whole or not there."""

import pytest

from evolving_attention.trainer.files import (
    is_whole,
    remove_folder,
    replacing_files,
    telling,
    whole_folder,
)
from tests.small import files_of, one_sentence


def make(target, **contents):
    with whole_folder(target) as draft:
        for name, content in contents.items():
            (draft / name).write_text(content)
        assert not target.exists()


def test_a_folder_appears_with_all_its_files(tmp_path):
    make(tmp_path / "folder", a="1", b="2")
    assert is_whole(tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_folder_that_cannot_be_filled_does_not_appear(tmp_path, error):
    def fail():
        with whole_folder(tmp_path / "folder") as draft:
            (draft / "a").write_text("1")
            raise error

    with pytest.raises(error):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_no_obstacle(tmp_path):
    (tmp_path / ".folder.new").mkdir()
    (tmp_path / ".folder.new" / "stale").write_text("x")
    (tmp_path / ".folder.old").mkdir()
    make(tmp_path / "folder", a="1")
    assert set(files_of(tmp_path / "folder")) == {"a", "sha256.json"}
    remove_folder(tmp_path / "folder")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sums", [None, "{", "[]", '{"a": "0"}'])
def test_a_folder_without_its_sums_is_not_whole(tmp_path, sums):
    make(tmp_path / "folder", a="1")
    path = tmp_path / "folder" / "sha256.json"
    path.unlink() if sums is None else path.write_text(sums)
    assert not is_whole(tmp_path / "folder")


def test_files_are_replaced_and_others_stay(tmp_path):
    (tmp_path / "a").write_text("old")
    (tmp_path / "other").write_text("other")
    with replacing_files(tmp_path) as draft:
        (draft / "a").write_text("new")
        assert (tmp_path / "a").read_text() == "old"
    assert files_of(tmp_path) == {"a": b"new", "other": b"other"}


def test_files_stay_where_the_new_ones_cannot_be_written(tmp_path):
    (tmp_path / "a").write_text("old")

    def fail():
        with replacing_files(tmp_path) as draft:
            (draft / "a").write_text("ne")
            raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        fail()
    assert files_of(tmp_path) == {"a": b"old"}


def test_an_error_of_writing_is_told_in_one_sentence(tmp_path):
    with one_sentence(str(tmp_path / "file"), "make room"), telling(tmp_path / "file", "make room"):
        (tmp_path / "file" / "below").write_text("x")
