"""The commands with texts: GLUE and pretraining."""

import json
import shutil

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from evolving_attention.runs import Run
from tests.glue import sentence, write_task
from tests.small import files_of
from tests.texts import write_checkpoint

#: Options with which a network is made and trained in a fraction of a second.
QUICK = [
    *("--model.hidden_size", 16, "--model.intermediate_size", 16, "--model.num_hidden_layers", 3),
    *("--model.num_attention_heads", 2, "--processing.vocab_size", 200),
    *("--processing.max_length", 32, "--training.epochs", 1, "--training.batch_size", 8),
]
SHORT = ["--training.epochs", 1, "--training.batch_size", 8, "--processing.max_length", 32]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("glue")
    for task in ("MNLI", "diagnostic", "STS-B", "CoLA"):
        write_task(place, task)
    write_checkpoint(place / "bert")
    return place


@pytest.fixture(scope="module")
def run(place):
    """A run folder of MNLI."""
    from evolving_attention.cli import main

    folder = place / "run"
    words = ["train", "glue/small", "--data.train", place / "MNLI", "--output", folder, *QUICK]
    main([str(word) for word in words])
    return folder


def test_a_run_folder_is_whole_and_measures_as_it_was_measured(run, call):
    assert {"config.json", "model.safetensors", "tokenizer.json", "recipe.yaml"} <= {
        path.name for path in run.iterdir()
    }
    told = json.loads((run / "metrics.json").read_text())["test"]
    assert set(told) == {"score", "accuracy", "accuracy_mismatched"}
    line = call("evaluate", run)
    assert f"accuracy_mismatched {told['accuracy_mismatched']:.4f}" in line
    assert "MNLI of GLUE" in (run / "README.md").read_text()


def test_predict_without_a_file_writes_what_the_server_takes(run, call, tmp_path):
    told = call("predict", run, "--output", tmp_path / "submission")
    assert told.count("for the benchmark") == 3
    for name in ("MNLI-m.tsv", "MNLI-mm.tsv", "AX.tsv"):
        table = pd.read_csv(tmp_path / "submission" / name, sep="\t")
        assert list(table.columns) == ["index", "prediction"]
        assert table["index"].tolist() == list(range(6))
        assert table["prediction"].isin(["entailment", "neutral", "contradiction"]).all()


def test_predict_of_a_file_writes_a_table_or_the_servers_form(run, place, call, tmp_path):
    test = place / "MNLI" / "test_matched.tsv"
    call("predict", run, test, "--output", tmp_path / "table.csv")
    table = pd.read_csv(tmp_path / "table.csv")
    chances = table.filter(like="probability_")
    assert chances.shape == (6, 3)
    assert chances.sum(axis=1).round(6).eq(1).all()
    best = chances.idxmax(axis=1).str.removeprefix("probability_")
    assert table["prediction"].tolist() == best.tolist()
    call("predict", run, test, "--output", tmp_path / "MNLI-m.tsv")
    served = pd.read_csv(tmp_path / "MNLI-m.tsv", sep="\t")
    assert served["prediction"].tolist() == table["prediction"].tolist()


def test_a_run_works_where_its_training_data_are_not(run, place, call, refused, tmp_path):
    test, away = tmp_path / "test.tsv", place / "elsewhere"
    shutil.copy(place / "MNLI" / "test_matched.tsv", test)
    (place / "MNLI").rename(away)
    try:
        call("predict", run, test, "--output", tmp_path / "MNLI-m.tsv")
        assert "accuracy" in call("evaluate", run, "--input", away / "dev_matched.tsv")
        assert f"no folder {place / 'MNLI'}" in refused("evaluate", run)
    finally:
        away.rename(place / "MNLI")
    assert len((tmp_path / "MNLI-m.tsv").read_text().splitlines()) == 7


def test_scores_for_the_server_lie_in_the_range_of_the_annotators(place, call, tmp_path):
    run = tmp_path / "run"
    words = ["--data.train", "STS-B", "--data.archive", place, "--output", run]
    call("train", "glue/pretrained", "--pretrained", place / "bert", *words, *SHORT)
    assert set(json.loads((run / "metrics.json").read_text())["test"]) == {
        "score",
        "pearson",
        "spearman",
    }
    call("predict", run)
    lines = (run / "submission" / "STS-B.tsv").read_text().splitlines()
    assert lines[0] == "index\tprediction"
    assert all(0 <= float(line.split("\t")[1]) <= 5 for line in lines[1:])
    assert all(len(line.split(".")[1]) == 3 for line in lines[1:])


def test_maps_are_drawn_with_their_tokens(run, call, tmp_path):
    csv = tmp_path / "maps.csv"
    told = call("inspect", run, "--sample", 1, "--output", tmp_path / "chain.png", "--csv", csv)
    assert "text 1, target neutral" in told
    entries = pd.read_csv(csv)
    assert (entries["layer"].max(), entries["head"].max()) == (3, 2)
    tokens = Run.load(run).task.processor("The dog runs away fast .", "It is so .")["input_ids"]
    assert entries["query"].max() + 1 == entries["key"].max() + 1 == len(tokens)
    sums = entries.groupby(["layer", "head", "query"])["value"].sum()
    assert sums.round(5).eq(1).all()
    call("inspect", run, "--what", "query", "--sample", 1, "--output", tmp_path / "query.svg")
    assert "dog" in (tmp_path / "query.svg").read_text()


