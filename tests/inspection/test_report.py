"""The report: one page with every view, which needs nothing from elsewhere."""

import base64
import re

import pytest

from evolving_attention.inspection import VIEWS, ViewOptions, report
from tests.small import one_sentence

FEW = ViewOptions(samples=6)


@pytest.fixture(scope="module")
def page(pair):
    return report(*pair, FEW)


def pictures(page):
    return re.findall(r'<img alt="[^"]+" src="data:image/png;base64,([^"]+)">', page)


def test_every_view_is_there_with_a_picture(page):
    assert re.findall(r"<h2>(\w+)</h2>", page) == [*VIEWS]
    assert len(pictures(page)) == len(VIEWS)
    for content in pictures(page):
        assert base64.b64decode(content).startswith(b"\x89PNG")


def test_it_needs_nothing_from_elsewhere(page):
    for word in ("<script", "<link", "http:", "https:", "url(", "@import"):
        assert word not in page


def test_it_names_the_networks_with_what_they_scored(page, pair):
    for run in pair:
        assert f"<b>{run.folder.name}</b>" in page
        assert f"test accuracy {run.metrics['test']['accuracy']:.4f}" in page
    assert page.count("no evolution, the twin") == 1


def test_what_a_run_does_not_have_is_left_out_with_the_reason(pair, unlabelled):
    page = report(pair[1], options=ViewOptions(samples=4, input=unlabelled))
    assert len(pictures(page)) == 3
    assert len(re.findall("Left out: .*no kernels", page)) == 1
    assert len(re.findall("Left out: .*targets", page)) == 1


def test_a_mistake_is_told_and_not_left_out(pair):
    with one_sentence("no series 99"):
        report(pair[0], options=ViewOptions(sample=99))
