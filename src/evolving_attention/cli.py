"""The command line: parses, calls, prints. Heavy imports wait until a command needs them."""

import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from glob import escape
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, Namespace

from evolving_attention.errors import InputError
from evolving_attention.recipe import (
    Recipe,
    bundled_recipes,
    make_recipe,
    read_recipe,
    recipe_path,
)

__all__ = ["main"]

_DESCRIPTION = (
    "Train, judge and look into networks whose attention maps evolve from layer to layer."
)


class _Parser(ArgumentParser):
    """Tells a mistake in one sentence, without the usage text, and exits with code 2."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        _fail(message)


def _fail(message: str, *, speaks: bool | None = None) -> NoReturn:
    if _is_first() if speaks is None else speaks:
        print(f"evolving-attention: {' '.join(str(message).split())}", file=sys.stderr)
    else:
        time.sleep(60)  # an end here would end the first process before it has spoken
    raise SystemExit(2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exit with code 2, and one sentence, for a mistake of the user's."""
    words = arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] in (["compare"], ["tune"]):  # --data is a name: a recipe's is a section
        arguments = [re.sub(r"^--data(?=$|=)", "--data.train", word) for word in arguments]
    try:
        options = _parser().parse_args(arguments)
        if options.command is None:
            _fail(f"say what to do: {', '.join(_COMMANDS)}; --help explains.")
        if (name := options[options.command].get("recipe")) is not None:
            # once more, now that the recipe's own values are known
            path = recipe_path(name)
            read_recipe(path)  # the file is checked alone: overwrite is no value of a recipe
            options = _parser(path).parse_args(arguments)
        options[options.command].words = words
        _COMMANDS[options.command](options[options.command])
    except InputError as error:
        _fail(str(error))
    except OSError as error:  # of one process alone, where there are several
        _fail(str(error), speaks=True)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _parser(recipe: Path | None = None) -> _Parser:
    parser = _Parser(prog="evolving-attention", description=_DESCRIPTION)
    commands = parser.add_subcommands(dest="command", required=False)
    commands.add_subcommand("train", _train_parser(recipe), help="train a recipe")
    commands.add_subcommand(
        "pretrain", _pretrain_parser(recipe), help="train a recipe's network without labels"
    )
    commands.add_subcommand(
        "compare", _compare_parser(recipe), help="compare a recipe with its twin, variants, peers"
    )
    commands.add_subcommand(
        "tune", _tune_parser(recipe), help="search a recipe's options on parts of its training data"
    )
    commands.add_subcommand("evaluate", _evaluate_parser(), help="measure a run")
    commands.add_subcommand("predict", _predict_parser(), help="predict a file of series")
    commands.add_subcommand("embed", _embed_parser(), help="give every series a vector")
    commands.add_subcommand("inspect", _inspect_parser(), help="look into a run's maps")
    commands.add_subcommand(
        "recipes", _Parser(description="List the recipes there are."), help="list the recipes"
    )
    return parser


def _add_recipe(parser: _Parser) -> None:
    """Add an option for every value of a recipe."""
    parser.add_class_arguments(Recipe)
    task = next(action for action in parser._actions if action.dest == "task")
    task.metavar = "TASK"  # its choices, which the help lists, make the usage text too wide


def _train_parser(recipe: Path | None) -> _Parser:
    return _recipe_parser(
        "Train a recipe into a run folder. Any of its values can be overridden.", recipe
    )


def _pretrain_parser(recipe: Path | None) -> _Parser:
    return _recipe_parser(
        "Train a recipe's network without labels, on masked entries of its series, into a run "
        "folder to start others from (train RECIPE --pretrained RUN). Of a recipe that trains a "
        "classifier or regressor, '_pretraining' is added to the output.",
        recipe,
    )


def _recipe_parser(description: str, recipe: Path | None) -> _Parser:
    parser = _Parser(
        description=description,
        default_config_files=[] if recipe is None else [escape(str(recipe))],
    )
    parser.add_argument("recipe", type=str, help="a YAML file, or a name that 'recipes' lists")
    _add_recipe(parser)
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a run in the output folder"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with an unfinished run in the output folder"
    )
    # A flag of this name must take jsonargparse's own spelling of it too, "--print_config=".
    parser.add_argument(
        "--print_config", nargs="?", const="", help="print the resolved recipe and stop"
    )
    return parser


