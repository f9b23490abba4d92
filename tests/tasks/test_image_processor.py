import numpy as np
import pytest
import torch
from torch.testing import assert_close
from transformers import AutoFeatureExtractor

from evolving_attention.models import EAAAResNetForImageClassification
from evolving_attention.tasks.image_data import ImageData
from evolving_attention.tasks.image_processor import ImageProcessor, resized
from tests.models.images import tiny_config
from tests.small import one_sentence
from tests.tasks.image_files import save_image, small_images


def fitted(data=None, **options):
    return ImageProcessor(**options).fit(data or small_images())


def test_channels_get_mean_0_and_deviation_1_over_the_training_part():
    data = small_images()
    batch = fitted(data)(data.images)
    assert batch.shape == (24, 3, 8, 8)
    assert batch.dtype is torch.float32
    assert_close(batch.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-5)
    assert_close(batch.std((0, 2, 3), correction=0), torch.ones(3), rtol=0, atol=1e-5)


def test_statistics_are_imagenets_or_none_where_asked():
    data = small_images()
    values = torch.from_numpy(data.images).permute(0, 3, 1, 2) / 255
    assert_close(fitted(data, normalization="none")(data.images), values)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    scale = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    assert_close(fitted(data, normalization="imagenet")(data.images), (values - mean) / scale)


def test_a_channel_that_is_the_same_everywhere_stays_finite():
    images = np.full((4, 6, 6, 3), 7, np.uint8)
    assert (fitted(ImageData(images))(images) == 0).all()


def test_size_and_channels_follow_the_training_images():
    grey = fitted(small_images(side=6, channels=1))
    assert (grey.size, grey.num_channels) == ([6, 6], 1)
    colour = fitted(small_images(), image_size=[4, 10])
    assert (colour.size, colour.num_channels) == ([4, 10], 3)
    assert fitted(small_images(channels=1), channels="colour").num_channels == 3
    assert fitted(small_images(), channels="grey").num_channels == 1


def test_files_are_224_pixels_unless_asked(tmp_path):
    data = small_images(cases=2)
    files = ImageData(
        [save_image(each, tmp_path / f"{index}.png") for index, each in enumerate(data.images)]
    )
    processor = fitted(files)
    assert processor.size == [224, 224]
    assert processor(files.images).shape == (2, 3, 224, 224)


def test_an_image_of_the_right_size_is_only_normalised():
    image = torch.rand(3, 8, 8)
    assert fitted().framed(image) is image or torch.equal(fitted().framed(image), image)


@pytest.mark.parametrize("shape", [(8, 16), (16, 8), (7, 31), (100, 20), (3, 3)])
@pytest.mark.parametrize("crop", [1.0, 0.875, 0.5])
def test_images_of_any_shape_fill_the_frame_without_being_bent(shape, crop):
    processor = fitted(image_size=[8, 8], crop=crop)
    rows = torch.arange(shape[0])[:, None].expand(shape) / shape[0]
    framed = processor.framed(rows[None].float())
    assert framed.shape == (1, 8, 8)
    # What changes from row to row alone still does, at the pace that the shorter side sets.
    assert_close(framed[0], framed[0, :, :1].expand(8, 8), rtol=0, atol=1e-5)
    wanted = crop * min(shape) / 8 / shape[0]
    if min(shape) > 3:
        assert framed[0, 2:6, 0].diff().mean().item() == pytest.approx(wanted, rel=0.15)


def test_the_crop_is_the_middle():
    image = torch.zeros(1, 16, 16)
    image[:, 4:12, 4:12] = 1.0
    assert (fitted(image_size=8, crop=0.5).framed(image) == 1.0).all()


def test_shrinking_averages():
    image = torch.rand(1, 32, 32)
    assert_close(resized(image, [8, 8]).mean(), image.mean(), rtol=0, atol=0.01)
    assert resized(image, [8, 8]).std() < image.std() / 2
    assert resized(image, [32, 32]) is image


def test_classes_are_numbers_and_come_back_in_their_own_type():
    processor = fitted().fit_classes(np.array(["b", "a", "b"]))
    assert processor.encode(np.array(["a", "b"])).tolist() == [0, 1]
    assert processor.decode(np.array([[0.1, 2.0]])).tolist() == ["b"]
    with one_sentence("'c'", "training classes"):
        processor.encode(np.array(["c"]))
    with one_sentence("at least 2 classes"):
        fitted().fit_classes(np.array([3, 3]))


def test_it_is_saved_beside_the_model_and_the_auto_class_finds_it(tmp_path):
    data = small_images()
    processor = fitted(data, image_size=6, crop=0.9).fit_classes(data.targets)
    processor.save_pretrained(tmp_path)
    EAAAResNetForImageClassification(tiny_config()).save_pretrained(tmp_path)
    for loaded in (
        ImageProcessor.from_pretrained(tmp_path),
        AutoFeatureExtractor.from_pretrained(tmp_path),
    ):
        assert type(loaded) is ImageProcessor
        assert torch.equal(loaded(data.images), processor(data.images))
        assert loaded.class_labels.tolist() == [0, 1]
        assert loaded.class_labels.dtype == data.targets.dtype


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"crop": 0.0}, ["processing.crop", "0.0"]),
        ({"crop": 1.5}, ["processing.crop", "1.5"]),
        ({"image_size": 0}, ["processing.image_size", "0"]),
        ({"image_size": [8]}, ["processing.image_size"]),
        ({"image_size": [8, 8, 8]}, ["processing.image_size"]),
        ({"channels": "red"}, ["processing.channels", "'red'"]),
        ({"normalization": "robust"}, ["processing.normalization", "'robust'"]),
    ],
    ids=str,
)
def test_options_that_cannot_work_are_refused(options, words):
    with one_sentence(*words):
        ImageProcessor(**options)
