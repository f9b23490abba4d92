"""The command line: parses, calls, prints. Heavy imports wait until a command needs them."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
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


def _fail(message: str) -> NoReturn:
    print(f"evolving-attention: {' '.join(str(message).split())}", file=sys.stderr)
    raise SystemExit(2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exit with code 2, and one sentence, for a mistake of the user's."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options = _parser().parse_args(arguments)
        if options.command is None:
            _fail("say what to do: train, evaluate, predict, inspect or recipes; --help explains.")
        if options.command == "train":  # once more, now that the recipe's own values are known
            path = recipe_path(options.train.recipe)
            read_recipe(path)  # the file is checked alone: overwrite is no value of a recipe
            options = _parser(path).parse_args(arguments)
        _COMMANDS[options.command](options[options.command])
    except (InputError, OSError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _parser(recipe: Path | None = None) -> _Parser:
    parser = _Parser(prog="evolving-attention", description=_DESCRIPTION)
    commands = parser.add_subcommands(dest="command", required=False)
    commands.add_subcommand("train", _train_parser(recipe), help="train a recipe")
    commands.add_subcommand("evaluate", _evaluate_parser(), help="measure a run")
    commands.add_subcommand("predict", _predict_parser(), help="predict a file of series")
    commands.add_subcommand("inspect", _inspect_parser(), help="look into a run's maps")
    commands.add_subcommand(
        "recipes", _Parser(description="List the recipes there are."), help="list the recipes"
    )
    return parser


def _train_parser(recipe: Path | None) -> _Parser:
    parser = _Parser(
        description="Train a recipe into a run folder. Any of its values can be overridden.",
        default_config_files=[] if recipe is None else [escape(str(recipe))],
    )
    parser.add_argument("recipe", type=str, help="a YAML file, or a name that 'recipes' lists")
    parser.add_class_arguments(Recipe)
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a run in the output folder"
    )
    # A flag of this name must take jsonargparse's own spelling of it too, "--print_config=".
    parser.add_argument(
        "--print_config", nargs="?", const="", help="print the resolved recipe and stop"
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
    recipe = make_recipe(options)
    if options.print_config is not None:
        from evolving_attention.tasks.time_series import check_model_options, model_options

        check_model_options(recipe.model)
        print(replace(recipe, model=model_options() | recipe.model).to_yaml(), end="")
        return
    from evolving_attention.runs import train

    run = train(recipe, progress=True, overwrite=options.overwrite)
    seconds, parameters = run.metrics["train_seconds"], run.metrics["parameters"]
    epoch = f"{'chose' if run.metrics['validation'] else 'last'} epoch {run.metrics['epoch']}"
    print(f"trained {parameters:,} parameters in {seconds:.0f} s; {epoch}")
    for part in ("validation", "test"):
        if run.metrics[part]:
            _print_metrics(part, run.metrics[part])
    print(f"run folder: {run.folder}")


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
    "evaluate": _evaluate,
    "predict": _predict,
    "inspect": _inspect,
    "recipes": _recipes,
}
