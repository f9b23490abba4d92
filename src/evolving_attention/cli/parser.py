"""What the parsers of all commands share, and how a mistake is told."""

import os
import re
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from glob import escape
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import ArgumentParser

from evolving_attention.errors import InputError, close_to, wrong_value
from evolving_attention.recipe import Recipe, recipe_path, recipe_type

__all__ = [
    "Parser",
    "check_folder",
    "discard_output",
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
        if unknown := re.match("unrecognized arguments: (.*)", message):
            word = unknown[1].split()[0]
            known = "no option" if word.startswith("--") else "no use for"
            message = f"there is {known} {unknown[1]}{self._hint(word)}"
        elif missing := re.match(r"the following arguments are required: (\w+)\.(\w+)", message):
            command, name = missing.groups()
            message = f"say which {name}: evolving-attention {command} {name.upper()}"
        fail(f"{wrong_value(message).rstrip('.')}.")

    def _hint(self, word: str) -> str:
        """Tell what a word may mean, by all of its name or by the end of it."""
        options = [option for action in self._actions for option in action.option_strings]
        ends = {option.rpartition(".")[2]: option for option in reversed(options)}
        name = word.partition("=")[0]
        own = " (those of the network begin with --model.)" if "--model" in options else ""
        hint = close_to(ends.get(name.lstrip("-"), name), options) or own
        return hint if word.startswith("--") else ""


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
    for action in parser._actions:
        if action.help == "Path to a configuration file.":
            action.help = "a YAML file with the options that follow"
        action.help = (action.help or "").replace("``", "")
        if action.dest == "task":
            action.metavar = "TASK"  # its choices, which the help lists, are too wide
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


def discard_output() -> None:
    """Send the rest of standard output nowhere: its reader has enough, and Python would complain.

    As of ``predict ... | head``, in answer to a ``BrokenPipeError``.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def check_folder(path: str | None) -> None:
    """Raise :class:`InputError` unless a file can be written there."""
    if path and not Path(path).absolute().parent.is_dir():
        raise InputError(f"there is no folder {Path(path).parent} to write {path} to.")
    if path and Path(path).is_dir():
        raise InputError(f"{path} is a folder; name a file to write.")