def _compare_parser(recipe: Path | None) -> _Parser:
    parser = _Parser(
        description="Compare a recipe's network with others, paired by data set and seed. A killed "
        "comparison goes on where it was; several processes may share the work.",
        default_config_files=[] if recipe is None else [escape(str(recipe))],
    )
    parser.add_argument(
        "recipe", type=str | None, nargs="?", help="a YAML file, or a name that 'recipes' lists"
    )
    _add_recipe(parser)
    parser.add_argument(
        "--against",
        type=str,
        default="twin",
        help="variants and peers with commas between, such as "
        "twin,kernel_1,rocket,mine:model.alpha=0.2;training.epochs=30",
    )
    parser.add_argument("--seeds", type=int, default=5, help="how many, counted from --seed")
    parser.add_argument("--name", type=str, default="evolving", help="of the recipe's network")
    parser.add_argument(
        "--keep-weights", dest="keep_weights", action="store_true", help="keep each run's network"
    )
    parser.add_argument(
        "--report-only",
        dest="report_only",
        type=str | None,
        default=None,
        help="a comparison's folder: report on its finished runs again",
    )
    return parser


def _tune_parser(recipe: Path | None) -> _Parser:
    parser = _Parser(
        description="Search a recipe's options by their score on held-out parts of the training "
        "data; the test part is never opened. A stopped search goes on where it was.",
        default_config_files=[] if recipe is None else [escape(str(recipe))],
    )
    parser.add_argument("recipe", type=str, help="a YAML file, or a name that 'recipes' lists")
    _add_recipe(parser)
    parser.add_argument(
        "--trials", type=int, default=30, help="how many in all, those done before included"
    )
    parser.add_argument(
        "--folds", type=int, default=1, help="cross-validation; 1: a single held-out part"
    )
    parser.add_argument(
        "--space", type=str | None, default=None, help="YAML: the options and their ranges"
    )
    parser.add_argument(
        "--prune", action="store_true", help="with folds: stop trials below the median early"
    )
    return parser


def _run_parser(description: str) -> _Parser:
    parser = _Parser(description=description)
    parser.add_argument("run", type=str, help="a run folder")
    return parser


def _evaluate_parser() -> _Parser:
    parser = _run_parser("Measure a run on its recipe's test part, or on a labelled file.")
    parser.add_argument("--input", type=str | None, default=None, help="a labelled file of series")
    return parser


def _predict_parser() -> _Parser:
    parser = _run_parser("Predict every series of a file.")
    parser.add_argument("input", type=str, help="a .ts, .arff, .tsv or .npz file of series")
    parser.add_argument(
        "--output", type=str | None, default=None, help="a CSV file; default: print"
    )
    return parser


def _embed_parser() -> _Parser:
    parser = _run_parser("Write a vector for every series: of any run, pretrained or supervised.")
    parser.add_argument(
        "input", type=str | None, nargs="?", default=None, help="a file; default: the test part"
    )
    parser.add_argument(
        "--output", type=str | None, default=None, help="default: vectors.npz in the run folder"
    )
    parser.add_argument(
        "--picture", type=str | None, default=None, help="where to draw the vectors, on a plane"
    )
    parser.add_argument(
        "--projection",
        choices=("pca", "tsne"),
        default="pca",
        help="how to draw them: two principal components, or t-SNE",
    )
    return parser


def _inspect_parser() -> _Parser:
    parser = _run_parser("Look into a network: pictures of its maps, measures, and their numbers.")
    parser.add_argument(
        "--what",
        choices=("chain", "query", "measures", "kernels", "quality", "report"),
        default="chain",
        help="the maps of a series; where one of its positions looks; measures of many series, "
        "layer by layer; the convolutions; how well maps alone predict; or all of it on a page",
    )
    parser.add_argument(
        "--against",
        type=str | None,
        default=None,
        help="another run to put beside it, such as its twin",
    )
    parser.add_argument("--sample", type=int, default=0, help="number of the series, from 0")
    parser.add_argument(
        "--position", type=int | None, default=None, help="of the query, from 0; default: middle"
    )
    parser.add_argument(
        "--samples",
        type=int | None,
        default=None,
        help="how many series: default 64 for measures, at most 512 for quality",
    )
    parser.add_argument(
        "--input", type=str | None, default=None, help="a file of series; default: the test part"
    )
    parser.add_argument(
        "--show",
        choices=("probabilities", "map"),
        default="probabilities",
        help="chain and quality: after or before the softmax",
    )
    parser.add_argument(
        "--heads", type=int | None, default=None, help="of a chain, how many; default: all"
    )
    parser.add_argument(
        "--output",
        type=str | None,
        default=None,
        help="a picture (.png, .svg, .pdf; a report: .html); default: in the run folder",
    )
    parser.add_argument(
        "--csv", type=str | None, default=None, help="a file for the numbers of the picture"
    )
    return parser


