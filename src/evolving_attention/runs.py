"""Run folders: train a recipe into one, load it, evaluate it, predict with it.

A run folder is a Hugging Face checkpoint (``config.json``, ``model.safetensors``,
``preprocessor_config.json``) with ``recipe.yaml`` as resolved, ``metrics.json`` and a model card,
``README.md``.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from numpy.typing import NDArray
from transformers import PreTrainedModel

from evolving_attention.errors import InputError, reading
from evolving_attention.recipe import Recipe, change_recipe, check_literals, read_recipe
from evolving_attention.tasks.contracts import Data, Task
from evolving_attention.tasks.family import Family, family_of
from evolving_attention.trainer.files import replacing_files
from evolving_attention.trainer.processes import connect, first_alone, tell, together
from evolving_attention.trainer.tracking import check_tensorboard
from evolving_attention.training import TrainedNetwork, check_options, quiet, train_network
from evolving_attention.workspace import Workspace

__all__ = ["Run", "train"]


@dataclass
class Run:
    """A trained network with all it needs to work.

    Attributes
    ----------
    folder : Path
        The run folder.
    recipe : Recipe
        What made it.
    task : Task
        With the fitted processor.
    model : PreTrainedModel
        In evaluation mode.
    metrics : dict
        What ``metrics.json`` holds.
    """

    folder: Path
    recipe: Recipe
    task: Task
    model: PreTrainedModel
    metrics: dict[str, Any]

    @classmethod
    def load(cls, folder: str | Path, changes: Mapping[str, Any] | None = None) -> "Run":
        """Load a run folder.

        Parameters
        ----------
        folder : str or Path
            The run folder.
        changes : mapping, optional
            Options of its recipe that shall have other values, by dotted name, such as
            ``{"generation.num_beams": 1}``: those that a trained network leaves free.

        Raises
        ------
        InputError
            It is none, something is missing, or its recipe has no such option.
        """
        folder = Path(folder)
        _check_files(folder, "config.json", "model.safetensors", "recipe.yaml", "metrics.json")
        recipe = _changed(read_recipe(folder / "recipe.yaml"), changes or {})
        _check_files(folder, family_of(recipe).processor_file)
        with reading(folder / "metrics.json"):
            metrics = json.loads((folder / "metrics.json").read_text())
        task = family_of(recipe).task_of(recipe)
        return cls(folder, recipe, task, task.load_network(folder), metrics)

    @property
    def family(self) -> Family[Any]:
        """The family of its task."""
        return family_of(self.recipe)

    def data(self) -> tuple[Data, Data | None]:
        """Load the training and the test part of the recipe's data."""
        return self.family.load(self.recipe)

    def evaluate(self, path: str | Path | None = None) -> dict[str, float]:
        """Measure the network on a labelled file, or on the recipe's test part.

        A pretraining run needs no labels: it is measured by the masked entries that it fills in.
        """
        if path is None:
            data = self.data()[1]
        else:
            data = self.family.load_file(self.recipe, Path(path), labelled=True)
        if data is None or not self.task.can_evaluate(data):
            source = path or self.recipe.data.train
            wanted = "test part" if self.task.kind == "pretraining" else "labelled test part"
            raise InputError(f"{source} has no {wanted} to evaluate on.")
        return self.task.evaluate(self.model, data)

    def predict(self, path: str | Path) -> pd.DataFrame:
        """Predict every input of a file: a row each, with the probabilities of any classes."""
        return self.task.predict(self.model, self.family.load_file(self.recipe, Path(path)))

    def submit(self, folder: str | Path | None = None) -> list[Path]:
        """Predict what the benchmark of the recipe's data wants predicted, and write its files.

        Parameters
        ----------
        folder : str or Path, optional
            Where to. Default: ``submission`` in the run folder.
        """
        parts = self.family.load_unlabelled(self.recipe)
        if not parts:
            raise InputError(
                f"{self.recipe.data.train} has no part without labels that a benchmark wants "
                f"predicted; name a file of {self.family.inputs}."
            )
        folder = Path(folder or self.folder / "submission")
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / name for name in parts]
        for path, data in zip(paths, parts.values(), strict=True):
            table = self.task.predict(self.model, data)
            self.family.write_predictions(self.recipe, table, path)
        return paths

    def embed(self, path: str | Path | None = None) -> tuple[NDArray, NDArray | None]:
        """Return a vector for every input ``(cases, D)``, and their labels where there are any.

        The inputs are those of a file, or of the recipe's test part.
        """
        data = self.inputs(path)
        if not len(data):
            raise InputError(f"{path} has no {self.family.inputs} in it.")
        return self.task.embed(self.model, data), data.targets

    def inputs(self, path: str | Path | None = None) -> Data:
        """Return the inputs of a file, or the test part of the recipe's data."""
        if path is not None:
            return self.family.load_file(self.recipe, Path(path))
        if (data := self.data()[1]) is None:
            raise InputError(
                f"{self.recipe.data.train} has no test part; name a file of {self.family.inputs}."
            )
        return data

    def save(self) -> None:
        """Write the run folder; until all is written, what stands there stays."""
        with self._writing() as folder:
            with quiet():
                self.model.save_pretrained(folder)
            self.task.processor.save_pretrained(folder)
            (folder / "recipe.yaml").write_text(self.recipe.to_yaml())
            self._write_report(folder)

    def _save_report(self) -> None:
        with self._writing() as folder:
            self._write_report(folder)

    @contextmanager
    def _writing(self) -> Iterator[Path]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing_files(self.folder) as folder:
            yield folder

    def _write_report(self, folder: Path) -> None:
        (folder / "metrics.json").write_text(json.dumps(self.metrics, indent=2) + "\n")
        (folder / "README.md").write_text(_model_card(self))


