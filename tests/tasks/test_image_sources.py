import sys
from types import SimpleNamespace

import numpy as np
import pytest

from evolving_attention.errors import InputError
from evolving_attention.tasks.image_data import picture
from evolving_attention.tasks.image_sources import (
    load_image_file,
    load_image_parts,
    load_image_training,
)
from tests.small import one_sentence
from tests.tasks.image_files import (
    bright_or_dark,
    save_image,
    write_folder,
    write_idx,
    write_idx_parts,
    write_sheets,
)


def test_digits_come_with_scikit_learn_in_a_split_that_never_changes():
    train, test = load_image_parts("digits")
    assert (len(train), len(test)) == (1437, 360)
    assert train.images.shape[1:] == (8, 8, 1)
    assert train.images.max() == 255
    assert np.bincount(test.targets).min() >= 34
    again = load_image_parts("digits")[1]
    assert (again.images == test.images).all()
    whole = {each.tobytes() for each in train.images}
    assert sum(each.tobytes() in whole for each in test.images) == 0


# Folders


@pytest.mark.parametrize("name", ["test", "val", "validation"])
def test_imagenets_layout_has_a_training_and_a_test_part(name, tmp_path):
    write_folder(tmp_path / "train", 8)
    write_folder(tmp_path / name, 4, seed=1)
    train, test = load_image_parts(str(tmp_path))
    assert (len(train), len(test)) == (8, 4)
    assert {*train.targets} == {"bright", "dark"}
    for data in (train, test):
        for index in range(len(data)):
            assert data.images[index].parent.name == data.targets[index]
    assert train.names == sorted(train.names)


def test_class_folders_alone_are_a_training_part(tmp_path):
    train, test = load_image_parts(str(write_folder(tmp_path)))
    assert len(train) == 8
    assert test is None


def test_a_test_folder_may_lie_elsewhere(tmp_path):
    write_folder(tmp_path / "a")
    write_folder(tmp_path / "b", 4)
    _, test = load_image_parts(str(tmp_path / "a"), str(tmp_path / "b"))
    assert len(test) == 4
    with one_sentence("no folder", "nowhere"):
        load_image_parts(str(tmp_path / "a"), "nowhere")


def test_broken_files_are_left_out_by_choice(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "dark" / "x.png").write_text("broken")
    assert len(load_image_parts(str(tmp_path))[0]) == 9
    with pytest.warns(UserWarning, match=r"x\.png"):
        assert len(load_image_parts(str(tmp_path), broken="skip")[0]) == 8


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "class").mkdir()
    with one_sentence("holds no images", "folder for each class"):
        load_image_parts(str(tmp_path))
    with one_sentence("no images at", "nowhere"):
        load_image_parts("nowhere")


# Arrays


def test_an_archive_of_arrays_has_its_parts(tmp_path):
    images, labels = bright_or_dark(6)
    np.savez(
        tmp_path / "a.npz", X_train=images, y_train=labels, X_test=images[:2], y_test=labels[:2]
    )
    train, test = load_image_parts(str(tmp_path / "a.npz"))
    assert (train.images == images).all()
    assert test.targets.tolist() == labels[:2].tolist()
    np.savez(tmp_path / "b.npz", X_train=images, y_train=labels)
    assert load_image_parts(str(tmp_path / "b.npz"))[1] is None
    np.savez(tmp_path / "c.npz", X_train=images)
    with one_sentence("c.npz", "lacks y_train"):
        load_image_parts(str(tmp_path / "c.npz"))
    with one_sentence("d.npz"):
        load_image_parts(str(tmp_path / "d.npz"))


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_are_read_compressed_or_not(suffix, tmp_path):
    train, test = load_image_parts(str(write_idx_parts(tmp_path, suffix)))
    images, labels = bright_or_dark(10, 6, 1, seed=10)
    assert (train.images == images).all()
    assert train.targets.tolist() == labels.tolist()
    assert len(test) == 4


def test_a_damaged_idx_file_is_refused_by_name(tmp_path):
    path = write_idx(tmp_path / "train-images-idx3-ubyte", np.zeros((2, 3, 3)))
    with one_sentence("no train-labels"):
        load_image_parts(str(tmp_path))
    path.write_bytes(path.read_bytes()[:-1])
    with one_sentence(path.name, "ends too early"):
        load_image_file(path)
    path.write_bytes(b"\x01\x02\x03\x04")
    with one_sentence(path.name, "no idx file"):
        load_image_file(path)


