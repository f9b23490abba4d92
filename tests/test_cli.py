"""The command line: what each command prints and writes, and how it tells mistakes."""

import json
import subprocess
import sys
import time
from dataclasses import fields, replace
from importlib.metadata import entry_points
from shutil import copytree

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import yaml
from pandas.testing import assert_frame_equal

from evolving_attention import Run, read_recipe, train
from evolving_attention.cli import main
from evolving_attention.inspection import MEASURES, VIEWS
from evolving_attention.recipe import TimeSeriesRecipe, bundled_recipes
from evolving_attention.tasks.time_series import model_options
from tests.small import files_of, interrupt_training, small_recipe, two_classes, write_npz

COMMANDS = (
    "train",
    "pretrain",
    "compare",
    "tune",
    "evaluate",
    "predict",
    "embed",
    "inspect",
    "recipes",
)


def named(value):
    """Name a case by its arguments, as one would type them."""
    return value if isinstance(value, str) else " ".join(value)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set, a recipe for it, and a run, which tests leave as it is."""
    folder = tmp_path_factory.mktemp("cli")
    recipe = small_recipe(write_npz(folder / "data.npz"), folder / "run")
    (folder / "recipe.yaml").write_text(recipe.to_yaml())
    train(recipe)
    return folder


@pytest.fixture
def recipe(folder, tmp_path):
    """The path of a recipe whose run goes to ``tmp_path / "run"``."""
    recipe = replace(read_recipe(folder / "recipe.yaml"), output=str(tmp_path / "run"))
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    return str(tmp_path / "recipe.yaml")


def process(*arguments):
    """Run the command line in a process of its own."""
    program = "from evolving_attention.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True
    )


class TestHelp:
    @pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS)])
    def test_it_is_readable_and_no_mistake(self, arguments, capsys):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        shown = capsys.readouterr()
        assert stopped.value.code in (0, None)
        assert shown.err == ""
        assert shown.out.startswith("usage: evolving-attention")
        assert "--help" in shown.out
        lines = shown.out.splitlines()
        assert max(map(len, lines)) <= 110, max(lines, key=len)
        assert not any(word in shown.out for word in ("<class", "object at 0x", "functools"))

    def test_the_programs_names_every_command_with_what_it_does(self, capsys):
        with pytest.raises(SystemExit):
            main(["--help"])
        shown = capsys.readouterr().out
        for name in COMMANDS:
            assert any(
                line.split()[:1] == [name] and len(line.split()) > 2 for line in shown.splitlines()
            ), name

    def test_that_of_train_names_every_field_of_a_recipe(self, capsys):
        with pytest.raises(SystemExit):
            main(["train", "--help"])
        shown = capsys.readouterr().out
        recipe = TimeSeriesRecipe()
        for name, value in vars(recipe).items():
            nested = vars(value) if hasattr(value, "__dataclass_fields__") else None
            for option in [name] if nested is None else [f"{name}.{key}" for key in nested]:
                assert f"--{option} " in shown, option

    def test_that_of_train_explains_every_option(self, capsys):
        with pytest.raises(SystemExit):
            main(["train", "--help"])
        entries = capsys.readouterr().out.split("\noptions:")[1].split("\n  --")[1:]
        for entry in entries:
            name, _, explanation = entry.partition(" ")
            words = explanation.split("(type")[0].split()
            assert len([word for word in words if word.islower()]) >= 2, name

    def test_the_programs_imports_nothing_heavy_and_answers_at_once(self):
        program = """
import sys
from evolving_attention.cli import main
try:
    main(["--help"])
except SystemExit:
    heavy = {"torch", "transformers", "aeon", "sklearn", "matplotlib", "pandas"}
    print("heavy:", sorted(heavy & set(sys.modules)))
"""
        seconds = []
        for _ in range(2):
            started = time.perf_counter()
            told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
            seconds.append(time.perf_counter() - started)
        assert told.returncode == 0, told.stderr
        assert told.stdout.endswith("heavy: []\n")
        assert min(seconds) < 2

    @pytest.mark.parametrize("arguments", ["train --help", "inspect --help", "recipes", "train x"])
    def test_what_needs_no_network_imports_no_torch(self, arguments):
        program = f"""
import sys
from evolving_attention.cli import main
try:
    main({arguments.split()!r})
except SystemExit:
    pass
