"""Recipes: everything that determines a run, as plain data.

Nothing heavy is imported here: the command line reads recipes before it decides what to load.
"""

from evolving_attention.recipe.base import (
    Recipe,
    TrainingOptions,
    check_literals,
    check_supervised,
)
from evolving_attention.recipe.families import RECIPES, recipe_type, tasks_of
from evolving_attention.recipe.files import (
    bundled_recipes,
    change_recipe,
    make_recipe,
    read_recipe,
    recipe_of,
    recipe_path,
)
from evolving_attention.recipe.image import (
    ImageAugmentationOptions,
    ImageDataOptions,
    ImageProcessingOptions,
    ImageRecipe,
)
from evolving_attention.recipe.text import TextDataOptions, TextProcessingOptions, TextRecipe
from evolving_attention.recipe.time_series import (
    AugmentationOptions,
    DataOptions,
    PretrainingOptions,
    ProcessingOptions,
    TimeSeriesRecipe,
)
from evolving_attention.recipe.translation import (
    GenerationOptions,
    TranslationDataOptions,
    TranslationProcessingOptions,
    TranslationRecipe,
    TranslationTrainingOptions,
)

__all__ = [
    "RECIPES",
    "AugmentationOptions",
    "DataOptions",
    "GenerationOptions",
    "ImageAugmentationOptions",
    "ImageDataOptions",
    "ImageProcessingOptions",
    "ImageRecipe",
    "PretrainingOptions",
    "ProcessingOptions",
    "Recipe",
    "TextDataOptions",
    "TextProcessingOptions",
    "TextRecipe",
    "TimeSeriesRecipe",
    "TrainingOptions",
    "TranslationDataOptions",
    "TranslationProcessingOptions",
    "TranslationRecipe",
    "TranslationTrainingOptions",
    "bundled_recipes",
    "change_recipe",
    "check_literals",
    "check_supervised",
    "make_recipe",
    "read_recipe",
    "recipe_of",
    "recipe_path",
    "recipe_type",
    "tasks_of",
]
