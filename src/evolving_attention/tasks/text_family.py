"""The family of tasks on texts: GLUE, and pretraining on text alone."""

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from evolving_attention.errors import InputError
from evolving_attention.recipe import TextRecipe
from evolving_attention.tasks.family import Family, check_source, folder_name
from evolving_attention.tasks.glue import GlueTask
from evolving_attention.tasks.glue_data import find_task, load_dev, load_test, load_train
from evolving_attention.tasks.glue_files import read_glue_file
from evolving_attention.tasks.glue_submission import write_submission
from evolving_attention.tasks.glue_tasks import GlueDescription, describe
from evolving_attention.tasks.text_data import LabelledTexts
from evolving_attention.tasks.text_files import read_text_file, text_files
from evolving_attention.tasks.text_networks import (
    Start,
    check_evolution_options,
    check_model_options,
    model_options,
)
from evolving_attention.tasks.text_pretraining import TextPretrainingTask

__all__ = ["FAMILY", "TextFamily"]


class TextFamily(Family[TextRecipe]):
    """GLUE, and pretraining on text alone."""

    inputs = "sentences"
    example_file = "test.tsv"
    processor_file = "tokenizer.json"
    #: The papers' grid of shares on GLUE, and what pretrained networks are fine-tuned with.
    search_space = MappingProxyType(
        {
            "model.alpha": {"choices": [0.1, 0.2, 0.4]},
            "model.beta": {"choices": [0.1, 0.2, 0.4]},
            "training.learning_rate": {"low": 1e-5, "high": 2e-4, "log": True},
        }
    )

    def check(self, recipe: TextRecipe) -> None:
        """Check the options of the network."""
        check_model_options(recipe.model, _start(recipe))
        check_evolution_options(recipe.model)

    def load(self, recipe: TextRecipe) -> tuple[LabelledTexts, LabelledTexts | None]:
        """Load the training part, and the dev part, whose labels are known, to be measured on."""
        training, source = self.load_training(recipe), check_source(recipe)
        if recipe.data.test is not None:
            if recipe.kind == "glue":
                raise InputError(
                    "data.test is for pretraining: a task of GLUE is measured on its dev part."
                )
            return training, read_text_file(Path(recipe.data.test).expanduser())
        if recipe.kind == "pretraining" and _files_of(source):
            return training, None
        return training, load_dev(source, recipe.data.archive)

    def load_training(self, recipe: TextRecipe) -> LabelledTexts:
        """Load the training part alone."""
        source = check_source(recipe)
        if recipe.kind == "pretraining":
            if files := _files_of(source):
                texts = [text for path in files for text in read_text_file(path).texts]
                return LabelledTexts(texts)
            if _task_named_by(source) is None:
                raise InputError(
                    f"there are no texts at {source}: name a text file, a folder of .txt files, or "
                    "a task of GLUE."
                )
        return load_train(source, recipe.data.archive)

    def load_unlabelled(self, recipe: TextRecipe) -> dict[str, LabelledTexts]:
        """Load what the server of GLUE wants predicted, by the name of its file there."""
        if recipe.kind == "pretraining":
            return {}
        return load_test(check_source(recipe), recipe.data.archive)

    def write_predictions(self, recipe: TextRecipe, table: pd.DataFrame, path: Path) -> None:
        """Write predictions as GLUE's server takes them, or, into any file but a .tsv, as CSV."""
        if path.suffix == ".tsv":
            write_submission(table, description_of(recipe), path)
        else:
            super().write_predictions(recipe, table, path)

    def load_file(self, recipe: TextRecipe, path: Path, *, labelled: bool = False) -> LabelledTexts:
        """Load a file with the columns of the recipe's task, or, of pretraining, a text file."""
        if recipe.kind == "pretraining" and path.suffix != ".tsv":
            return read_text_file(path)
        if recipe.kind == "pretraining" and _task_named_by(check_source(recipe)) is None:
            raise InputError(
                f"{path} would be of a task of GLUE, and the network was pretrained on texts: name "
                "a text file, a text a line."
            )
        return read_glue_file(path, description_of(recipe))

    def task_of(self, recipe: TextRecipe) -> GlueTask | TextPretrainingTask:
        """Return the task that a trained recipe's network works for."""
        if recipe.kind == "pretraining":
            return TextPretrainingTask(recipe.processing, _start(recipe), recipe.masked_share)
        return GlueTask(description_of(recipe), recipe.processing, _start(recipe))

    def task_to_train(
        self, recipe: TextRecipe, *, progress: bool = False
    ) -> GlueTask | TextPretrainingTask:
        """Return the task that trains a recipe, from the network that it starts from."""
        if recipe.kind == "glue":
            find_task(check_source(recipe), recipe.data.archive)  # a wrong place is told first
        return self.task_of(recipe)

    def model_options(self, recipe: TextRecipe) -> dict[str, Any]:
        """Return the recipe's options of the network over its defaults."""
        start = _start(recipe)
        check_model_options(recipe.model, start)
        return model_options(start) | recipe.model

    def place(self, recipe: TextRecipe, source: str) -> tuple[str, TextRecipe]:
        """Return a task's or text's name, and the recipe with it as its data."""
        placed = replace(recipe, data=replace(recipe.data, train=source))
        if recipe.kind == "pretraining" and _files_of(source):
            return Path(source).stem, placed
        return find_task(source, recipe.data.archive)[0].name, placed

    def data_settings(self, recipe: TextRecipe) -> dict[str, Any]:
        """Return names and sizes of the files, or the name on the Hub."""
        data, source = recipe.data, recipe.data.train
        if not source:
            return {"train": None}
        test = Path(data.test).expanduser() if data.test else None
        if recipe.kind == "pretraining" and (files := _files_of(source)):
            return {"train": _sizes(files), "test": test and _sizes([test])}
        try:
            task, folder = find_task(source, data.archive)
        except InputError:  # none, or several, as of a comparison; loading them tells what is wrong
            return {"train": source}
        if folder is None:
            return {"train": f"{task.name} from the Hub", "test": test and _sizes([test])}
        train, dev = [folder / str(task.train)], [folder / name for name in task.dev.values()]
        return {"train": f"{task.name}, {_sizes(train)}", "test": _sizes([test] if test else dev)}

    def title(self, recipe: TextRecipe) -> str:
        """Return network, task and data."""
        source = check_source(recipe)
        start = Path(recipe.pretrained).name if recipe.pretrained else _start(recipe).architecture
        if recipe.kind == "pretraining":
            return f"{start} with evolving attention, pretrained on {Path(source).name}"
        return f"{start} with evolving attention, {description_of(recipe).name} of GLUE"


def description_of(recipe: TextRecipe) -> GlueDescription:
    """Return the GLUE task of a trained recipe, whose data may be elsewhere by now."""
    return describe(_name(check_source(recipe)))


def _name(source: str) -> str:
    return folder_name(Path(source).expanduser())


def _task_named_by(source: str) -> GlueDescription | None:
    try:
        return describe(_name(source))
    except InputError:
        return None


def _files_of(source: str) -> list[Path]:
    """Return the text files to pretrain on; none where a task of GLUE is meant.

    A task's folder may hold other texts beside its own files, such as a licence.
    """
    task = _task_named_by(source)
    if task is not None and (Path(source).expanduser() / str(task.train)).is_file():
        return []
    return text_files(source)


def _start(recipe: TextRecipe) -> Start:
    return Start(recipe.pretrained, recipe.model.get("architecture", "bert"))


def _sizes(files: list[Path]) -> str:
    there = [path for path in files if path.is_file()]
    return ", ".join(f"{path.name}, {path.stat().st_size} bytes" for path in there)


FAMILY = TextFamily()
