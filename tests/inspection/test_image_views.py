from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from evolving_attention.inspection.image_maps import attention_grids, maps_of_image, pixel_of
from evolving_attention.inspection.views import ViewOptions, view
from evolving_attention.models import EAAAResNetForImageClassification
from evolving_attention.runs import train
from tests.models.images import three_stages
from tests.small import one_sentence
from tests.tasks.image_files import save_image
from tests.tasks.test_image_task import small_recipe


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A network and its twin, hardly trained: two attention layers each at 4 x 4."""
    folder = tmp_path_factory.mktemp("runs")
    options = {"augmented_convolutions": "first"}
    recipe = small_recipe(folder, model=options, training={"epochs": 1})
    twin = replace(recipe, model=recipe.model | {"alpha": 0.0, "beta": 0.0})
    return train(recipe), train(replace(twin, output=str(folder / "twin")))


def test_maps_of_an_image_are_those_of_the_network(runs):
    image = runs[0].data()[1].images[3]
    kept = maps_of_image(runs[0], image, "image 3")
    pixels = runs[0].task.processor([image])
    output = runs[0].model(pixels, output_maps=True, output_attentions=True)
    assert kept.grids == [(4, 4), (4, 4)]
    for layer in range(2):
        assert np.allclose(kept.maps[layer], output.maps[layer][0].detach(), atol=1e-5)
        expected = output.attentions[layer][0].mean(0).detach()
        # Pixel 5,2 of 8 x 8 lies in row 2 and column 1 of 4 x 4.
        assert np.allclose(kept.looks(layer, 5, 2).ravel(), expected[2 * 4 + 1], atol=1e-5)
    assert kept.prediction in ("0", "1")
    assert np.allclose(kept.picture_YXC, image / 255)


def test_layers_of_several_resolutions_know_their_grids():
    model = EAAAResNetForImageClassification(three_stages(image_size=[64, 96]))
    assert attention_grids(model) == [(4, 6)] * 4 + [(2, 3)] * 2


@pytest.mark.parametrize("name", ["query", "chain"])
@pytest.mark.parametrize("beside", [False, True])
def test_pictures_of_one_image_have_a_row_of_numbers_for_all_they_show(name, beside, runs):
    shown = view(name, runs[0], runs[1] if beside else None, ViewOptions(sample=2, pixel="1,6"))
    assert isinstance(shown.figure, Figure)
    assert "image 2, target" in shown.title
    per_layer = 16 if name == "query" else 2 * 16 * 16
    assert len(shown.numbers) == (2 if beside else 1) * 2 * per_layer
    if name == "chain":
        assert shown.numbers["head"].unique().tolist() == [1, 2]
        assert shown.numbers["query"].unique().tolist() == list(range(16))
    if name == "query":
        total = shown.numbers.groupby(["network", "layer"])["value"].sum()
        assert np.allclose(total, 1.0, atol=1e-5)
        assert "pixel 1,6" in shown.title
    shown.figure.canvas.draw()


def test_maps_before_the_softmax_can_be_drawn(runs):
    shown = view("chain", runs[0], None, ViewOptions(show="map"))
    assert shown.numbers["value"].min() < 0
    assert shown.stem == "map-0"


def test_measures_and_quality_are_taken_of_many_images(runs):
    measures = view("measures", runs[0], runs[1], ViewOptions(samples=3))
    assert measures.numbers["image"].nunique() == 3
    assert measures.numbers["entropy"].between(0, 1).all()
    quality = view("quality", runs[0], None, ViewOptions(samples=10))
    assert quality.numbers.groupby("layer").size().tolist() == [3, 3]
    assert quality.numbers["score"].between(0, 1).all()
    assert "10 images to learn from" in quality.title


def test_kernels_are_shown_as_of_any_network(runs):
    assert len(view("kernels", runs[0]).numbers) == 1


def test_files_are_looked_at_too(runs, tmp_path):
    path = save_image(np.zeros((20, 30, 3), np.uint8), tmp_path / "black.png")
    assert view("query", runs[0], None, ViewOptions(input=str(path))).title.startswith("image 0:")


@pytest.mark.parametrize(
    ("told", "words"),
    [("8,0", ["no pixel 8,0", "8 rows"]), ("middle", ["ROW,COLUMN", "'middle'"])],
)
def test_a_pixel_that_is_none_is_refused(told, words):
    with one_sentence(*words):
        pixel_of(told, 8, 8)


@pytest.mark.parametrize(
    ("option", "instead"), [("position", "name a pixel"), ("heads", "the mean of the heads")]
)
def test_an_option_that_images_do_not_take_is_refused(runs, option, instead):
    with one_sentence(option, "not for image networks", instead):
        view("query", runs[0], None, ViewOptions(**{option: 1}))


def test_the_middle_is_the_default():
    assert pixel_of(None, 9, 4) == (4, 2)


def test_an_image_that_is_not_there_is_told(runs):
    with one_sentence("no image 10", "0 to 9"):
        view("query", runs[0], None, ViewOptions(sample=10))
