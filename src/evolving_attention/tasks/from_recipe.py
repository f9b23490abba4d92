"""From a recipe to its task."""

from evolving_attention.errors import InputError
from evolving_attention.recipe import AugmentationOptions, Recipe
from evolving_attention.tasks.pretrained import PretrainedEncoder
from evolving_attention.tasks.time_series import TimeSeriesTask
from evolving_attention.tasks.time_series_fine_tuning import FineTuningTask
from evolving_attention.tasks.time_series_pretraining import TimeSeriesPretrainingTask

__all__ = ["task_of", "task_to_train"]


def task_of(recipe: Recipe) -> TimeSeriesTask:
    """Return the task that a trained recipe's network works for."""
    if recipe.kind == "pretraining":
        return TimeSeriesPretrainingTask(recipe.processing, recipe.pretraining)
    return TimeSeriesTask(recipe.kind, recipe.processing, recipe.class_weight)


def task_to_train(recipe: Recipe, *, progress: bool = False) -> TimeSeriesTask:
    """Return the task that trains a recipe, from the network that it starts from.

    Raises
    ------
    InputError
        That network cannot be loaded, or options of the recipe contradict each other.
    """
    _check(recipe)
    start = None if recipe.pretrained is None else PretrainedEncoder.load(recipe.pretrained)
    if recipe.kind == "pretraining":
        return TimeSeriesPretrainingTask(recipe.processing, recipe.pretraining, pretrained=start)
    return FineTuningTask(
        recipe.kind,
        recipe.processing,
        recipe.class_weight,
        recipe.augmentation,
        pretrained=start,
        pretraining=recipe.pretraining,
        training=recipe.training,
        freeze=recipe.freeze,
        progress=progress,
    )


def _check(recipe: Recipe) -> None:
    if recipe.kind != "pretraining":
        return
    if recipe.pretraining.epochs:
        raise InputError(
            "pretraining.epochs is for classifiers and regressors that are pretrained first; a "
            "recipe that only pretrains has training.epochs."
        )
    given = {"freeze": recipe.freeze, "class_weight": recipe.class_weight}
    given["augmentation"] = recipe.augmentation != AugmentationOptions()
    for name, is_given in given.items():
        if is_given:
            raise InputError(
                f"{name} is for classifiers and regressors; pretraining has no use for it."
            )
