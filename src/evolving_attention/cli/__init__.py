"""The command line: parses, calls, prints. Heavy imports wait until a command needs them."""

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from jsonargparse import Namespace

from evolving_attention.cli.experiments import compare_parser, run_compare, run_tune, tune_parser
from evolving_attention.cli.parser import Parser, discard_output, fail, named_type
from evolving_attention.cli.runs import (
    embed_parser,
    evaluate_parser,
    inspect_parser,
    predict_parser,
    run_embed,
    run_evaluate,
    run_inspect,
    run_predict,
)
from evolving_attention.cli.training import pretrain_parser, run_pretrain, run_train, train_parser
from evolving_attention.errors import InputError
from evolving_attention.recipe import Recipe, bundled_recipes, read_recipe, recipe_path

__all__ = ["main"]

_DESCRIPTION = (
    "Train, judge and look into networks whose attention maps evolve from layer to layer."
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exit with code 2, and one sentence, for a mistake of the user's."""
    words = arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] in (["compare"], ["tune"]):  # --data is a name: a recipe's is a section
        arguments = [re.sub(r"^--data(?=$|=)", "--data.train", word) for word in arguments]
    try:
        takes_recipe = arguments[:1] and arguments[0] in _OF_RECIPES
        own = named_type(arguments[1:] if takes_recipe else ())
        options = _parser(own).parse_args(arguments)
        if options.command is None:
            fail(f"say what to do: {', '.join(_COMMANDS)}; --help explains.")
        if (name := options[options.command].get("recipe")) is not None:
            # once more, now that the recipe's own values are known
            path = recipe_path(name)
            read_recipe(path)  # the file is checked alone: overwrite is no value of a recipe
            options = _parser(own, path).parse_args(arguments)
        options[options.command].words = words
        _COMMANDS[options.command](options[options.command])
    except InputError as error:
        fail(str(error))
    except BrokenPipeError:
        discard_output()
        raise SystemExit(1) from None
    except OSError as error:  # of one process alone, where there are several
        fail(str(error), speaks=True)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


#: Commands whose options are those of a recipe. Others may be given large files: none is looked at.
_OF_RECIPES = ("train", "pretrain", "compare", "tune")


def _parser(own: type[Recipe], recipe: Path | None = None) -> Parser:
    parser = Parser(prog="evolving-attention", description=_DESCRIPTION)
    commands = parser.add_subcommands(dest="command", required=False)
    commands.add_subcommand("train", train_parser(own, recipe), help="train a recipe")
    commands.add_subcommand(
        "pretrain", pretrain_parser(own, recipe), help="train a recipe's network without labels"
    )
    commands.add_subcommand(
        "compare",
        compare_parser(own, recipe),
        help="compare a recipe with its twin and others",
    )
    commands.add_subcommand(
        "tune",
        tune_parser(own, recipe),
        help="search a recipe's options by held-out data",
    )
    commands.add_subcommand("evaluate", evaluate_parser(), help="measure a run")
    commands.add_subcommand("predict", predict_parser(), help="predict a file")
    commands.add_subcommand("embed", embed_parser(), help="give every input a vector")
    commands.add_subcommand("inspect", inspect_parser(), help="look into a run's maps")
    commands.add_subcommand(
        "recipes", Parser(description="List the recipes there are."), help="list the recipes"
    )
    for command in _OF_RECIPES:  # a page of options, which the help explains below
        usage = f"evolving-attention {command} RECIPE [--OPTION VALUE ...]"
        commands.choices[command].usage = usage
    return parser


def _recipes(_: Namespace) -> None:
    for name, path in bundled_recipes().items():
        print(f"{name:40} {path.read_text().splitlines()[0].removeprefix('# ')}")


_COMMANDS: dict[str, Callable[[Namespace], None]] = {
    "train": run_train,
    "pretrain": run_pretrain,
    "compare": run_compare,
    "tune": run_tune,
    "evaluate": run_evaluate,
    "predict": run_predict,
    "embed": run_embed,
    "inspect": run_inspect,
    "recipes": _recipes,
}
