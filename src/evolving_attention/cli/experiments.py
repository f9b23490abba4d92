"""The commands that train many networks: compare and tune."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import Namespace

from evolving_attention.cli.parser import Parser, recipe_parser
from evolving_attention.errors import InputError
from evolving_attention.recipe import Recipe, make_recipe, read_recipe, recipe_path

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["compare_parser", "run_compare", "run_tune", "tune_parser"]


def compare_parser(own: type[Recipe], recipe: Path | None) -> Parser:
    """Return the parser of ``compare``; a recipe's values are its defaults."""
    parser = recipe_parser(
        "Compare a recipe's network with others, paired by data set and seed. A killed comparison "
        "goes on where it was; several processes may share the work.",
        own,
        recipe,
        optional=True,
    )
    _name_data(parser)
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


def run_compare(options: Namespace) -> None:
    """Run or report a comparison."""
    from evolving_attention.comparison import compare, report
    from evolving_attention.comparison.variants import split_variants

    if options.report_only:
        _tell_report(options.report_only, report(options.report_only))
        return
    if options.recipe is None:
        raise InputError("say which recipe to compare; 'recipes' lists those there are.")
    recipe = _with_output(options, "comparisons")
    results = compare(
        recipe,
        recipe.output,
        against=split_variants(options.against),
        data=_listed(recipe.data.train),
        seeds=options.seeds,
        name=options.name,
        keep_weights=options.keep_weights,
        command=_as_typed(options.words),
        tell=partial(print, flush=True),
    )
    if not (results["status"] == "finished").any():
        raise InputError(f"no run came to its end; the first {results['message'].iloc[0]}.")
    _tell_report(recipe.output, results)


def _tell_report(output: str, results: "pd.DataFrame") -> None:
    failed = int((results["status"] == "failed").sum())
    told = f"; of {len(results)} runs {failed} failed" if failed else ""
    print(f"report: {Path(output) / 'README.md'}{told}")


def tune_parser(own: type[Recipe], recipe: Path | None) -> Parser:
    """Return the parser of ``tune``; a recipe's values are its defaults."""
    parser = recipe_parser(
        "Search a recipe's options by their score on held-out parts of the training data; the test "
        "part is never opened. A stopped search goes on where it was.",
        own,
        recipe,
    )
    _name_data(parser)
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


def run_tune(options: Namespace) -> None:
    """Search a recipe's options."""
    from evolving_attention.tuning import tune
    from evolving_attention.tuning.space import read_space

    recipe = _with_output(options, "tuning")
    tune(
        recipe,
        recipe.output,
        trials=options.trials,
        folds=options.folds,
        space=read_space(options.space) if options.space else None,
        prune=options.prune,
        command=_as_typed(options.words),
        tell=partial(print, flush=True),
    )
    print(f"best recipe: {Path(recipe.output) / 'best.yaml'}")


def _name_data(parser: Parser) -> None:
    """Say of ``--data`` what it is here: a name, which is ``--data.train`` in short."""
    data = next(action for action in parser._actions if action.dest == "data")
    data.metavar, data.help = "DATA", "the same as --data.train; compare takes several, as A,B"


def _with_output(options: Namespace, folder: str) -> Recipe:
    """Return the recipe; where no output was given, its own is a run's, and another is taken."""
    recipe = make_recipe(options)
    path = recipe_path(options.recipe)
    if recipe.output == read_recipe(path).output:
        return replace(recipe, output=f"{folder}/{path.stem}")
    return recipe


def _as_typed(words: Sequence[str]) -> str:
    """Return the command for a report; of absolute paths only the names, which are not ours."""
    line = shlex.join(["evolving-attention", *words])
    return re.sub(r"(?<=[ =,'])[~/][^ ,;']*", lambda path: Path(path[0]).name, line)


def _listed(text: str | None) -> list[str]:
    """Split at commas, but for a file whose name has one."""
    if text and Path(text).exists():
        return [text]
    return [part.strip() for part in (text or "").split(",") if part.strip()]