def _changed(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    for name in changes:
        section = name.partition(".")[0]
        if not hasattr(recipe, section):
            raise InputError(f"{name} is no option of a network for {recipe.kind}.")
    return change_recipe(recipe, dict(changes)) if changes else recipe


def _check_files(folder: Path, *names: str) -> None:
    if not folder.is_dir():
        raise InputError(f"there is no run folder {folder}.")
    if not (missing := [name for name in names if not (folder / name).is_file()]):
        return
    if Workspace(folder).is_unfinished:
        raise InputError(f"{folder} holds an unfinished run: go on with train --resume.")
    raise InputError(f"{folder} is not a complete run folder: it has no {', no '.join(missing)}.")


def train(
    recipe: Recipe, *, progress: bool = False, overwrite: bool = False, resume: bool = False
) -> Run:
    """Train a recipe into its run folder, and read the test part once, at the end.

    The training writes checkpoints into the folder, ``recipe.training.checkpoint_every`` so many
    seconds; they go when the run is finished. Under torchrun or ``accelerate launch`` every process
    calls this; the first writes, and reads the test part.

    Parameters
    ----------
    recipe : Recipe
        The experiment.
    progress : bool
        Whether to show a progress bar.
    overwrite : bool
        Whether a run that stands in the output folder may be replaced.
    resume : bool
        Whether to go on with an unfinished run that stands in the output folder: to the weights,
        to the bit, that it would have had. Without a checkpoint there the training starts at its
        beginning.

    Raises
    ------
    InputError
        Something in the recipe or the data does not work, and nothing was written; or writing
        failed, and the last checkpoint stays.
    """
    check_literals(recipe, "task")
    check_options(recipe.training)
    family = family_of(recipe)
    family.model_options(recipe)  # checks their names
    if recipe.training.tensorboard:
        check_tensorboard()
    connect()
    task = family.task_to_train(recipe, progress=progress)
    workspace = Workspace(Path(recipe.output), recipe.training.checkpoint_every)
    with ExitStack() as stack:
        opened = workspace.opened(resume=resume, overwrite=overwrite)
        first_alone(lambda: stack.enter_context(opened))
        training, test = together(lambda: family.load(recipe))
        first_alone(lambda: workspace.claim(recipe, training))
        if resume and progress:
            _announce(workspace)
        run = _train(recipe, task, training, workspace, progress)
        run.metrics["test"] = first_alone(lambda: _finish(run, test, workspace))
    return run


def _finish(run: Run, test: Data | None, workspace: Workspace) -> dict[str, float] | None:
    """Save the run, measure it on the test part, and remove the checkpoints."""
    with workspace.telling():
        run.save()  # before the test part is read: nothing is lost should that fail
        if test is not None and run.task.can_evaluate(test):
            run.metrics["test"] = run.task.evaluate(run.model, test)
            run._save_report()
    if not run.metrics["interrupted"]:
        workspace.clear()
    return run.metrics["test"]


def _announce(workspace: Workspace) -> None:
    if workspace.is_unfinished:
        told = f"going on with the unfinished run in {workspace.run}"
    else:
        told = f"there is no checkpoint in {workspace.run}: training from the beginning"
    tell(told)


def _train(
    recipe: Recipe,
    task: Task,
    training: Data,
    workspace: Workspace,
    progress: bool,
) -> Run:
    network = train_network(
        task,
        training,
        recipe.model,
        recipe.training,
        seed=recipe.seed,
        progress=progress,
        checkpoints=workspace.checkpoints,
        tensorboard=workspace.run / "tensorboard" if recipe.training.tensorboard else None,
    )
    recipe = task.resolve(recipe, network.model)
    run = Run(workspace.run, recipe, task, network.model, {})
    run.metrics = {
        "epoch": network.epoch,
        "interrupted": network.interrupted,
        "train_seconds": round(network.seconds, 1),
        "parameters": network.model.num_parameters(),
        "validation": _validation(network),
        "test": None,
        "history": network.history,
    } | task.report()
    return run


def _validation(network: TrainedNetwork) -> dict[str, float] | None:
    """Return the chosen epoch's validation loss and metrics."""
    held_out = [entry for entry in network.history if "validation_loss" in entry]
    chosen = next((entry for entry in held_out if entry["epoch"] == network.epoch), None)
    if chosen is None:
        return None
    return {
        name.removeprefix("validation_"): value
        for name, value in chosen.items()
        if name.startswith("validation_")
    }


def _model_card(run: Run) -> str:
    rows = [
        f"| {part} | {', '.join(f'{name} {value:.4f}' for name, value in figures.items())} |"
        for part in ("validation", "test")
        if (figures := run.metrics[part])
    ]
    config, example = run.model.config, run.family.example_file
    evolution = (
        "no evolution (the twin)" if config.is_twin else f"alpha {config.alpha}, beta {config.beta}"
    )
    return "\n".join(
        [
            "---",
            "library_name: evolving-attention",
            f"tags: [{run.recipe.family.replace('_', '-')}, evolving-attention]",
            "---",
            f"# {run.family.title(run.recipe)}",
            "",
            f"{run.metrics['parameters']:,} parameters, {evolution}; epoch {run.metrics['epoch']}, "
            f"seed {run.recipe.seed}, trained in {run.metrics['train_seconds']} s. `recipe.yaml` "
            "holds every setting.",
            "",
            *(["| part | |", "| --- | --- |", *rows, ""] if rows else []),
            "```python",
            "from evolving_attention import Run",
            "",
            'run = Run.load("path/to/this/folder")',
            f'vectors, labels = run.embed("{example}")'
            if run.recipe.kind == "pretraining"
            else f'table = run.predict("{example}")',
            "```",
            "",
        ]
    )
