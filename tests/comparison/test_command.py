"""``evolving-attention compare``: what a user types, what is printed."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from evolving_attention import read_recipe
from evolving_attention.cli import main
from tests.small import small_recipe, two_classes, write_npz


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A recipe and its data, in the working directory."""
    recipe = small_recipe(write_npz(tmp_path / "small.npz"), "runs/one", epochs=1)
    recipe = replace(recipe, data=replace(recipe.data, train="small.npz"))
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def refused(capsys):
    """Run a command that fails and return the sentence it printed."""

    def refused(*words):
        with pytest.raises(SystemExit) as stopped:
            main(["compare", *words])
        assert stopped.value.code == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1
        return told

    return refused


def test_it_compares_with_the_twin_and_tells_run_by_run(folder, capsys):
    main(["compare", "recipe.yaml", "--seeds", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("[1/2] small evolving seed 0: accuracy ")
    assert lines[1].startswith("[2/2] small twin seed 0: accuracy ")
    assert lines[2] == "report: comparisons/recipe/README.md"
    text = (folder / "comparisons/recipe/README.md").read_text()
    assert "evolving-attention compare recipe.yaml --seeds 1\n" in text


def test_data_variants_output_and_options_of_the_recipe(folder, capsys):
    write_npz(folder / "more.npz", lambda **options: two_classes(channels=1, **options))
    main(
        [
            "compare",
            "recipe.yaml",
            "--data=small.npz,more.npz",
            *("--against", "kernel_1,mine:model.alpha=0.2;training.epochs=2"),
            *("--name", "ours", "--output", "out", "--seed", "4", "--seeds", "1"),
            *("--model.hidden_size", "16"),
        ]
    )
    table = pd.read_csv(folder / "out/results.csv")
    assert list(table["variant"]) == ["ours", "kernel_1", "mine"] * 2
    assert set(table["data"]) == {"small", "more"}
    assert set(table["seed"]) == {4}
    for name, alpha, epochs in (("ours", 0.5, 1), ("mine", 0.2, 2)):
        recipe = read_recipe(folder / f"out/runs/more/{name}/seed-4/recipe.yaml")
        assert (recipe.model["alpha"], recipe.training.epochs) == (alpha, epochs)
        assert recipe.model["hidden_size"] == 16


def test_the_report_names_no_folder_of_the_machine(folder):
    source = folder / "small.npz"
    main(["compare", str(folder / "recipe.yaml"), "--data", str(source), "--seeds", "1"])
    text = (folder / "comparisons/recipe/README.md").read_text()
    assert "compare recipe.yaml --data small.npz --seeds 1\n" in text
    assert str(folder) not in text


def test_the_report_alone(folder, capsys):
    main(["compare", "recipe.yaml", "--seeds", "1"])
    report = folder / "comparisons/recipe/README.md"
    before = report.read_text()
    report.unlink()
    main(["compare", "--report-only", "comparisons/recipe"])
    assert report.read_text() == before
    assert "failed" not in capsys.readouterr().out.splitlines()[-1]


def test_the_report_alone_counts_what_failed(folder, capsys):
    main(["compare", "recipe.yaml", "--seeds", "1"])
    path = folder / "comparisons/recipe/runs/small/twin/seed-0/result.json"
    result = json.loads(path.read_text())
    path.write_text(json.dumps(result | {"row": result["row"] | {"status": "failed"}}))
    main(["compare", "--report-only", "comparisons/recipe"])
    assert capsys.readouterr().out.endswith("README.md; of 2 runs 1 failed\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "which recipe"),
        (["--report-only", "nowhere"], "nowhere"),
        (["recipe.yaml", "--against", "sister"], "sister"),
        (["recipe.yaml", "--data", "nowhere.ts"], "nowhere.ts"),
        (["recipe.yaml", "--seeds", "0"], "seeds"),
        (["recipe.yaml", "--against", "", "--model.key_ratio", "0.3", "--seeds", "1"], "key_ratio"),
    ],
    ids=" ".join,
)
def test_mistakes_are_told_in_one_sentence(folder, refused, words, told):
    assert told in refused(*words)
