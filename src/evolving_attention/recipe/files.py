"""From YAML to recipes and back: files, the recipes of the package, values by dotted name."""

from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml
from jsonargparse import ArgumentParser, Namespace

from evolving_attention.errors import InputError, close_to, reason
from evolving_attention.recipe.base import Recipe
from evolving_attention.recipe.families import recipe_type

__all__ = [
    "bundled_recipes",
    "change_recipe",
    "make_recipe",
    "read_recipe",
    "recipe_of",
    "recipe_path",
]

R = TypeVar("R", bound=Recipe)


def _recipe_folder() -> Path:
    installed = Path(__file__).parents[1] / "recipes"
    return installed if installed.is_dir() else Path(__file__).parents[3] / "recipes"


def bundled_recipes() -> dict[str, Path]:
    """Return the package's recipes by name, such as ``time_series/japanese_vowels``."""
    folder = _recipe_folder()
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path
        for path in sorted(folder.rglob("*.yaml"))
    }


def recipe_path(name: str) -> Path:
    """Find a recipe by path, or by the name of one that comes with the package."""
    if (path := Path(name)).is_file():
        return path
    recipes = bundled_recipes()
    if (short := name.removesuffix(".yaml").removeprefix("recipes/")) in recipes:
        return recipes[short]
    hint = close_to(short, recipes) or f": give a YAML file or one of {', '.join(recipes)}"
    raise InputError(f"there is no recipe {name!r}{hint}.")


def read_recipe(path: str | Path) -> Recipe:
    """Read a YAML recipe; what it does not say has its default.

    Raises
    ------
    InputError
        The file is missing or not YAML, or an option is unknown or of a wrong type.
    """
    try:
        return recipe_of(yaml.safe_load(Path(path).read_text()) or {})
    except Exception as error:  # YAML's errors, and those of a wrong option
        raise InputError(f"{path} is not a recipe: {reason(error)}.") from error


def recipe_of(values: dict[str, Any]) -> Recipe:
    """Make a recipe of plain values, as YAML holds them, and check their names and types.

    The class is that of the values' ``task``.
    """
    if not isinstance(values, dict):
        raise InputError("it must be a mapping of names to values")
    recipe = recipe_type(values.get("task"))
    _check_sections(recipe, values)
    try:
        return make_recipe(_parser_of(recipe).parse_object(values))
    except Exception as error:  # jsonargparse raises its own and argparse's errors
        raise InputError(f"{reason(error)}.") from error


def change_recipe(recipe: R, changes: dict[str, Any]) -> R:
    """Return a recipe with other values, given by dotted names such as ``model.alpha``."""
    values = asdict(recipe)
    for name, value in changes.items():
        section, _, option = name.partition(".")
        values[section] = values[section] | {option: value} if option else value
    return recipe_of(values)  # type: ignore[return-value]


def make_recipe(values: Namespace) -> Recipe:
    """Make a recipe of what a parser with the arguments of its class has parsed."""
    recipe = recipe_type(values.task)
    own = Namespace(**{field.name: values[field.name] for field in fields(recipe)})
    return recipe(**vars(_parser_of(recipe).instantiate(own)))


def _parser_of(recipe: type[Recipe]) -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(recipe)
    return parser


def _check_sections(recipe: type[Recipe], values: dict[str, Any]) -> None:
    """Check that sections are mappings: jsonargparse reports others unclearly, or not at all."""
    declared = get_type_hints(recipe)
    names = {field.name for field in fields(recipe)}
    for name, value in values.items():
        if name not in names:
            raise InputError(f"it has no option {name!r}{close_to(name, names)}")
        is_section = is_dataclass(declared[name]) or name == "model"
        if is_section and not isinstance(value, dict):
            raise InputError(f"{name} must be a mapping of options, got {value!r}")