def _train(options: Namespace) -> None:
    _train_recipe(make_recipe(options), options)


def _pretrain(options: Namespace) -> None:
    recipe = make_recipe(options)
    # A classifier or regressor of the same recipe has the recipe's own folder.
    is_own = recipe.output == read_recipe(recipe_path(options.recipe)).output
    if is_own and recipe.kind != "pretraining":
        recipe = replace(recipe, output=f"{recipe.output}_pretraining")
    _train_recipe(recipe.as_pretraining(), options)


def _train_recipe(recipe: Recipe, options: Namespace) -> None:
    if options.print_config is not None:
        from evolving_attention.tasks.time_series import check_model_options, model_options

        check_model_options(recipe.model)
        print(replace(recipe, model=model_options() | recipe.model).to_yaml(), end="")
        return
    from evolving_attention.runs import train
    from evolving_attention.trainer.processes import disconnect

    run = train(recipe, progress=True, overwrite=options.overwrite, resume=options.resume)
    disconnect()
    if not _is_first():
        return
    seconds, parameters = run.metrics["train_seconds"], run.metrics["parameters"]
    epoch = f"{'chose' if run.metrics['validation'] else 'last'} epoch {run.metrics['epoch']}"
    print(f"trained {parameters:,} parameters in {seconds:.0f} s; {epoch}")
    for part in ("validation", "test"):
        if run.metrics[part]:
            _print_metrics(part, run.metrics[part])
    print(f"run folder: {run.folder}")
    if (run.folder / "checkpoint").is_dir():
        print("interrupted; --resume goes on with it")


def _is_first() -> bool:
    """Whether this process is the one to speak, under torchrun and ``accelerate launch``."""
    return os.environ.get("RANK", "0") == "0"


def _tune(options: Namespace) -> None:
    from evolving_attention.tuning import DEFAULT_SPACE, tune
    from evolving_attention.tuning.space import read_space

    recipe = _with_output(options, "tuning")
    tune(
        recipe,
        recipe.output,
        trials=options.trials,
        folds=options.folds,
        space=read_space(options.space) if options.space else DEFAULT_SPACE,
        prune=options.prune,
        command=_as_typed(options.words),
        tell=partial(print, flush=True),
    )
    print(f"best recipe: {Path(recipe.output) / 'best.yaml'}")


def _with_output(options: Namespace, folder: str) -> Recipe:
    """Return the recipe; where no output was given, its own is a run's, and another is taken."""
    recipe, path = make_recipe(options), recipe_path(options.recipe)
    if recipe.output == read_recipe(path).output:
        return replace(recipe, output=f"{folder}/{path.stem}")
    return recipe


def _compare(options: Namespace) -> None:
    from evolving_attention.comparison import compare, report

    if options.report_only:
        report(options.report_only)
        print(f"report: {Path(options.report_only) / 'README.md'}")
        return
    if options.recipe is None:
        raise InputError("say which recipe to compare; 'recipes' lists those there are.")
    recipe = _with_output(options, "comparisons")
    results = compare(
        recipe,
        recipe.output,
        against=_listed(options.against),
        data=_listed(recipe.data.train),
        seeds=options.seeds,
        name=options.name,
        keep_weights=options.keep_weights,
        command=_as_typed(options.words),
        tell=partial(print, flush=True),
    )
    if not (results["status"] == "finished").any():
        raise InputError(f"no run came to its end; the first {results['message'].iloc[0]}.")
    print(f"report: {Path(recipe.output) / 'README.md'}")


