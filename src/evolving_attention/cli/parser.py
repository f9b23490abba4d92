"""What the parsers of all commands share, and how a mistake is told."""

import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from glob import escape
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import ArgumentParser

from evolving_attention.errors import InputError
from evolving_attention.recipe import Recipe, recipe_path, recipe_type

__all__ = [
    "Parser",
    "check_folder",
    "fail",
    "is_first",
    "named_type",
    "recipe_parser",
    "run_parser",
]


class Parser(ArgumentParser):
    """Tells a mistake in one sentence, without the usage text, and exits with code 2."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Tell the mistake and exit."""
        fail(message)


def fail(message: str, *, speaks: bool | None = None) -> NoReturn:
    """Print a sentence and exit with code 2; one of several processes speaks."""
    if is_first() if speaks is None else speaks:
        print(f"evolving-attention: {' '.join(str(message).split())}", file=sys.stderr)
    else:
        time.sleep(60)  # an end here would end the first process before it has spoken
    raise SystemExit(2)


def is_first() -> bool:
    """Whether this process is the one to speak, under torchrun and ``accelerate launch``."""
    return os.environ.get("RANK", "0") == "0"


def recipe_parser(
    description: str, own: type[Recipe], recipe: Path | None, *, optional: bool = False
) -> Parser:
    """Return a parser with an option for every value of a recipe, whose values are its defaults.

    Parameters
    ----------
    description : str
        What the command does.
    own : type
        The class of the recipe.
    recipe : Path or None
        Its file, where it is known already.
    optional : bool
        Whether there need be none.
    """
    parser = Parser(
        description=description,
        default_config_files=[] if recipe is None else [escape(str(recipe))],
    )
    parser.add_argument(
        "recipe",
        type=str | None if optional else str,
        nargs="?" if optional else None,
        help="a YAML file, or a name that 'recipes' lists",
    )
    parser.add_class_arguments(own)
    task = next(action for action in parser._actions if action.dest == "task")
    task.metavar = "TASK"  # its choices, which the help lists, make the usage text too wide
    return parser


def named_type(words: Sequence[str]) -> type[Recipe]:
    """Return the class of the recipe among words typed, before a parser can tell which it is.

    It is looked at for its task alone; what is wrong with it is told when it is read.
    """
    for word in (word for word in words if not word.startswith("-")):
        with suppress(InputError, OSError, yaml.YAMLError, UnicodeError):
            values = yaml.safe_load(recipe_path(word).read_text())
            if isinstance(values, dict) and "task" in values:
                return recipe_type(values["task"])
    return recipe_type()


def run_parser(description: str) -> Parser:
    """Return the parser of a command that takes a run folder."""
    parser = Parser(description=description)
    parser.add_argument("run", type=str, help="a run folder")
    return parser


def check_folder(path: str | None) -> None:
    """Raise :class:`InputError` unless a file can be written there."""
    if path and not Path(path).absolute().parent.is_dir():
        raise InputError(f"there is no folder {Path(path).parent} to write {path} to.")
