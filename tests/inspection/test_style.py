"""Files of pictures."""

import pytest

from evolving_attention.inspection.style import check_picture, new_figure, save_picture
from tests.small import one_sentence


def figure():
    figure = new_figure(2, 1)
    figure.subplots().plot([1, 2])
    return figure


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_same_figure_is_the_same_file(suffix, tmp_path):
    for name in ("one", "other"):
        save_picture(figure(), tmp_path / f"{name}.{suffix}")
    one, other = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in ("one", "other"))
    assert one == other
    assert len(one) > 500


@pytest.mark.parametrize("name", ["maps.xyz", "maps", "."])
def test_what_is_no_picture_is_told(name, tmp_path):
    with one_sentence("no picture", "png", "svg", "pdf"):
        check_picture(tmp_path / name)
    with one_sentence("no picture"):
        save_picture(figure(), tmp_path / name)
