"""The families of tasks there are, by the class of their recipes.

A family is one kind of data: its recipe is here, and all else that commands need to know of it is a
:class:`~evolving_attention.tasks.family.Family`.
"""

from typing import Any, get_args, get_type_hints

from evolving_attention.errors import InputError
from evolving_attention.recipe.base import Recipe
from evolving_attention.recipe.image import ImageRecipe
from evolving_attention.recipe.text import TextRecipe
from evolving_attention.recipe.time_series import TimeSeriesRecipe
from evolving_attention.recipe.translation import TranslationRecipe

__all__ = ["RECIPES", "recipe_type", "tasks_of"]

#: The class of each family's recipes. The first is that of a recipe that names no task.
RECIPES: tuple[type[Recipe], ...] = (
    TimeSeriesRecipe,
    TextRecipe,
    ImageRecipe,
    TranslationRecipe,
)


def tasks_of(recipe: type[Recipe]) -> tuple[str, ...]:
    """Return the names of the tasks that a class of recipes is for."""
    return get_args(get_type_hints(recipe)["task"])


def recipe_type(task: Any = None) -> type[Recipe]:
    """Return the class of the recipes of a task; without one, that of the first family.

    Raises
    ------
    InputError
        There is no such task.
    """
    if task is None:
        return RECIPES[0]
    known = {name: recipe for recipe in RECIPES for name in tasks_of(recipe)}
    if not isinstance(task, str) or task not in known:
        raise InputError(f"there is no task {task!r}: take one of {', '.join(known)}")
    return known[task]
