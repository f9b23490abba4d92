"""The command line without labels: pretrain, embed, and training that starts from a run."""

import json

import matplotlib.image
import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file as load_weights

from evolving_attention import Run, read_recipe, train
from evolving_attention.recipe import PretrainingOptions
from tests.small import files_of, small_recipe, two_classes, write_npz, write_ts


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set, a recipe of a classifier for it, and a pretraining run."""
    folder = tmp_path_factory.mktemp("pretraining")
    data = write_npz(folder / "data.npz")
    (folder / "recipe.yaml").write_text(small_recipe(data, folder / "classifier").to_yaml())
    train(small_recipe(data, folder / "start", kind="pretraining"))
    return folder


@pytest.fixture
def recipe(folder, tmp_path):
    """The path of a recipe whose run goes to ``tmp_path / "run"``."""
    text = (folder / "recipe.yaml").read_text()
    text = text.replace(str(folder / "classifier"), str(tmp_path / "run"))
    (tmp_path / "recipe.yaml").write_text(text)
    return tmp_path / "recipe.yaml"


def encoder(path):
    weights = load_weights(path / "model.safetensors")
    return {name: tensor for name, tensor in weights.items() if name.startswith("model.")}


class TestPretrain:
    def test_it_pretrains_the_network_of_a_recipe_beside_its_own_folder(
        self, call, recipe, folder, tmp_path
    ):
        shown = call("pretrain", recipe)
        output = tmp_path / "run_pretraining"
        assert shown.splitlines()[-1] == f"run folder: {output}"
        assert "test: mse " in shown
        weights = "model.safetensors"
        assert files_of(output)[weights] == files_of(folder / "start")[weights]
        assert read_recipe(output / "recipe.yaml").task == "time_series_pretraining"

    def test_an_output_that_is_given_is_the_output(self, call, recipe, tmp_path):
        call("pretrain", recipe, "--output", tmp_path / "mine", "--training.epochs", "1")
        assert Run.load(tmp_path / "mine").metrics["epoch"] == 1
        assert not (tmp_path / "run_pretraining").exists()

    def test_the_epochs_of_pretraining_are_its_epochs(self, call, recipe):
        shown = call("pretrain", recipe, "--pretraining.epochs", "7", "--print_config")
        printed = yaml.safe_load(shown)
        assert printed["training"]["epochs"] == 7
        assert printed["pretraining"]["epochs"] == 0

    def test_it_is_the_same_as_training_its_own_recipe(self, call, folder, tmp_path):
        arguments = [folder / "start" / "recipe.yaml", "--output"]
        call("train", *arguments, tmp_path / "trained")
        call("pretrain", *arguments, tmp_path / "pretrained")
        assert encoder(tmp_path / "trained").keys() == encoder(tmp_path / "pretrained").keys()
        for name, tensor in encoder(tmp_path / "trained").items():
            assert torch.equal(tensor, encoder(tmp_path / "pretrained")[name])

    def test_data_without_labels_and_without_a_test_part_are_enough(self, call, recipe, tmp_path):
        data = write_ts(tmp_path / "series.ts", two_classes()[0])
        output = tmp_path / "mine"
        shown = call("pretrain", recipe, "--data.train", data, "--output", output)
        assert "test:" not in shown
        assert json.loads((output / "metrics.json").read_text())["test"] is None

    def test_masks_are_settings(self, call, recipe):
        options = ["--pretraining.masked_share", "0.3", "--pretraining.together", "true"]
        printed = yaml.safe_load(call("pretrain", recipe, *options, "--print_config"))
        expected = PretrainingOptions(masked_share=0.3, together=True)
        assert printed["pretraining"] == vars(expected)

    def test_masks_that_cannot_be_drawn_are_told(self, refused, recipe):
        assert "masked_share" in refused("pretrain", recipe, "--pretraining.masked_share", "1.5")


@pytest.mark.parametrize("command", ["compare", "tune"])
def test_what_needs_labels_refuses_a_recipe_without(refused, folder, command, tmp_path):
    arguments = [folder / "start" / "recipe.yaml", "--output", tmp_path / "there"]
    assert "without labels" in refused(command, *arguments)
    assert not (tmp_path / "there").exists()


class TestAPretrainingRun:
    def test_it_is_evaluated_by_what_it_fills_in(self, call, folder):
        figures = Run.load(folder / "start").metrics["test"]
        shown = call("evaluate", folder / "start")
        assert f"mse {figures['mse']:.4f}" in shown
        assert f"interpolation_mse {figures['interpolation_mse']:.4f}" in shown

    def test_it_is_evaluated_on_a_file_without_labels(self, call, folder, tmp_path):
        data = write_ts(tmp_path / "series.ts", two_classes(seed=5)[0])
        assert "mse " in call("evaluate", folder / "start", "--input", data)

    def test_it_predicts_nothing_and_says_what_it_does(self, refused, folder):
        told = refused("predict", folder / "start", folder / "data.npz")
        assert "without labels" in told
        assert "embed" in told
        assert "--pretrained" in told

    def test_its_maps_can_be_looked_at(self, call, folder, tmp_path):
        shown = call("inspect", folder / "start", "--output", tmp_path / "maps.png")
        assert "predicted" not in shown
        assert matplotlib.image.imread(tmp_path / "maps.png").std() > 0.05

    @pytest.mark.parametrize("what", ["query", "measures", "kernels"])
    def test_every_view_that_needs_no_labels_shows_it(self, call, folder, tmp_path, what):
        call("inspect", folder / "start", "--what", what, "--output", tmp_path / "view.png")
        assert (tmp_path / "view.png").is_file()

    def test_a_report_leaves_out_what_needs_labels(self, call, folder, tmp_path):
        page = tmp_path / "report.html"
        call("inspect", folder / "start", "--what", "report", "--output", page)
        assert "without labels" in page.read_text()

    def test_its_card_says_how_to_embed(self, folder):
        card = (folder / "start" / "README.md").read_text()
        assert "run.embed(" in card
        assert "pretraining of" in card


class TestTrainFromARun:
    def test_it_starts_from_the_run(self, call, recipe, folder, tmp_path):
        call("train", recipe, "--pretrained", folder / "start", "--freeze", "true")
        kept, start = encoder(tmp_path / "run"), encoder(folder / "start")
        assert kept.keys() == start.keys()
        for name, tensor in start.items():
            assert torch.equal(kept[name], tensor), name
        written = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
        assert (written["pretrained"], written["freeze"]) == (str(folder / "start"), True)
        assert "accuracy" in call("evaluate", tmp_path / "run")

    def test_the_normalisation_that_was_used_is_in_the_resolved_recipe(
        self, call, recipe, folder, tmp_path
    ):
        arguments = ["--processing.normalization", "standard", "--processing.clip", "3"]
        call("train", recipe, "--pretrained", folder / "start", *arguments)
        run = Run.load(tmp_path / "run")
        start = Run.load(folder / "start").task.processor
        assert (run.recipe.processing.normalization, run.recipe.processing.clip) == ("robust", 5.0)
        assert run.task.processor.center == start.center

    def test_options_that_the_recipe_does_not_give_are_those_of_the_run(
        self, call, recipe, folder, tmp_path
    ):
        bare = tmp_path / "bare.yaml"
        text = yaml.safe_load(recipe.read_text()) | {"model": {}}
        bare.write_text(yaml.safe_dump(text))
        call("train", bare, "--pretrained", folder / "start")
        assert Run.load(tmp_path / "run").model.config.hidden_size == 8

    def test_another_width_is_told_by_its_name(self, refused, recipe, folder):
        arguments = ["--pretrained", folder / "start", "--model.hidden_size", "16"]
        told = refused("train", recipe, *arguments)
        assert "hidden_size is 16" in told
        assert "hidden_size=8" in told
        assert str(folder / "start") in told

    def test_a_folder_without_a_run_is_told(self, refused, recipe, tmp_path):
        assert "config.json" in refused("train", recipe, "--pretrained", tmp_path / "nothing")

    def test_pretraining_first_is_in_the_metrics(self, call, recipe, tmp_path):
        call("train", recipe, "--pretraining.epochs", "2")
        metrics = Run.load(tmp_path / "run").metrics
        assert [entry["epoch"] for entry in metrics["pretraining"]] == [1, 2]
        assert all(np.isfinite(entry["loss"]) for entry in metrics["pretraining"])

    def test_a_run_that_starts_from_a_run_needs_it_no_longer(self, call, recipe, folder, tmp_path):
        call("pretrain", folder / "recipe.yaml", "--output", tmp_path / "start")
        call("train", recipe, "--pretrained", tmp_path / "start")
        (tmp_path / "start").rename(tmp_path / "elsewhere")
        assert "accuracy" in call("evaluate", tmp_path / "run")


class TestEmbed:
    def test_it_writes_vectors_and_labels_without_pickle(self, call, folder, tmp_path):
        output = tmp_path / "vectors.npz"
        shown = call("embed", folder / "start", folder / "data.npz", "--output", output)
        assert shown == f"10 vectors of 8 numbers: {output}\n"
        with np.load(output, allow_pickle=False) as written:
            vectors, labels = written["vectors"], written["labels"]
        expected, targets = Run.load(folder / "start").embed(folder / "data.npz")
        np.testing.assert_array_equal(vectors, expected)
        np.testing.assert_array_equal(labels, targets)

    def test_without_a_file_it_embeds_the_test_part_into_the_run_folder(
        self, call, recipe, tmp_path
    ):
        call("train", recipe, "--training.epochs", "1")
        call("embed", tmp_path / "run")
        with np.load(tmp_path / "run" / "vectors.npz") as written:
            assert written["vectors"].shape == (10, 8)
            assert written["labels"].shape == (10,)

    @pytest.mark.parametrize(
        "labels", [["yes, a", "no"], [3, 7], [True, False]], ids=["text", "numbers", "booleans"]
    )
    def test_labels_keep_their_type(self, call, folder, tmp_path, labels):
        X, y = two_classes()
        np.savez(tmp_path / "new.npz", X=X, y=np.array(labels)[y])
        call("embed", folder / "start", tmp_path / "new.npz", "--output", tmp_path / "v.npz")
        with np.load(tmp_path / "v.npz", allow_pickle=False) as written:
            assert written["labels"].tolist() == np.array(labels)[y].tolist()

    def test_a_file_without_labels_gives_vectors_alone(self, call, folder, tmp_path):
        data = write_ts(tmp_path / "series.ts", two_classes()[0])
        call("embed", folder / "start", data, "--output", tmp_path / "v.npz")
        with np.load(tmp_path / "v.npz") as written:
            assert list(written) == ["vectors"]

    @pytest.mark.parametrize("projection", ["pca", "tsne"])
    def test_it_draws_the_vectors(self, call, folder, tmp_path, projection):
        picture = tmp_path / "picture.png"
        arguments = ["--output", tmp_path / "v.npz", "--projection", projection]
        shown = call("embed", folder / "start", *arguments, "--picture", picture)
        assert shown.splitlines()[-1] == f"picture: {picture}"
        assert matplotlib.image.imread(picture).std() > 0.01

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--output", "no/such/v.npz"], "no/such"),
            (["--output", "vectors.csv"], ".npz"),
            (["--output", "v.npz", "--picture", "no/such/p.png"], "no/such"),
            (["--output", "v.npz", "--picture", "picture.exe"], "picture.exe"),
            (["missing.ts"], "missing.ts"),
        ],
        ids=str,
    )
    def test_mistakes_are_told(self, refused, folder, arguments, words, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert words in refused("embed", folder / "start", *arguments)