def _as_typed(words: Sequence[str]) -> str:
    """Return the command for a report; of absolute paths only the names, which are not ours."""
    line = shlex.join(["evolving-attention", *words])
    return re.sub(r"(?<=[ =,'])[~/][^ ,;']*", lambda path: Path(path[0]).name, line)


def _listed(text: str | None) -> list[str]:
    """Split at commas, but for a file whose name has one."""
    if text and Path(text).exists():
        return [text]
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _evaluate(options: Namespace) -> None:
    from evolving_attention.runs import Run

    _print_metrics(options.input or "test", Run.load(options.run).evaluate(options.input))


def _print_metrics(part: str, metrics: dict[str, float]) -> None:
    print(f"{part}: {', '.join(f'{name} {value:.4f}' for name, value in metrics.items())}")


def _predict(options: Namespace) -> None:
    from evolving_attention.runs import Run

    _check_folder(options.output)
    table = Run.load(options.run).predict(options.input)
    table.to_csv(options.output or sys.stdout, index_label="case")
    if options.output:
        print(f"{len(table)} predictions: {options.output}")


def _check_folder(path: str | None) -> None:
    if path and not Path(path).absolute().parent.is_dir():
        raise InputError(f"there is no folder {Path(path).parent} to write {path} to.")


def _embed(options: Namespace) -> None:
    import numpy as np

    from evolving_attention.inspection import draw_embedding
    from evolving_attention.inspection.style import check_picture, save_picture
    from evolving_attention.runs import Run

    for path in (options.output, options.picture):
        _check_folder(path)
    output = Path(options.output or Path(options.run) / "vectors.npz")
    if output.suffix != ".npz":
        raise InputError(f"vectors are written as .npz, which {str(output)!r} does not end in.")
    if options.picture:
        check_picture(Path(options.picture))
    run = Run.load(options.run)
    vectors, labels = run.embed(options.input)
    arrays = {"vectors": vectors}
    if labels is not None:  # as text or numbers: an array of objects would be a pickle
        arrays["labels"] = np.array(labels.tolist())
    np.savez_compressed(output, **arrays)  # type: ignore[arg-type]
    print(f"{len(vectors)} vectors of {vectors.shape[1]} numbers: {output}")
    if options.picture:
        figure = draw_embedding(
            vectors,
            labels,
            by_value=True if run.recipe.kind == "regression" else None,
            projection=options.projection,
            title=f"{Path(options.input or 'test part').name}, embedded by {run.folder.name}",
        )
        save_picture(figure, Path(options.picture))
        print(f"picture: {options.picture}")


def _inspect(options: Namespace) -> None:
    from evolving_attention.inspection.report import report
    from evolving_attention.inspection.style import check_picture, save_picture
    from evolving_attention.inspection.views import ViewOptions, view
    from evolving_attention.runs import Run

    for path in (options.output, options.csv):
        _check_folder(path)
    run = Run.load(options.run)
    against = Run.load(options.against) if options.against else None
    look = ViewOptions(**{name: options[name] for name in ViewOptions.__dataclass_fields__})
    if options.what == "report":
        if options.csv:
            raise InputError("a report has no CSV; say --what measures, kernels or quality.")
        output = Path(options.output or run.folder / "report.html")
        if output.suffix != ".html":
            raise InputError(f"{str(output)!r} is no page; its name must end in html.")
        output.write_text(report(run, against, look), encoding="utf-8")
        print(f"report: {output}")
        return
    if options.output:
        check_picture(Path(options.output))
    shown = view(options.what, run, against, look)
    output = Path(options.output or run.folder / f"{shown.stem}.png")
    save_picture(shown.figure, output)
    if options.csv:
        shown.numbers.to_csv(options.csv, index=False)
    if shown.digest is not None:
        print(shown.digest.to_string(float_format="{:.3f}".format, na_rep=""))
    print(f"{shown.title}: {output}")


def _recipes(_: Namespace) -> None:
    for name, path in bundled_recipes().items():
        print(f"{name:40} {path.read_text().splitlines()[0].removeprefix('# ')}")


_COMMANDS: dict[str, Callable[[Namespace], None]] = {
    "train": _train,
    "pretrain": _pretrain,
    "compare": _compare,
    "tune": _tune,
    "evaluate": _evaluate,
    "predict": _predict,
    "embed": _embed,
    "inspect": _inspect,
    "recipes": _recipes,
}