def test_sheets_are_cut_into_images(tmp_path):
    train, test = load_image_parts(str(write_sheets(tmp_path)))
    assert train.images.shape == (10, 6, 6, 3)
    first, _ = bright_or_dark(5, 6, seed=5)
    second, labels = bright_or_dark(5, 6, seed=6)
    assert (train.images == np.concatenate([first, second])).all()
    assert train.targets[5:].tolist() == labels.tolist()
    assert len(test) == 4


def test_a_sheet_whose_rows_are_no_squares_is_refused(tmp_path):
    write_sheets(tmp_path)
    save_image(np.zeros((2, 35, 3), np.uint8), tmp_path / "data_batch_1.png")
    with one_sentence("data_batch_1.png", "35 pixels is no square"):
        load_image_parts(str(tmp_path))


# The training part alone


def _spoiled_archive(folder):
    images, labels = bright_or_dark(8)
    path = folder / "a.npz"
    np.savez(path, X_train=images, y_train=labels, X_test=np.full((2, 8, 8, 3), -1), y_test=[0, 1])
    return path


def _spoiled_idx(folder):
    (write_idx_parts(folder) / "t10k-images-idx3-ubyte").write_bytes(b"no idx")
    return folder


def _spoiled_sheets(folder):
    (write_sheets(folder) / "test_batch.png").write_bytes(b"no PNG")
    return folder


def _spoiled_folders(folder):
    write_folder(folder / "train")
    (folder / "test").mkdir()
    return folder


@pytest.mark.parametrize(
    "spoiled", [_spoiled_archive, _spoiled_idx, _spoiled_sheets, _spoiled_folders]
)
def test_the_test_part_is_not_opened_where_only_the_training_part_is_wanted(spoiled, tmp_path):
    source = str(spoiled(tmp_path))
    assert len(load_image_training(source)) >= 8
    with pytest.raises(InputError):
        load_image_parts(source)


# The Hub


class Image: ...


class ClassLabel:
    names = ["cat", "dog"]


class Rows(list):
    features = {"img": Image(), "label": ClassLabel()}

    def __getitem__(self, key):
        if isinstance(key, str):
            return [row[key] for row in self]
        return super().__getitem__(key)


@pytest.fixture
def hub(monkeypatch):
    images, labels = bright_or_dark(6)
    rows = Rows(
        {"img": image, "label": int(label)} for image, label in zip(images, labels, strict=True)
    )
    splits = {"train": rows, "validation": rows}

    def load_dataset(name):
        if name != "animals":
            raise FileNotFoundError(f"no {name}. It is not there")
        return splits

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    return splits


def test_a_data_set_of_the_hub_has_its_images_and_the_names_of_its_classes(hub):
    train, test = load_image_parts("hub:animals")
    images, labels = bright_or_dark(6)
    assert train.targets.tolist() == ["cat" if label == 0 else "dog" for label in labels]
    assert (picture(train.images[3]) == images[3]).all()
    assert len(test) == 6


def test_what_the_hub_does_not_have_is_told(hub):
    with one_sentence("'plants'", "no plants"):
        load_image_parts("hub:plants")
    hub["train"] = SimpleNamespace(features={"text": Image.__new__(type("Value", (), {}))})
    with one_sentence("no column of images", "text (Value)"):
        load_image_parts("hub:animals")
    del hub["train"]
    with one_sentence("no part 'train'", "validation"):
        load_image_parts("hub:animals")


def test_without_the_package_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with one_sentence("datasets", "[text]"):
        load_image_parts("hub:animals")


# What is predicted


def test_a_file_a_folder_and_an_archive_can_be_predicted(tmp_path):
    folder = write_folder(tmp_path / "folder")
    one = load_image_file(folder / "dark" / next((folder / "dark").iterdir()).name)
    assert len(one) == 1
    assert one.names[0].endswith(".png")
    flat = load_image_file(folder)
    assert len(flat) == 8
    assert flat.targets is None
    assert {*load_image_file(folder, labelled=True).targets} == {"bright", "dark"}
    images, labels = bright_or_dark(3)
    np.savez(tmp_path / "x.npz", X_test=images, y_test=labels)
    assert load_image_file(tmp_path / "x.npz").targets.tolist() == labels.tolist()
    np.savez(tmp_path / "y.npz", X=images)
    assert load_image_file(tmp_path / "y.npz").targets is None
    np.savez(tmp_path / "z.npz", Y=images)
    with one_sentence("neither X_test nor X", "Y"):
        load_image_file(tmp_path / "z.npz")
    assert len(load_image_file(write_idx_parts(tmp_path))) == 4
    with one_sentence("no file or folder", "gone"):
        load_image_file(tmp_path / "gone.png")