def test_measures_tell_of_the_twin_too_how_it_changes_from_layer_to_layer(place, call, tmp_path):
    twin, csv = tmp_path / "twin", tmp_path / "measures.csv"
    words = ["--data.train", place / "CoLA", "--model.alpha", 0, "--model.beta", 0]
    call("train", "glue/small", *words, "--output", twin, *QUICK)
    words = ["--samples", 3, "--output", tmp_path / "measures.png", "--csv", csv]
    call("inspect", twin, "--what", "measures", *words)
    table = pd.read_csv(csv)
    assert table[table["layer"] == 1]["divergence"].isna().all()
    assert table[table["layer"] > 1]["divergence"].notna().all()
    assert table["kept"].isna().all()


def test_what_cannot_be_looked_at_is_told(run, refused):
    assert "no text 99" in refused("inspect", run, "--sample", 99)
    assert "not judged for texts" in refused("inspect", run, "--what", "quality")


def test_a_comparison_tells_the_gain_over_the_twin(place, call, tmp_path):
    folder = tmp_path / "comparison"
    words = ["--data", f"{place / 'CoLA'},{place / 'STS-B'}", "--seeds", 1, "--output", folder]
    start = ["--pretrained", place / "bert", "--against", "twin,identity_start"]
    call("compare", "glue/pretrained", *words, *start, *SHORT)
    results = pd.read_csv(folder / "results.csv")
    assert len(results) == 6
    assert results["status"].eq("finished").all()
    assert results["score"].notna().all()
    assert results[results["data"] == "CoLA"]["matthews"].notna().all()
    page = (folder / "README.md").read_text()
    assert "| twin | score (points)" in page
    assert "Gains of evolving" in page


def test_a_search_is_scored_by_the_official_metric_on_held_out_texts(place, call, tmp_path):
    pytest.importorskip("optuna")
    folder = tmp_path / "tuning"
    words = ["--data", place / "CoLA", "--trials", 2, "--output", folder]
    call("tune", "glue/small", *words, *QUICK, "--training.validation", 0.25)
    trials = pd.read_csv(folder / "trials.csv")
    assert trials.filter(like="alpha").isin([0.1, 0.2, 0.4]).all().all()


def test_pretraining_from_text_gives_a_start(place, call, refused, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(sentence(number, number % 3) for number in range(20)))
    start, run = tmp_path / "start", tmp_path / "run"
    words = ["--data.train", texts, "--model.alpha", 0.3, "--output", start]
    told = call("pretrain", "glue/pretraining", *words, *QUICK)
    assert "run folder" in told
    told = call("evaluate", start, "--input", texts)
    assert "perplexity" in told
    told = refused("evaluate", start, "--input", place / "CoLA" / "dev.tsv")
    assert "pretrained on texts: name a text file" in told
    words = ["--data.train", place / "CoLA", "--pretrained", start, "--output", run]
    call("train", "glue/pretrained", *words, *SHORT)
    assert Run.load(run).recipe.model["alpha"] == Run.load(start).recipe.model["alpha"] == 0.3
    learned, begun = (load_file(each / "model.safetensors") for each in (run, start))
    assert learned["bert.embeddings.word_embeddings.weight"].shape == (
        begun["bert.embeddings.word_embeddings.weight"].shape
    )
    call("embed", run, place / "CoLA" / "dev.tsv", "--output", tmp_path / "vectors.npz")


def test_a_task_of_glue_can_be_pretrained_on(place, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = call("pretrain", "glue/small", "--data.train", place / "CoLA", *QUICK)
    assert "runs/glue_small_pretraining" in told
    assert "perplexity" in told


def test_a_killed_run_goes_on_to_the_same_weights(place, call, tmp_path, monkeypatch):
    from evolving_attention.tasks.text_task import TextTask
    from tests.small import Killed

    words = ["glue/small", "--data.train", place / "CoLA", *QUICK, "--training.checkpoint_every", 0]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    call("train", *words, "--output", whole)
    collate, made = TextTask.collate, iter(range(100))

    def collate_or_die(self, examples):
        if next(made) == 2:
            raise Killed
        return collate(self, examples)

    with monkeypatch.context() as patch:
        patch.setattr(TextTask, "collate", collate_or_die)
        with pytest.raises(Killed):
            call("train", *words, "--output", broken)
    call("train", *words, "--output", broken, "--resume")
    assert files_of(whole)["model.safetensors"] == files_of(broken)["model.safetensors"]


def test_what_is_wrong_with_the_data_is_told_in_one_line(place, refused, tmp_path):
    out = ["--output", tmp_path / "run", *QUICK]
    assert "no folder" in refused("train", "glue/small", "--data.train", "no/where", *out)
    assert "path/to/checkpoint is no folder" in refused(
        "train", "glue/pretrained", "--data.train", place / "CoLA", "--output", tmp_path / "run"
    )
    assert "AX has no training part" in refused(
        "train", "glue/small", "--data.train", place / "diagnostic", *out
    )
    assert "'alhpa'" in refused(
        "train", "glue/small", "--data.train", place / "CoLA", *out, "--model.alhpa", 0.1
    )
    path = tmp_path / "CoLA" / "train.tsv"
    path.parent.mkdir()
    path.write_text("gj04\t1\t\tFine.\ngj04\t7\t\tNot fine.\n")
    told = refused("train", "glue/small", "--data.train", path.parent, *out)
    assert f"{path}, line 2, has the label '7'" in told
    assert not (tmp_path / "run").exists()


def test_the_recipes_for_pretrained_networks_say_where_they_come_from():
    from evolving_attention.recipe import bundled_recipes, read_recipe
    from evolving_attention.tasks.family import family_of
    from evolving_attention.training import check_options

    names = [name for name in bundled_recipes() if name.startswith("glue/")]
    assert len(names) >= 6
    for name in names:
        recipe = read_recipe(bundled_recipes()[name])
        family_of(recipe).check(recipe)
        check_options(recipe.training)
    assert torch.get_num_threads() > 0
