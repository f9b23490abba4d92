"""The commands that train: train and pretrain."""

from dataclasses import replace
from pathlib import Path

from jsonargparse import Namespace

from evolving_attention.cli.parser import Parser, is_first, recipe_parser
from evolving_attention.cli.runs import print_metrics
from evolving_attention.recipe import Recipe, make_recipe, read_recipe, recipe_path

__all__ = ["pretrain_parser", "run_pretrain", "run_train", "train_parser"]


def train_parser(own: type[Recipe], recipe: Path | None) -> Parser:
    """Return the parser of ``train``; a recipe's values are its defaults."""
    return _training_parser(
        "Train a recipe into a run folder. Any of its values can be overridden.", own, recipe
    )


def pretrain_parser(own: type[Recipe], recipe: Path | None) -> Parser:
    """Return the parser of ``pretrain``; a recipe's values are its defaults."""
    return _training_parser(
        "Train a recipe's network without labels, on masked entries of its inputs, into a run "
        "folder to start others from (train RECIPE --pretrained RUN). Of a recipe that learns "
        "from labels, '_pretraining' is added to the output.",
        own,
        recipe,
    )


def _training_parser(description: str, own: type[Recipe], recipe: Path | None) -> Parser:
    parser = recipe_parser(description, own, recipe)
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


def run_train(options: Namespace) -> None:
    """Train a recipe."""
    _train_recipe(make_recipe(options), options)


def run_pretrain(options: Namespace) -> None:
    """Train a recipe's network without labels."""
    recipe = make_recipe(options)
    # A classifier or regressor of the same recipe has the recipe's own folder.
    is_own = recipe.output == read_recipe(recipe_path(options.recipe)).output
    if is_own and recipe.kind != "pretraining":
        recipe = replace(recipe, output=f"{recipe.output}_pretraining")
    _train_recipe(recipe.as_pretraining(), options)


def _train_recipe(recipe: Recipe, options: Namespace) -> None:
    if options.print_config is not None:
        from evolving_attention.tasks.family import family_of

        options_of_model = family_of(recipe).model_options(recipe)
        print(replace(recipe, model=options_of_model).to_yaml(), end="")
        return
    from evolving_attention.runs import train
    from evolving_attention.trainer.processes import disconnect

    run = train(recipe, progress=True, overwrite=options.overwrite, resume=options.resume)
    disconnect()
    if not is_first():
        return
    seconds, parameters = run.metrics["train_seconds"], run.metrics["parameters"]
    epoch = f"{'chose' if run.metrics['validation'] else 'last'} epoch {run.metrics['epoch']}"
    print(f"trained {parameters:,} parameters in {seconds:.0f} s; {epoch}")
    for part in ("validation", "test"):
        if run.metrics[part]:
            print_metrics(run, part, run.metrics[part])
    print(f"run folder: {run.folder}")
    if (run.folder / "checkpoint").is_dir():
        print("interrupted; --resume goes on with it")
