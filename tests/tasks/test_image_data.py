import numpy as np
import pytest
from PIL import ExifTags, Image

from evolving_attention.tasks.image_data import ImageData, as_array, picture, without_broken
from tests.small import one_sentence
from tests.tasks.image_files import bright_or_dark, save_image, small_images, write_folder

RED, CLEAR = (200, 10, 20, 255), (0, 0, 0, 0)


# Arrays


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((5, 4, 6), (5, 4, 6, 1)),
        ((5, 4, 6, 1), (5, 4, 6, 1)),
        ((5, 4, 6, 3), (5, 4, 6, 3)),
        ((5, 3, 4, 6), (5, 4, 6, 3)),
        ((5, 1, 4, 6), (5, 4, 6, 1)),
        ((5, 4, 6, 4), (5, 4, 6, 3)),
    ],
)
def test_arrays_of_any_layout_become_images_with_channels_last(shape, wanted):
    assert as_array(np.zeros(shape, np.uint8)).shape == wanted


def test_channels_first_is_moved_and_not_reshaped():
    images = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)
    assert as_array(images)[1, 2, 3].tolist() == images[1, :, 2, 3].tolist()


def test_numbers_from_0_to_1_and_from_0_to_255_become_bytes():
    assert as_array(np.array([[[0.0, 0.5, 1.0]]])).ravel().tolist() == [0, 128, 255]
    assert as_array(np.array([[[0, 128, 255]]])).ravel().tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((3, 4)), ["the shape", "[3, 4]"]),
        (np.zeros((0, 4, 4)), ["the shape", "[0, 4, 4]"]),
        (np.zeros((2, 2, 5, 7)), ["1, 3 or 4 channels", "[2, 2, 5, 7]"]),
        (np.full((1, 2, 2), 1.5), ["between 0 and 1", "1.5"]),
        (np.full((1, 2, 2), 300), ["between 0 and 255", "300"]),
        (np.full((1, 2, 2), np.nan), ["finite"]),
        (np.full((1, 2, 2), "a"), ["must be numbers"]),
    ],
    ids=lambda value: str(getattr(value, "shape", "")),
)
def test_what_is_no_array_of_images_is_refused(images, words):
    with one_sentence("the pictures", *words):
        as_array(images, "the pictures")


def test_images_and_labels_must_be_as_many():
    images, labels = bright_or_dark(4)
    with one_sentence("4 images", "3 labels"):
        ImageData(images, labels[:3])


def test_a_column_of_labels_is_taken_and_another_shape_refused():
    images, labels = bright_or_dark(4)
    assert ImageData(images, labels[:, None]).targets.tolist() == labels.tolist()
    for wrong in (np.eye(2)[labels], np.array(3)):
        with one_sentence("labels", str(list(wrong.shape))):
            ImageData(images, wrong)


def test_some_images_are_taken_with_their_labels():
    data = small_images(cases=6)
    taken = data.take(np.array([4, 1]))
    assert (taken.images[0] == data.images[4]).all()
    assert taken.targets.tolist() == data.targets[[4, 1]].tolist()
    again = ImageData([*data.images], data.targets).take(np.array([4, 1])).take(np.array([1]))
    assert (again.images[0] == data.images[1]).all()
    assert len(again) == 1


def test_a_fingerprint_tells_other_images_and_labels(tmp_path):
    data = small_images()
    other = ImageData(255 - data.images, data.targets)
    renamed = ImageData(data.images, 1 - data.targets)
    prints = {each.fingerprint() for each in (data, other, renamed)}
    assert len(prints) == 3
    assert small_images().fingerprint() in prints
    files = [save_image(each, tmp_path / f"{index}.png") for index, each in enumerate(data.images)]
    assert ImageData(files).fingerprint() == ImageData(files).fingerprint()
    assert ImageData(files).fingerprint() != ImageData(files[1:]).fingerprint()


# Grey, colour, transparency


def test_grey_becomes_colour_and_colour_grey():
    image = bright_or_dark(1)[0][0]
    assert picture(image) is image
    grey = picture(image, 1)
    luminance = image @ [0.299, 0.587, 0.114]
    assert np.abs(grey[..., 0] - luminance).max() <= 1
    assert (picture(grey, 3) == grey).all()
    assert picture(grey, 3).shape == (8, 8, 3)
    assert picture(grey).shape == (8, 8, 1)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_shows_white(mode, tmp_path):
    image = Image.new("RGBA", (2, 1), RED)
    image.putpixel((1, 0), CLEAR)
    if mode == "P":
        image = image.convert("P")
        image.info["transparency"] = image.getpixel((1, 0))
    else:
        image = image.convert(mode)
    image.save(tmp_path / "image.png")
    shown = picture(tmp_path / "image.png")
    assert shown.shape == (1, 2, 3)
    assert shown[0, 1].tolist() == [255, 255, 255]
    assert shown[0, 0].max() < 255


@pytest.mark.parametrize("mode", ["L", "1", "CMYK", "RGB"])
def test_files_of_any_mode_are_read(mode, tmp_path):
    suffix = "jpg" if mode == "CMYK" else "png"
    image = bright_or_dark(1)[0][0]
    path = save_image(image, tmp_path / f"image.{suffix}", mode)
    assert picture(path).shape == (8, 8, 3)
    assert picture(path, 1).shape == (8, 8, 1)


def test_sixteen_bits_are_scaled_alike_in_every_file_and_not_cut_off(tmp_path):
    files = (([0, 257, 25700, 65535], [0, 1, 100, 255]), ([0, 128, 129], [0, 0, 1]))
    for values, expected in files:
        Image.fromarray(np.array([values], dtype=np.uint16)).save(tmp_path / "deep.png")
        assert picture(tmp_path / "deep.png", 1).ravel().tolist() == expected
        assert picture(tmp_path / "deep.png", 3)[0, :, 2].tolist() == expected


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_photos_are_turned_as_their_camera_noted(suffix, tmp_path):
    path, exif = tmp_path / f"photo.{suffix}", Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # to be turned to the right
    upright = np.repeat(np.array([[0, 255]], dtype=np.uint8), 16, axis=1).repeat(16, axis=0)
    Image.fromarray(np.rot90(upright)).save(path, exif=exif)
    shown = picture(path, 1)[..., 0]
    assert shown.shape == (16, 32)
    assert shown[:, :16].max() < 5
    assert shown[:, 16:].min() > 250


# Broken files


def broken_files(folder):
    (folder / "dark" / "note.png").write_text("not an image")
    whole = (folder / "dark").glob("*.png")
    cut = next(path for path in sorted(whole) if path.name != "note.png")
    (folder / "dark" / "cut.png").write_bytes(cut.read_bytes()[:100])
    return ["note.png", "cut.png"]


def test_a_broken_file_is_refused_by_its_name(tmp_path):
    for name in broken_files(write_folder(tmp_path)):
        with one_sentence(name):
            picture(tmp_path / "dark" / name)
    with one_sentence("gone.png"):
        picture(tmp_path / "gone.png")


def test_broken_files_are_named_and_left_out(tmp_path):
    names = broken_files(write_folder(tmp_path))
    paths = sorted(tmp_path.rglob("*.png"))
    targets = np.array([path.parent.name for path in paths])
    with pytest.warns(UserWarning, match="left out") as warned:
        kept, labels = without_broken(paths, targets, workers=2)
    told = " ".join(str(each.message) for each in warned)
    assert all(name in told for name in names)
    assert [path for path in paths if path.name not in names] == kept
    assert labels.tolist() == [path.parent.name for path in kept]
