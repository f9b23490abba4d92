import sys

import pytest

from evolving_attention.tasks.translation_metrics import TranslationMetrics
from tests.tasks.helpers import one_sentence


@pytest.fixture(autouse=True)
def _sacrebleu():
    pytest.importorskip("sacrebleu")


def test_the_same_is_100_and_nothing_in_common_is_0():
    metrics = TranslationMetrics("en")
    lines = ["The large cat sleeps here.", "One small goose waits there."]
    assert metrics.measure(lines, lines) == {"bleu": pytest.approx(100), "chrf": pytest.approx(100)}
    assert metrics.measure(["x y"], ["1 2 3 4"]) == {"bleu": 0, "chrf": 0}


def test_figures_are_those_of_sacrebleu():
    import sacrebleu

    written, references = ["the cat sat on a mat today"], ["the cat sat on the mat ."]
    found = TranslationMetrics("de").measure(written, references)
    assert found["bleu"] == sacrebleu.corpus_bleu(written, [references]).score > 0
    assert found["chrf"] == sacrebleu.corpus_chrf(written, [references]).score


def test_case_counts_unless_it_is_asked_not_to_and_the_signature_tells():
    written, references = ["THE CAT SLEEPS HERE"], ["the cat sleeps here"]
    mixed, lower = TranslationMetrics("en"), TranslationMetrics("en", lowercase=True)
    assert mixed.measure(written, references)["bleu"] == 0
    assert lower.measure(written, references)["bleu"] == pytest.approx(100)
    assert mixed.signatures()["bleu"].startswith("BLEU|nrefs:1|case:mixed|eff:no|tok:13a|")
    assert "case:lc" in lower.signatures()["bleu"]
    assert lower.signatures()["chrf"].startswith("chrF2|nrefs:1|case:lc")


@pytest.mark.parametrize("language", ["zh", "zh-CN", "zh_CN"])
def test_chinese_is_cut_into_characters(language):
    assert "tok:zh" in TranslationMetrics(language).signatures()["bleu"]


def test_a_missing_package_is_told_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with one_sentence("sacrebleu is not installed", "evolving-attention[text]"):
        TranslationMetrics.check()
