"""Pictures of vectors: projections, colours, and what cannot be drawn."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from evolving_attention.inspection import draw_embedding
from evolving_attention.inspection.embedding import PROJECTIONS, project
from tests.small import one_sentence


def clusters(cases=30, size=8, seed=0):
    """Vectors of three clusters far apart, and which cluster each is of."""
    rng = np.random.default_rng(seed)
    labels = np.arange(cases) % 3
    return rng.normal(size=(cases, size)) + 20 * np.eye(3, size)[labels], labels


def drawn_points(figure):
    return np.concatenate([part.get_offsets() for part in figure.axes[0].collections])


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_clusters_stay_apart(projection):
    vectors, labels = clusters()
    points, names = project(vectors, projection)
    assert points.shape == (30, 2)
    assert len(names) == 2
    centers = np.stack([points[labels == label].mean(0) for label in range(3)])
    distance = np.linalg.norm(points[:, None] - centers, axis=2)
    assert (distance.argmin(1) == labels).all()


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_the_same_vectors_give_the_same_points(projection):
    vectors, _ = clusters()
    assert_allclose(project(vectors, projection)[0], project(vectors, projection)[0])


def test_principal_components_say_how_much_they_explain():
    vectors = np.random.default_rng(0).normal(size=(200, 2)) * [3, 1]
    names = project(vectors)[1]
    shares = [int(name.split(", ")[1].split("%")[0]) for name in names]
    assert shares[0] == pytest.approx(90, abs=4)
    assert sum(shares) == 100


@pytest.mark.parametrize("projection", PROJECTIONS)
@pytest.mark.parametrize("cases", [3, 4])
def test_few_vectors_are_projected_too(projection, cases):
    assert np.isfinite(project(clusters(cases)[0], projection)[0]).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_equal_vectors_are_one_point():
    points, names = project(np.ones((5, 4)))
    assert_allclose(points, 0, atol=1e-12)
    assert "0%" in names[0]


@pytest.mark.parametrize("shape", [(2, 4), (10, 1), (1, 1)])
def test_what_is_no_cloud_is_refused(shape):
    with one_sentence("at least 3", str(shape)):
        project(np.zeros(shape))


def test_an_unknown_projection_is_refused():
    with one_sentence("'pca'", "'tsne'", "'umap'"):
        project(clusters()[0], "umap")


@pytest.mark.parametrize(
    "names", [["a", "b", "c"], [1, 2, 3], [1.0, 2.0, 3.0], [True, False, True]]
)
def test_each_class_has_a_colour_and_its_name(names):
    vectors, labels = clusters()
    named = np.array(names)[labels]
    axes = draw_embedding(vectors, named).axes[0]
    told = [text.get_text() for text in axes.get_legend().get_texts()]
    assert told == [str(label) for label in np.unique(named)]
    colours = {tuple(part.get_facecolor()[0]) for part in axes.collections}
    assert len(colours) == len(told)
    for part, label in zip(axes.collections, np.unique(named), strict=True):
        assert_allclose(part.get_offsets(), project(vectors)[0][named == label])


def test_names_are_shown_as_they_are():
    vectors, labels = clusters()
    figure = draw_embedding(vectors, np.array(["$x", "y$", "$z$"])[labels], title="50 $ and 60 $")
    figure.canvas.draw()
    assert figure.axes[0].get_title() == "50 $ and 60 $"


def test_so_many_classes_have_colours_and_no_legend():
    vectors, _ = clusters(60)
    axes = draw_embedding(vectors, np.char.add("class ", (np.arange(60) // 2).astype(str))).axes[0]
    assert axes.get_legend() is None
    assert len({tuple(part.get_facecolor()[0]) for part in axes.collections}) == 30


@pytest.mark.parametrize("shape", [(30,), (30, 1), (30, 2)])
def test_values_have_a_scale_of_colours(shape):
    values = np.random.default_rng(0).normal(size=shape)
    figure = draw_embedding(clusters()[0], values)
    assert len(figure.axes) == 2, "the picture and its scale"
    (cloud,) = figure.axes[0].collections
    assert_allclose(cloud.get_array(), values.reshape(30, -1)[:, 0])


def test_so_many_whole_numbers_are_values():
    assert len(draw_embedding(clusters()[0], np.arange(30)).axes) == 2


def test_who_knows_better_says_which_they_are():
    vectors, labels = clusters()
    assert len(draw_embedding(vectors, labels, by_value=True).axes) == 2
    assert len(draw_embedding(vectors, labels + 0.5, by_value=False).axes) == 1


def test_without_labels_all_points_are_drawn_alike():
    figure = draw_embedding(clusters()[0])
    assert len(drawn_points(figure)) == 30
    assert figure.axes[0].get_legend() is None


def test_it_is_a_picture(tmp_path):
    draw_embedding(*clusters(), title="three").savefig(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 5000
