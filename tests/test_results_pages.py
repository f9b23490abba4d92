"""The scripts that write the pages of results: what they tell of finished comparisons."""

import json
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evolving_attention.comparison.results import COLUMNS

SCRIPTS = Path(__file__).parents[1] / "docs" / "results"
PAGE = """# a against b

```console
evolving-attention compare images/default --data ../../shared/data/bark,digits
```

Data sets: 1. Seeds: 3.
"""


@pytest.fixture
def page(monkeypatch, tmp_path):
    """The module that the scripts share, writing into a folder of the test."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.delitem(sys.modules, "page", raising=False)
    import page

    monkeypatch.setattr(page, "FOLDER", tmp_path)
    yield page
    sys.modules.pop("page")


def comparison(folder, scores, metric="accuracy"):
    """A finished comparison: variants with a score for each seed, and one run that failed."""
    rows = [
        {"data": "bark", "kind": "classification", "variant": variant, "seed": seed, metric: score}
        | {"log_loss": 1 - score, "status": "finished", "train_seconds": 9.0, "parameters": 1000}
        for variant, of_seeds in scores.items()
        for seed, score in enumerate(of_seeds)
    ]
    rows.append(rows[-1] | {"seed": 7, metric: np.nan, "status": "failed"})
    folder.mkdir()
    pd.DataFrame(rows).reindex(columns=list(COLUMNS)).to_csv(folder / "results.csv", index=False)
    (folder / "README.md").write_text(PAGE)
    return folder


def run(script, monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", [script, *map(str, words)])
    runpy.run_path(str(SCRIPTS / script), run_name="__main__")


def test_the_readme_tells_no_figure_that_a_page_of_results_does_not_tell():
    readme = (SCRIPTS.parents[1] / "README.md").read_text()
    section = readme.partition("## What was measured")[2].partition("\n## ")[0]
    pages = re.findall(r"docs/results/(\w+\.md)", section)
    told = "".join((SCRIPTS / name).read_text() for name in pages).replace(" | [", " [")
    figures = re.findall(r"[-+]?\d+\.\d+(?: \[.*?\])?", section)
    assert len(figures) > 5
    assert [each for each in figures if each not in told] == []


def test_a_gain_is_told_with_what_it_shows(page, tmp_path):
    scores = {"clear": [0.9, 0.91, 0.92], "twin": [0.8, 0.81, 0.82], "noisy": [0.9, 0.7, 0.84]}
    runs = page.finished_runs(comparison(tmp_path / "trees", scores))
    pairs = [("noisy", "twin"), ("twin", "clear"), ("clear", "twin"), ("clear", "absent")]
    told = page.verdicts(runs, "accuracy", pairs).splitlines()[2:]
    assert "+0.33 | [-26.00, +26.66] | 3 | no difference shown" in told[0]
    # Differences that are the same for all seeds have no spread, and so no interval.
    assert "| clear | twin | +10.00 | – | 3 |  |" in told[2]
    assert len(told) == 3
    scores["clear"][0] = 0.905
    runs = page.finished_runs(comparison(tmp_path / "more", scores))
    told = page.verdicts(runs, "accuracy", pairs[1:3])
    assert told.splitlines()[2].endswith("| 3 | behind |")
    assert told.splitlines()[3].endswith("| 3 | ahead |")


def test_the_page_of_images_is_made_of_comparisons_costs_and_choices(page, monkeypatch, tmp_path):
    scores = {"evolving": [0.9, 0.92], "twin": [0.91, 0.9], "plain": [0.95, 0.96]}
    trees = comparison(tmp_path / "trees", scores)
    ways = {
        f"{way}_{name}": 2.0
        for way in ("training", "inference")
        for name in ("images_per_second", "of_twin", "gflops", "peak_MB")
    }
    steps = {"variant": "tiny", "batch": 4, "form": "twin", "parameters": 1234, **ways}
    pd.DataFrame([steps]).to_csv(tmp_path / "measured.csv", index=False)
    choice = pd.read_csv(trees / "results.csv")
    choice[choice["status"] == "finished"].to_csv(tmp_path / "tried.csv", index=False)
    options = ("--steps", tmp_path / "measured.csv", "--choice", tmp_path / "tried.csv")
    run("images.py", monkeypatch, trees, *options)
    text = (tmp_path / "images.md").read_text()
    assert "| bark | 0.9100 ± 0.0141 | 0.9050 ± 0.0071 | 0.9550 ± 0.0071 |" in text
    for pair in ("evolving | twin", "evolving | plain", "twin | plain"):
        assert text.count(f"| bark | {pair} |") == 2  # accuracy and log loss
    assert "| tiny, 4 images | twin | 1,234 | 2 | 2.00 | 2 | 2 |" in text
    assert "--data bark,digits" in text
    assert "on TRAIN alone" in text
    runs = pd.read_csv(tmp_path / "images.csv")
    assert len(runs) == 7
    assert set(runs["comparison"]) == {"trees"}
    assert (tmp_path / "image_steps.csv").is_file()
    assert (tmp_path / "image_choice.csv").is_file()


def test_the_page_of_glue_tells_every_form_against_the_twin(page, monkeypatch, tmp_path):
    scores = {"random": [0.5, 0.52], "twin": [0.51, 0.5]}
    run("glue.py", monkeypatch, comparison(tmp_path / "glue_bark", scores, "score"))
    text = (tmp_path / "glue.md").read_text()
    assert "## bark" in text
    assert "| bark | random | twin | +0.50 |" in text
    row = "| bark | random | bark | +0.50 | [-1.00, +2.00] | 1 / 0 / 0 | no difference shown |"
    assert row in text


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_page_of_translation_tells_every_test_part(page, monkeypatch, tmp_path, seeds):
    scores = {"evolving": [36.0, 37.0][:seeds], "twin": [35.0, 35.5][:seeds]}
    folder = comparison(tmp_path / "bark_de_en", scores, "bleu")
    results = pd.read_csv(folder / "results.csv").assign(chrf=55.0, loss=2.0, epoch=3)
    results["bleu_news"], results["chrf_news"] = results["bleu"] - 1, 54.0
    results.to_csv(folder / "results.csv", index=False)
    (folder / "comparison.json").write_text('{"settings": {"training.epochs": 4}}')
    for variant in scores:
        for seed in range(seeds):
            path = folder / "runs" / "bark" / variant / f"seed-{seed}"
            path.mkdir(parents=True)
            losses = [{"epoch": n, "validation_loss": 4.0 - n + seed} for n in (1, 2, 3, 4)]
            (path / "metrics.json").write_text(json.dumps({"history": losses}))
    run("translation.py", monkeypatch, folder)
    text = (tmp_path / "translation.md").read_text()
    assert "## bark_de_en" in text
    mean, news = {
        1: ("36.00 | 35.00 | +1.00 | – | 1 |", "35.00 | 34.00 | +1.00 | – | 1 |"),
        2: ("36.50 ± 0.71 | 35.25 ± 0.35 | +1.25 | [", "35.50 ± 0.71 | 34.25 ± 0.35 | +1.25 | ["),
    }[seeds]
    assert f"| bark_de_en | 4 | evolving | {mean}" in text
    assert f"| bark | mean | evolving | {mean}" in text
    assert f"| bark | news | evolving | {news}" in text
    assert "| bark | twin | 3.0 of 4 | 9 s | 1,000 |" in text
    loss = {1: "1.000", 2: "1.500"}[seeds]
    assert f"| 3 | {loss} | {loss} |" in text
    assert len(pd.read_csv(tmp_path / "translation_learning_bark_de_en.csv")) == 2 * seeds * 4


def test_the_page_of_time_series_has_the_comparisons_report(page, monkeypatch, tmp_path):
    scores = {"evolving": [0.9, 0.92], "twin": [0.91, 0.9]}
    run("time_series.py", monkeypatch, comparison(tmp_path / "classification", scores))
    text = (tmp_path / "time_series.md").read_text()
    assert "## Classification\n\n```console\nevolving-attention compare" in text
    assert "a against b" not in text
    assert "| classification: ahead of twin in accuracy | +0.500 [" in text


def test_the_page_of_time_series_tells_what_earlier_defaults_gave(page, monkeypatch, tmp_path):
    networks = ["evolving", "twin", "dilated_only"]
    before = {"defaults": "older", "kind": "classification", "data": "bark", "seed": 0}
    rows = [before | {"variant": name, "accuracy": 0.8} for name in networks]
    before |= {"kind": "regression", "data": "sap"}
    rows += [before | {"variant": name, "rmse": 3.5} for name in networks]
    pd.DataFrame(rows).to_csv(tmp_path / "earlier.csv", index=False)
    now = {name: [0.9, 0.92] for name in networks}
    words = (comparison(tmp_path / "classification", now), "--earlier", tmp_path / "earlier.csv")
    run("time_series.py", monkeypatch, *words)
    text = (tmp_path / "time_series.md").read_text()
    assert "| older | 0.8000 | 0.8000 | 0.8000 |" in text
    assert "| those of this page | 0.9100 | 0.9100 | 0.9100 |" in text
    assert "| sap | older | 3.5000 | 3.5000 | 3.5000 |" in text
    assert (tmp_path / "time_series_earlier.csv").is_file()