print("torch" in sys.modules or "transformers" in sys.modules)
"""
        told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert told.stdout.endswith("False\n"), told.stderr


class TestTrain:
    def test_it_writes_a_run_and_tells_its_figures(self, call, recipe, tmp_path):
        shown = call("train", recipe)
        run = Run.load(tmp_path / "run")
        assert f"accuracy {run.metrics['test']['accuracy']:.4f}" in shown
        assert f"trained {run.metrics['parameters']:,} parameters" in shown
        assert f"chose epoch {run.metrics['epoch']}" in shown
        assert shown.splitlines()[-1] == f"run folder: {tmp_path / 'run'}"

    def test_progress_is_shown_on_stderr(self, recipe, capsys):
        main(["train", recipe])
        shown = capsys.readouterr()
        assert "epoch" in shown.err
        assert "\r" not in shown.out

    def test_it_trains_what_the_python_function_trains(self, call, recipe, folder, tmp_path):
        call("train", recipe)
        weights = "model.safetensors"
        assert files_of(tmp_path / "run")[weights] == files_of(folder / "run")[weights]

    @pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
    def test_overrides_may_stand_before_or_after_the_recipe(self, call, recipe, tmp_path, first):
        options = ["--seed", "7", "--model.alpha", "0.125", "--training.epochs", "1"]
        arguments = [*options, recipe] if first else [recipe, *options]
        call("train", *arguments)
        trained = Run.load(tmp_path / "run")
        assert trained.recipe.seed == 7
        assert trained.recipe.training.epochs == 1
        assert trained.model.config.alpha == 0.125
        kept = read_recipe(recipe)
        assert trained.model.config.hidden_size == kept.model["hidden_size"]
        assert trained.recipe.training.batch_size == kept.training.batch_size

    def test_a_seed_of_zero_goes_before_that_of_the_recipe(self, call, recipe, tmp_path):
        seeded = tmp_path / "seeded.yaml"
        seeded.write_text(replace(read_recipe(recipe), seed=5).to_yaml())
        shown = yaml.safe_load(call("train", seeded, "--seed", "0", "--print_config"))
        assert shown["seed"] == 0

    def test_a_value_can_be_set_back_to_none(self, call, recipe):
        shown = call("train", recipe, "--processing.clip", "null", "--print_config")
        assert yaml.safe_load(shown)["processing"]["clip"] is None

    def test_a_bundled_recipe_is_found_by_name(self, call, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        shown = yaml.safe_load(call("train", "time_series/paper_classification", "--print_config"))
        assert shown["model"]["pooling"] == "flatten"
        assert shown["training"]["optimizer"] == "radam"

    @pytest.mark.parametrize("name", ["recipe[1].yaml", "recipe 1.yaml", "rezept-ü.yml"])
    def test_a_recipe_of_any_name_is_read(self, call, tmp_path, name):
        (tmp_path / name).write_text("seed: 4\nmodel: {alpha: 0.125}\n")
        shown = yaml.safe_load(call("train", tmp_path / name, "--print_config"))
        assert (shown["seed"], shown["model"]["alpha"]) == (4, 0.125)

    def test_a_run_is_replaced_only_where_asked(self, call, refused, recipe, tmp_path):
        call("train", recipe)
        before = files_of(tmp_path / "run")
        assert "--overwrite" in refused("train", recipe, "--seed", "1")
        assert files_of(tmp_path / "run") == before
        call("train", recipe, "--seed", "1", "--overwrite")
        assert Run.load(tmp_path / "run").recipe.seed == 1

    def test_ctrl_c_in_training_keeps_a_run(self, call, recipe, tmp_path, monkeypatch):
        interrupt_training(monkeypatch, after=6)
        call("train", recipe, "--training.epochs", "50")
        assert Run.load(tmp_path / "run").metrics["interrupted"] is True

    def test_a_run_goes_on_where_ctrl_c_ended_it(self, call, refused, recipe, tmp_path):
        options = ("--training.epochs", "5", "--training.checkpoint_every", "0")
        with pytest.MonkeyPatch.context() as patch:
            interrupt_training(patch, after=12)
            assert "--resume goes on" in call("train", recipe, *options)
        assert "--resume" in refused("train", recipe, *options)
        told = refused("train", recipe, "--resume", "--training.epochs", "6")
        assert "training.epochs was 5 and is 6" in told
        call("train", recipe, *options, "--resume")
        assert len(Run.load(tmp_path / "run").metrics["history"]) == 5
        assert Run.load(tmp_path / "run").metrics["interrupted"] is False
        assert "is finished" in refused("train", recipe, *options, "--resume")

    def test_ctrl_c_elsewhere_exits_with_130(self, recipe, monkeypatch, capsys):
        def interrupt(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr("evolving_attention.tasks.time_series_family.load_splits", interrupt)
        with pytest.raises(SystemExit) as stopped:
            main(["train", recipe])
        assert stopped.value.code == 130
        assert "Traceback" not in capsys.readouterr().err


class TestPrintConfig:
    def test_it_prints_the_whole_recipe_with_every_option_of_the_model(self, call, recipe):
        shown = call("train", recipe, "--print_config", "--model.alpha", "0.125")
        parsed = yaml.safe_load(shown)
        assert list(parsed) == [field.name for field in fields(TimeSeriesRecipe)]
        expected = model_options() | read_recipe(recipe).model | {"alpha": 0.125}
        assert parsed["model"] == expected

    def test_it_trains_nothing(self, call, recipe, tmp_path, monkeypatch):
        interrupt_training(monkeypatch, after=0)
        call("train", recipe, "--print_config")
        assert not (tmp_path / "run").exists()

    def test_what_it_prints_is_a_recipe_for_the_same(self, call, recipe, tmp_path):
        shown = call("train", recipe, "--print_config")
        (tmp_path / "printed.yaml").write_text(shown)
        assert call("train", tmp_path / "printed.yaml", "--print_config") == shown
        printed = read_recipe(tmp_path / "printed.yaml")
        assert replace(printed, model={}) == replace(read_recipe(recipe), model={})

    def test_it_may_stand_before_the_recipe(self, call, recipe):
        before = call("train", "--print_config", recipe)
        assert before == call("train", recipe, "--print_config")

    def test_it_tells_an_unknown_option(self, refused, recipe):
        assert "alfa" in refused("train", recipe, "--print_config", "--model.alfa", "0.5")


class TestEvaluate:
    def test_it_prints_the_figures_of_the_training(self, call, folder):
        shown = call("evaluate", folder / "run")
        written = json.loads((folder / "run" / "metrics.json").read_text())["test"]
        figures = ", ".join(f"{name} {value:.4f}" for name, value in written.items())
        assert shown == f"test: {figures}\n"

    def test_it_measures_a_file(self, call, folder, tmp_path):
        X, y = two_classes(cases=4, seed=3)
        np.savez(tmp_path / "new.npz", X=X, y=y)
        shown = call("evaluate", folder / "run", "--input", tmp_path / "new.npz")
        expected = Run.load(folder / "run").evaluate(tmp_path / "new.npz")["accuracy"]
        assert shown.startswith(f"{tmp_path / 'new.npz'}: accuracy {expected:.4f}")

    def test_it_leaves_the_run_as_it_was(self, call, folder):
        before = files_of(folder / "run")
        call("evaluate", folder / "run")
        assert files_of(folder / "run") == before


class TestPredict:
    def test_it_writes_a_row_for_every_series(self, call, folder, tmp_path):
        output = tmp_path / "predictions.csv"
        shown = call("predict", folder / "run", folder / "data.npz", "--output", output)
        assert shown == f"10 predictions: {output}\n"
        table = pd.read_csv(output, index_col="case")
        expected = Run.load(folder / "run").predict(folder / "data.npz")
        assert_frame_equal(table, expected, check_names=False, check_exact=False)
        assert list(table.index) == [*range(10)]

    def test_it_prints_the_table_without_an_output(self, call, folder, tmp_path):
        output = tmp_path / "predictions.csv"
        call("predict", folder / "run", folder / "data.npz", "--output", output)
        assert call("predict", folder / "run", folder / "data.npz") == output.read_text()

    def test_an_output_may_be_named_without_a_folder(self, call, folder, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        call("predict", folder / "run", folder / "data.npz", "--output", "predictions.csv")
        assert len(pd.read_csv("predictions.csv")) == 10


class TestInspect:
    @pytest.mark.parametrize("show", ["probabilities", "map"])
    def test_it_draws_a_picture(self, call, folder, tmp_path, show):
        output = tmp_path / "maps.png"
        shown = call("inspect", folder / "run", "--sample", "3", "--show", show, "--output", output)
        assert shown.startswith("series 3, target ")
        assert shown.endswith(f": {output}\n")
        assert matplotlib.image.imread(output).std() > 0.01

    def test_maps_and_probabilities_differ(self, call, folder, tmp_path):
        for show in ("probabilities", "map"):
            call("inspect", folder / "run", "--show", show, "--output", tmp_path / f"{show}.png")
        assert len(set(files_of(tmp_path).values())) == 2

    def test_the_picture_goes_into_the_run_folder_by_default(self, call, folder, tmp_path):
        for name, content in files_of(folder / "run").items():
            (tmp_path / name).write_bytes(content)
        call("inspect", tmp_path, "--sample", "2")
        assert (tmp_path / "probabilities-2.png").read_bytes().startswith(b"\x89PNG")

    def test_fewer_heads_make_a_smaller_picture(self, call, folder, tmp_path):
        heights = []
        for heads in ("0", "1", "2"):
            output = tmp_path / f"{heads}.png"
            call("inspect", folder / "run", "--heads", heads, "--output", output)
            heights.append(matplotlib.image.imread(output).shape[0])
        assert heights == sorted(set(heights))

    def test_a_series_of_a_file_is_drawn(self, call, folder, tmp_path):
        np.savez(tmp_path / "new.npz", X=two_classes(cases=2)[0])
        output = tmp_path / "maps.png"
        shown = call(
            "inspect",
            folder / "run",
            "--input",
            tmp_path / "new.npz",
            "--sample",
            1,
            "--output",
            output,
        )
        assert shown.startswith("series 1, predicted ")
        assert output.is_file()

    def test_each_view_has_a_picture_and_numbers(self, call, folder, tmp_path):
        for what in VIEWS:
            output, csv = tmp_path / f"{what}.svg", tmp_path / f"{what}.csv"
            options = ["--what", what, "--samples", "4", "--output", output, "--csv", csv]
            assert call("inspect", folder / "run", *options).endswith(f": {output}\n")
            assert b"<svg" in output.read_bytes()
            assert len(pd.read_csv(csv)) > 0

    def test_measures_are_printed_as_a_table(self, call, folder, tmp_path):
        options = ["--what", "measures", "--samples", "4", "--output", tmp_path / "m.png"]
        lines = call("inspect", folder / "run", *options).splitlines()
        assert lines[0].split() == [*MEASURES]
        assert lines[-1] == f"maps through the layers, 4 series: {tmp_path / 'm.png'}"

    def test_two_runs_stand_side_by_side(self, call, folder, tmp_path):
        copytree(folder / "run", tmp_path / "other")
        options = ["--against", tmp_path / "other", "--csv", tmp_path / "maps.csv"]
        call("inspect", folder / "run", *options, "--output", tmp_path / "maps.png")
        networks = pd.read_csv(tmp_path / "maps.csv")["network"]
        assert networks.unique().tolist() == ["run", "other"]

    def test_a_report_goes_into_the_run_folder_by_default(self, call, folder, tmp_path):
        copytree(folder / "run", tmp_path / "run")
        shown = call("inspect", tmp_path / "run", "--what", "report", "--samples", "4")
        assert shown == f"report: {tmp_path / 'run' / 'report.html'}\n"
        assert (tmp_path / "run" / "report.html").read_text().count("<img") == len(VIEWS)

    def test_it_offers_every_view(self, capsys):
        with pytest.raises(SystemExit):
            main(["inspect", "--help"])
        assert f"{{{','.join([*VIEWS, 'report'])}}}" in capsys.readouterr().out.replace("\n", "")


class TestRecipes:
    def test_each_is_listed_with_what_it_is(self, call):
        lines = call("recipes").splitlines()
        assert [line.split()[0] for line in lines] == [*bundled_recipes()]
        assert all(len(line.split()) > 4 for line in lines)

    def test_each_name_is_one_that_train_takes(self, call):
        for line in call("recipes").splitlines():
            assert yaml.safe_load(call("train", line.split()[0], "--print_config"))["task"]


class TestMistakes:
    """One line on stderr, no traceback, exit code 2."""

    @pytest.mark.parametrize(
        ("arguments", "word"),
        [
            ([], ", ".join(COMMANDS)),
            (["fly"], "fly"),
            (["--seed", "3"], "train"),
            (["train"], "recipe"),
            (["train", "nowhere"], "nowhere"),
            (["train", "nowhere.yaml"], "time_series/japanese_vowels"),
            (["train", "."], "time_series/japanese_vowels"),
            (["train", ""], "time_series/japanese_vowels"),
            (["evaluate"], "run"),
            (["evaluate", "nowhere"], "nowhere"),
            (["predict"], "run"),
            (["predict", "nowhere", "nothing.ts"], "nowhere"),
            (["inspect"], "run"),
            (["inspect", "nowhere"], "nowhere"),
            (["recipes", "more"], "more"),
        ],
        ids=named,
    )
    def test_of_naming_what_is_not_there(self, refused, arguments, word, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert word in refused(*arguments)

    @pytest.mark.parametrize(
        ("options", "word"),
        [
            (["--epochs", "3"], "did you mean '--training.epochs'"),
            (["--training.epoch", "3"], "did you mean '--training.epochs'"),
            (["--alpha", "0.3"], "begin with --model."),
            (["--training.epochs"], "epochs"),
            (["--training.epochs", "many"], "must be a whole number or auto, got many"),
            (["--training.epochs", "0"], "epochs"),
            (["--training.validation", "1.5"], "validation"),
            (["--training.learning_rate", "nan"], "learning_rate"),
            (["--training.optimizer", "lion"], "must be adamw or radam or sgd, got lion"),
            (["--processing.clip", "-1"], "clip"),
            (["--task", "forecasting"], "task"),
            (["--model.alfa", "0.5"], "did you mean 'alpha'"),
            (["--model.alpha", "2"], "alpha"),
            (["--model.alpha", "much"], "alpha"),
            (["--model.hidden_size", "7"], "key_ratio"),
            (["--model.key_ratio", "0"], "must both be 0"),
            (["--model.input_size", "7"], "input_size"),
            (["--model", "3"], "model"),
            (["--model", "null"], "model"),
            (["--class_weight", "even"], "class_weight"),
            (["--seed", "many"], "seed must be a whole number, got many"),
            (["--seed", "-1"], "seed"),
            (["--data.train", "nowhere.ts"], "nowhere.ts"),
            (["--data.train", "RECIPE"], "format"),  # a file that is there
            (["--data.test", "nowhere.npz"], "nowhere.npz"),
            (["--output", "RECIPE"], "recipe.yaml"),
            (["--output", "RECIPE/below"], "recipe.yaml"),
            (["--overwrite", "perhaps"], "perhaps"),
        ],
        ids=named,
    )
    def test_of_overriding_a_recipe(self, refused, recipe, tmp_path, options, word, monkeypatch):
        def no_network(*_, **__):
            raise OSError("no network")

        monkeypatch.setattr(
            "evolving_attention.tasks.time_series_data.load_classification", no_network
        )
        options = [option.replace("RECIPE", recipe) for option in options]
        assert word in refused("train", recipe, *options)
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize(
        ("text", "word"),
        [
            ("modle: {alpha: 0.5}", "modle"),
            ("training: {epoch: 3}", "epoch"),
            ("training: {epochs: many}", "epochs"),
            ("model: {alfa: 0.5}", "alfa"),
            ("model: null", "model"),
            ("- seed", "mapping"),
            ("seed: [1", "line 1"),
            ("overwrite: true", "overwrite"),
        ],
    )
    def test_of_writing_a_recipe(self, refused, tmp_path, monkeypatch, text, word):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "wrong.yaml").write_text(text)
        assert word in refused("train", "wrong.yaml", "--print_config")

    @pytest.mark.parametrize(
        ("arguments", "word"),
        [
            (["evaluate", "RUN", "--input", "nowhere.ts"], "nowhere.ts"),
            (["evaluate", "RUN", "--input", "notes.txt"], "format"),
            (["evaluate", "RUN", "--input", "broken.npz"], "broken.npz"),
            (["evaluate", "RUN", "--input", "broken.ts"], "broken.ts"),
            (["evaluate", "RUN", "--input", "unlabelled.npz"], "no labelled"),
            (["evaluate", "RUN", "--inputs", "x"], "inputs"),
            (["evaluate", "."], "config.json"),
            (["predict", "RUN", "nowhere.ts"], "nowhere.ts"),
            (["predict", "RUN", "broken.npz"], "broken.npz"),
            (["predict", "RUN", "pickled.npz"], "pickled.npz"),
            (["predict", "RUN", "empty.npz"], "empty.npz"),
            (["predict", "RUN", "wide.npz"], "channels"),
            (["predict", "RUN", "unlabelled.npz", "--output", "nowhere/p.csv"], "nowhere"),
            (["predict", "RUN", "unlabelled.npz", "--output", "."], ". is a folder; name a file"),
            (["predict", "RUN", "unlabelled.npz", "more"], "more"),
            (["inspect", "RUN", "--sample", "10"], "0 to 9"),
            (["inspect", "RUN", "--sample", "-1"], "0 to 9"),
            (["inspect", "RUN", "--sample", "first"], "sample"),
            (["inspect", "RUN", "--heads", "-1"], "heads"),
            (["inspect", "RUN", "--show", "logits"], "probabilities"),
            (["inspect", "RUN", "--input", "nowhere.ts"], "nowhere.ts"),
            (["inspect", "RUN", "--output", "nowhere/maps.png"], "nowhere"),
            (["inspect", "RUN", "--output", "maps.xyz"], "maps.xyz"),
            (["inspect", "RUN", "--output", "."], ". is a folder; name a file"),
            (["inspect", "RUN", "--csv", "nowhere/maps.csv"], "nowhere"),
            (["inspect", "RUN", "--what", "logits"], "measures"),
            (["inspect", "RUN", "--what", "query", "--position", "6"], "0 to 5"),
            (["inspect", "RUN", "--what", "measures", "--samples", "0"], "samples"),
            (["inspect", "RUN", "--what", "kernels", "--against", "RUN"], "itself"),
            (["inspect", "RUN", "--what", "quality", "--input", "unlabelled.npz"], "targets"),
            (["inspect", "RUN", "--what", "report", "--csv", "maps.csv"], "CSV"),
            (["inspect", "RUN", "--what", "report", "--output", "maps.png"], "html"),
            (["inspect", "RUN", "--against", "."], "config.json"),
        ],
        ids=named,
    )
    def test_of_using_a_run(self, refused, folder, tmp_path, monkeypatch, arguments, word):
        monkeypatch.chdir(tmp_path)
        for name in ("notes.txt", "broken.npz", "broken.ts"):
            (tmp_path / name).write_text("nothing of the kind")
        (X, _), wide = two_classes(cases=4), two_classes(channels=3)[0]
        pickled = np.empty(2, dtype=object)
        pickled[:] = [X[0], X[1][:, :3].tolist()]
        for name, arrays in {
            "unlabelled": {"X": X},
            "wide": {"X": wide},
            "pickled": {"X": pickled},
            "empty": {"Z": X},
        }.items():
            np.savez(tmp_path / f"{name}.npz", **arrays)
        before = files_of(tmp_path)
        arguments = [argument.replace("RUN", str(folder / "run")) for argument in arguments]
        assert word in refused(*arguments)
        assert files_of(tmp_path) == before

    def test_of_inspecting_a_network_without_attention(self, refused, call, recipe, tmp_path):
        call("train", recipe, "--model.key_ratio", "0", "--model.value_ratio", "0")
        assert "no attention to look at" in refused("inspect", tmp_path / "run")


class TestAsAProcess:
    def test_the_installed_command_is_this_one(self):
        (command,) = entry_points(group="console_scripts", name="evolving-attention")
        assert command.load() is main

    def test_the_package_is_the_command_too(self, call):
        start = [sys.executable, "-m", "evolving_attention", "recipes"]
        assert subprocess.run(start, capture_output=True, text=True).stdout == call("recipes")

    def test_a_mistake_exits_with_2_and_one_line(self, tmp_path):
        told = process("train", str(tmp_path / "nowhere"))
        assert told.returncode == 2
        assert told.stdout == ""
        assert len(told.stderr.splitlines()) == 1, told.stderr
        assert "nowhere" in told.stderr

    def test_a_table_on_stdout_is_nothing_but_the_table(self, folder):
        told = process("predict", str(folder / "run"), str(folder / "data.npz"))
        assert told.returncode == 0
        assert told.stderr == ""
        lines = told.stdout.splitlines()
        assert lines[0] == "case,prediction,probability_0,probability_1"
        assert len(lines) == 11
