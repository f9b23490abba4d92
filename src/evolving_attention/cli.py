"""The command line: parses, calls, prints. Heavy imports wait until a command needs them."""

import os
import sys
import time
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


def _fail(message: str, *, speaks: bool | None = None) -> NoReturn:
    if _is_first() if speaks is None else speaks:
        print(f"evolving-attention: {' '.join(str(message).split())}", file=sys.stderr)
    else:
        time.sleep(60)  # an end here would end the first process before it has spoken
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
    commands.add_subcommand("evaluate", _evaluate_parser(), help="measure a run")
    commands.add_subcommand("predict", _predict_parser(), help="predict a file of series")
    commands.add_subcommand("inspect", _inspect_parser(), help="draw the maps of a series")
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
    parser.add_argument(
        "--resume", action="store_true", help="go on with an unfinished run in the output folder"
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
    parser = _run_parser("Draw the chain of maps of one series: layer by layer, mean and per head.")
    parser.add_argument("--sample", type=int, default=0, help="number of the series, from 0")
    parser.add_argument(
        "--input", type=str | None, default=None, help="a file of series; default: the test part"
    )
    parser.add_argument(
        "--show",
        choices=("probabilities", "map"),
        default="probabilities",
        help="after or before the softmax",
    )
    parser.add_argument("--heads", type=int | None, default=None, help="how many; default: all")
    parser.add_argument(
        "--output", type=str | None, default=None, help="default: SHOW-SAMPLE.png in the run folder"
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


def _evaluate(options: Namespace) -> None:
    from evolving_attention.runs import Run

    _print_metrics(options.input or "test", Run.load(options.run).evaluate(options.input))


def _print_metrics(part: str, metrics: dict[str, float]) -> None:
    print(f"{part}: {', '.join(f'{name} {value:.4f}' for name, value in metrics.items())}")


def _predict(options: Namespace) -> None:
    from evolving_attention.runs import Run

    if options.output and not Path(options.output).absolute().parent.is_dir():
        raise InputError(
            f"there is no folder {Path(options.output).parent} to write {options.output} to."
        )
    table = Run.load(options.run).predict(options.input)
    table.to_csv(options.output or sys.stdout, index_label="case")
    if options.output:
        print(f"{len(table)} predictions: {options.output}")


def _inspect(options: Namespace) -> None:
    from evolving_attention.inspection import chain_of_maps, draw_chain
    from evolving_attention.runs import Run

    run = Run.load(options.run)
    chain = chain_of_maps(run, options.sample, options.input)
    output = Path(options.output or run.folder / f"{options.show}-{options.sample}.png")
    figure = draw_chain(chain, show=options.show, heads=options.heads)
    if output.suffix[1:] not in (formats := figure.canvas.get_supported_filetypes()):
        raise InputError(
            f"{str(output)!r} is no picture; its name must end in {', '.join(formats)}."
        )
    figure.savefig(output, dpi=120)
    print(f"{chain.title}: {output}")


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
