"""What the parsers of all commands share, and how a mistake is told."""

import os
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

from evolving_attention.errors import InputError
from evolving_attention.recipe import Recipe

__all__ = ["Parser", "add_recipe", "check_folder", "fail", "is_first", "run_parser"]


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


def add_recipe(parser: Parser) -> None:
    """Add an option for every value of a recipe."""
    parser.add_class_arguments(Recipe)
    task = next(action for action in parser._actions if action.dest == "task")
    task.metavar = "TASK"  # its choices, which the help lists, make the usage text too wide


def run_parser(description: str) -> Parser:
    """Return the parser of a command that takes a run folder."""
    parser = Parser(description=description)
    parser.add_argument("run", type=str, help="a run folder")
    return parser


def check_folder(path: str | None) -> None:
    """Raise :class:`InputError` unless a file can be written there."""
    if path and not Path(path).absolute().parent.is_dir():
        raise InputError(f"there is no folder {Path(path).parent} to write {path} to.")
