"""The commands with translation."""

import gzip
import io
import json
import subprocess
import sys

import pandas as pd
import pytest

from evolving_attention.recipe import read_recipe
from evolving_attention.runs import Run
from tests.parallel import PAIRS, write_corpus, write_lines

pytest.importorskip("sacrebleu")

#: Options with which a network is made and trained in a fraction of a second.
QUICK = [
    *("--model.preset", "tiny", "--model.d_model", 16, "--model.encoder_layers", 2),
    *("--model.decoder_layers", 2, "--processing.vocab_size", 300, "--training.epochs", 2),
    *("--training.batch_tokens", 300, "--generation.num_beams", 2),
    *("--generation.max_length_extra", 2),
]
TWO_PROCESSES = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpora") / "toy", ".gz")


@pytest.fixture(scope="module")
def run(corpus):
    """A run folder of German to English."""
    from evolving_attention.cli import main

    folder = corpus.parent / "run"
    words = ["train", "translation/multi30k", "--data.train", corpus, "--output", folder, *QUICK]
    main([str(word) for word in words])
    return folder


class Stdin(io.TextIOWrapper):
    def __init__(self, text, terminal=False):
        super().__init__(io.BytesIO(text.encode()), "utf-8")
        self.terminal = terminal

    def isatty(self):
        return self.terminal


def test_a_run_folder_is_whole_and_measures_as_it_was_measured(run, call):
    assert {"config.json", "model.safetensors", "tokenizer.json", "recipe.yaml"} <= {
        path.name for path in run.iterdir()
    }
    metrics = json.loads((run / "metrics.json").read_text())
    test = metrics["test"]
    assert set(test) == {
        f"{metric}{part}"
        for metric in ("bleu", "chrf", "loss")
        for part in ("", "_test_a", "_test_b")
    }
    assert metrics["training_pairs"] == {"pairs": 24, "empty": 0, "overlong": 0}
    assert metrics["validation"]["loss"] > 0
    lines = call("evaluate", run).splitlines()
    assert lines[0].startswith(f"test, mean of 2: BLEU {test['bleu']:.2f}, chrF {test['chrf']:.2f}")
    assert lines[2].startswith("test_b: BLEU")
    assert f"loss {test['loss_test_b']:.4f}" in lines[2]
    assert lines[3:] == list(metrics["signatures"].values())
    assert "nrefs:1" in lines[3]
    assert "de to en of toy" in (run / "README.md").read_text()
    assert read_recipe(run / "recipe.yaml").data.source == "de"


@pytest.mark.parametrize("name", ["test_a", "test_a.en.gz"])
def test_a_file_with_its_translation_can_be_measured(run, corpus, call, name):
    first, *signatures = call("evaluate", run, "--input", corpus / name).splitlines()
    test = json.loads((run / "metrics.json").read_text())["test"]
    assert first.endswith(f"loss {test['loss_test_a']:.4f}")
    assert len(signatures) == 2


def test_a_file_is_translated_line_for_line(run, call, tmp_path):
    lines = [PAIRS[0][0], "", PAIRS[1][0], PAIRS[0][0]]
    source = write_lines(tmp_path / "news.de", lines)
    told = call("predict", run, source).splitlines()
    assert len(told) == 4
    assert told[1] == ""
    assert told[0] == told[3]
    assert told == Run.load(run).predict(source)["prediction"].tolist()
    assert "4 lines" in call("predict", run, source, "--output", tmp_path / "news.en")
    assert (tmp_path / "news.en").read_text().splitlines() == told
    call("predict", run, source, "--output", tmp_path / "news.en.gz")
    with gzip.open(tmp_path / "news.en.gz", "rt") as packed:
        assert packed.read().splitlines() == told


@pytest.mark.parametrize("words", [[], ["-"]])
@pytest.mark.parametrize("terminal", [False, True])
def test_so_is_standard_input(run, call, monkeypatch, tmp_path, words, terminal):
    lines = [PAIRS[0][0], "", PAIRS[1][0]]
    expected = call("predict", run, write_lines(tmp_path / "news.de", lines))
    monkeypatch.setattr(sys, "stdin", Stdin("\n".join(lines), terminal))
    assert call("predict", run, *words) == expected


def test_a_file_that_holds_something_is_not_lost_to_a_mistake(run, refused, tmp_path):
    source = write_lines(tmp_path / "news.de", [PAIRS[0][0]])
    before = source.read_bytes()
    assert "name another file" in refused("predict", run, source, "--output", source)
    refused("predict", run, tmp_path / "missing.de", "--output", source)
    assert source.read_bytes() == before


def test_a_run_goes_on_from_another_with_the_recipe_of_both(run, corpus, refused, call, tmp_path):
    words = ["translation/multi30k", "--data.train", corpus, *QUICK, "--output", tmp_path / "on"]
    told = call("train", *words, "--pretrained", run, "--model.alpha", 0.3)
    assert "test_b: BLEU" in told
    recipe = read_recipe(tmp_path / "on" / "recipe.yaml")
    assert (recipe.model["alpha"], recipe.model["d_model"]) == (0.3, 16)
    assert recipe.pretrained == str(run)
    call("train", tmp_path / "on" / "recipe.yaml", "--output", tmp_path / "again")
    told = refused("train", *words, "--pretrained", run, "--model.preset", "small")
    assert "in the pretrained network" in told
    assert "config.json" in refused("train", *words, "--pretrained", tmp_path)
    (tmp_path / "config.json").write_bytes((run / "config.json").read_bytes())
    assert "tokenizer.json" in refused("train", *words, "--pretrained", tmp_path)


def test_generation_can_be_told_otherwise(run, call, refused, tmp_path):
    source = write_lines(tmp_path / "news.de", [" ".join(PAIRS[0][0] for _ in range(3))])
    longer, shorter = (
        call("predict", run, source, "--generation.max_length_ratio", ratio)
        for ratio in ("1.0", "0.1")
    )
    assert len(shorter) < len(longer)
    assert "num_beams must be at least 1" in refused(
        "predict", run, source, "--generation.num_beams", 0
    )
    assert "max_length_ratio must be a finite number" in refused(
        "predict", run, source, "--generation.max_length_ratio", ".inf"
    )
    assert Run.load(run, {"generation.num_beams": 7}).task.generation.num_beams == 7


def test_generation_is_none_of_other_networks(refused, call, tmp_path):
    from tests.small import write_npz

    folder, data = tmp_path / "series", write_npz(tmp_path / "data.npz")
    call(
        "train",
        "time_series/default",
        "--data.train",
        data,
        "--output",
        folder,
        "--training.epochs",
        1,
    )
    told = refused("evaluate", folder, "--generation.num_beams", 2)
    assert "generation.num_beams is no option of a network for classification" in told


def test_the_other_direction_is_an_option(corpus, call, tmp_path):
    words = ["--data.train", corpus, "--data.source", "en", "--data.test", "test_b"]
    told = call("train", "translation/multi30k", *words, "--output", tmp_path / "run", *QUICK)
    assert "test: BLEU" in told
    recipe = read_recipe(tmp_path / "run" / "recipe.yaml")
    assert (recipe.data.source, recipe.data.target) == ("en", "de")


def test_mistakes_are_told_in_one_sentence(corpus, run, refused, tmp_path):
    train = ["train", "translation/multi30k", "--output", tmp_path / "run"]
    assert "--data.train" in refused(*train)
    assert "languages" in refused(*train, "--data.train", corpus, "--data.source", "fr")
    assert "encoder_layers must be at least 1" in refused(
        *train, "--data.train", corpus, "--model.encoder_layers", 0
    )
    assert "label_smoothing" in refused(
        *train, "--data.train", corpus, "--training.label_smoothing", 1.5
    )
    assert "there is no file" in refused("predict", run, tmp_path / "missing.de")
    write_corpus(tmp_path / "uneven")
    write_lines(tmp_path / "uneven" / "train.en", ["a"])
    told = refused(*train, "--data.train", tmp_path / "uneven")
    assert "train.de has 24 lines" in told
    assert "train.en has 1" in told
    assert not (tmp_path / "run").exists()


def test_a_comparison_tells_the_gain_over_the_twin(corpus, call, tmp_path):
    folder = tmp_path / "comparison"
    words = ["--data", corpus, "--seeds", 1, "--output", folder, "--against", "twin"]
    call("compare", "translation/multi30k", *words, *QUICK)
    results = pd.read_csv(folder / "results.csv")
    assert results["data"].tolist() == ["toy_de_en"] * 2
    assert results["status"].eq("finished").all()
    assert results[["bleu", "chrf", "loss", "bleu_test_a", "loss_test_b"]].notna().all().all()
    page = (folder / "README.md").read_text()
    assert "| twin | BLEU (of 100)" in page
    assert "### ChrF" in page
    parameters = results.set_index("variant")["parameters"]
    assert parameters["evolving"] > parameters["twin"]


def test_a_search_is_scored_by_the_loss(corpus, call, tmp_path):
    pytest.importorskip("optuna")
    folder = tmp_path / "tuning"
    call(
        "tune", "translation/multi30k", "--data", corpus, "--trials", 2, "--output", folder, *QUICK
    )
    trials = pd.read_csv(folder / "trials.csv")
    assert trials.filter(like="alpha").isin([0.05, 0.1, 0.2, 0.4]).all().all()
    assert read_recipe(folder / "best.yaml").task == "translation"


@pytest.mark.slow
def test_two_processes_make_the_updates_of_one(corpus, call, tmp_path):
    """For one epoch: within it the network draws from the generator that one process shares."""
    words = ["train", "translation/multi30k", "--data.train", corpus, *QUICK]
    words += ["--model.dropout", 0, "--training.epochs", 1, "--output"]
    call(*words, tmp_path / "one")
    command = [sys.executable, "-m", *TWO_PROCESSES, "evolving_attention", *map(str, words)]
    done = subprocess.run([*command, str(tmp_path / "two")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    one, two = (
        json.loads((tmp_path / each / "metrics.json").read_text()) for each in ("one", "two")
    )
    assert two["history"][0]["loss"] == pytest.approx(one["history"][0]["loss"], rel=1e-4)
    assert two["validation"] == pytest.approx(one["validation"], rel=1e-4)


def test_vectors_are_written(run, corpus, call, tmp_path):
    told = call("embed", run, corpus / "test_b.de.gz", "--output", tmp_path / "vectors.npz")
    assert "4 vectors of 16 numbers" in told


def test_a_file_without_sentences_is_told(run, refused, call, tmp_path):
    empty = write_lines(tmp_path / "empty.de", [])
    assert "no sentences in it" in refused("embed", run, empty, "--output", tmp_path / "it.npz")
    assert "no sentence to show" in refused("inspect", run, "--input", empty)
    assert call("predict", run, empty) == ""


def test_parts_of_a_run_are_measured_by_name(run, call):
    test = json.loads((run / "metrics.json").read_text())["test"]
    first, *_ = call("evaluate", run, "--input", "test_b").splitlines()
    assert first.endswith(f"loss {test['loss_test_b']:.4f}")
    lines = call("evaluate", run, "--input", "test_a,test_b").splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == [
        "test_a,test_b, mean of 2",
        "test_a",
        "test_b",
    ]
