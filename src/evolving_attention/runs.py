"""Run folders: train a recipe into one, load it, evaluate it, predict with it.

A run folder is a Hugging Face checkpoint (``config.json``, ``model.safetensors``,
``preprocessor_config.json``) with ``recipe.yaml`` as resolved, ``metrics.json`` and a model card,
``README.md``.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from evolving_attention.errors import InputError, reading
from evolving_attention.recipe import Recipe, check_literals, read_recipe
from evolving_attention.tasks.embedding import embed_series
from evolving_attention.tasks.from_recipe import task_of, task_to_train
from evolving_attention.tasks.time_series import (
    TimeSeriesTask,
    check_model_options,
    model_options,
    predict_logits,
)
from evolving_attention.tasks.time_series_data import (
    LabelledSeries,
    check_targets,
    load_file,
    load_splits,
)
from evolving_attention.tasks.time_series_fine_tuning import FineTuningTask
from evolving_attention.trainer.files import replacing_files
from evolving_attention.trainer.processes import connect, first_alone, is_first, together
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
    task : TimeSeriesTask
        With the fitted processor.
    model : PreTrainedModel
        In evaluation mode.
    metrics : dict
        What ``metrics.json`` holds.
    """

    folder: Path
    recipe: Recipe
    task: TimeSeriesTask
    model: PreTrainedModel
    metrics: dict[str, Any]

    @classmethod
    def load(cls, folder: str | Path) -> "Run":
        """Load a run folder; raise :class:`InputError` where it is none or something is missing."""
        folder = Path(folder)
        needed = (
            "config.json",
            "model.safetensors",
            "preprocessor_config.json",
            "recipe.yaml",
            "metrics.json",
        )
        if missing := [name for name in needed if not (folder / name).is_file()]:
            raise InputError(
                f"{folder} is not a complete run folder: {', '.join(missing)} is missing."
            )
        recipe = read_recipe(folder / "recipe.yaml")
        with reading(folder / "metrics.json"):
            metrics = json.loads((folder / "metrics.json").read_text())
        task = task_of(recipe)
        return cls(folder, recipe, task, task.load_network(folder), metrics)

    def data(self) -> tuple[LabelledSeries, LabelledSeries | None]:
        """Load the training and the test part of the recipe's data."""
        return _load_data(self.recipe)

    def evaluate(self, path: str | Path | None = None) -> dict[str, float]:
        """Measure the network on a labelled file, or on the recipe's test part.

        A pretraining run needs no labels: it is measured by the masked entries that it fills in.
        """
        if path is None:
            labelled = self.data()[1]
        else:
            labelled = load_file(Path(path), self.recipe.data.layout, "test")
            check_targets(labelled, self.task.kind, str(path))
        if labelled is None or not _can_measure(self.recipe, labelled):
            source = path or self.recipe.data.train
            wanted = "test part" if self.recipe.kind == "pretraining" else "labelled test part"
            raise InputError(f"{source} has no {wanted} to evaluate on.")
        return self.task.evaluate(self.model, labelled)

    def predict(self, path: str | Path) -> pd.DataFrame:
        """Predict every series of a file: a row each, with the probabilities of the classes."""
        if self.task.kind == "pretraining":
            raise InputError(
                f"{self.folder} was pretrained without labels and has none to predict; embed gives "
                "its vectors, and train RECIPE --pretrained RUN makes a classifier or regressor of "
                "it."
            )
        logits = self._logits(load_file(Path(path), self.recipe.data.layout, "test"))
        predicted = self.task.processor.decode(logits)
        if self.task.kind == "regression":
            if predicted.ndim == 1:
                return pd.DataFrame({"prediction": predicted})
            return pd.DataFrame(predicted).add_prefix("prediction_")
        names = [f"probability_{label}" for label in self.task.processor.classes]
        table = pd.DataFrame(softmax(logits.astype(np.float64), axis=1), columns=names)
        table.insert(0, "prediction", predicted)
        return table

    def embed(self, path: str | Path | None = None) -> tuple[NDArray[np.float32], NDArray | None]:
        """Return a vector for every series ``(cases, D)``, and their labels where there are any.

        The series are those of a file, or of the recipe's test part; see
        :func:`~evolving_attention.tasks.embedding.embed_series`.
        """
        if path is None:
            data = self.data()[1]
        else:
            data = load_file(Path(path), self.recipe.data.layout, "test")
        if data is None:
            raise InputError(f"{self.recipe.data.train} has no test part; name a file of series.")
        return embed_series(self.model, self.task.processor, data.series), data.targets

    def _logits(self, data: LabelledSeries) -> np.ndarray:
        return predict_logits(self.model, self.task.processor, data.series)

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
    check_model_options(recipe.model)
    if recipe.training.tensorboard:
        check_tensorboard()
    connect()
    task = task_to_train(recipe, progress=progress)
    workspace = Workspace(Path(recipe.output), recipe.training.checkpoint_every)
    with ExitStack() as stack:
        opened = workspace.opened(resume=resume, overwrite=overwrite)
        first_alone(lambda: stack.enter_context(opened))
        training, test = together(lambda: _load_data(recipe))
        first_alone(lambda: workspace.claim(recipe, training))
        if resume and progress and is_first():
            _announce(workspace)
        run = _train(recipe, task, training, workspace, progress)
        run.metrics["test"] = first_alone(lambda: _finish(run, test, workspace))
    return run


def _finish(run: Run, test: LabelledSeries | None, workspace: Workspace) -> dict[str, float] | None:
    """Save the run, measure it on the test part, and remove the checkpoints."""
    with workspace.telling():
        run.save()  # before the test part is read: nothing is lost should that fail
        if test is not None and _can_measure(run.recipe, test):
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
    tqdm.write(told, file=sys.stderr)


def _train(
    recipe: Recipe,
    task: TimeSeriesTask,
    training: LabelledSeries,
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
    recipe = _resolved(recipe, task, network)
    run = Run(workspace.run, recipe, task, network.model, {})
    run.metrics = {
        "epoch": network.epoch,
        "interrupted": network.interrupted,
        "train_seconds": round(network.seconds, 1),
        "parameters": network.model.num_parameters(),
        "validation": _validation(network),
        "test": None,
        "history": network.history,
        "pretraining": (task.history or None) if isinstance(task, FineTuningTask) else None,
    }
    return run


def _load_data(recipe: Recipe) -> tuple[LabelledSeries, LabelledSeries | None]:
    data = recipe.data
    if not data.train:
        raise InputError("say what to train on: --data.train NAME_OR_FILE.")
    return load_splits(
        data.train, data.test, kind=recipe.kind, layout=data.layout, archive=data.archive
    )


def _can_measure(recipe: Recipe, part: LabelledSeries) -> bool:
    return part.targets is not None or recipe.kind == "pretraining"


def _resolved(recipe: Recipe, task: TimeSeriesTask, network: TrainedNetwork) -> Recipe:
    """Return the recipe with every option of the model, and the normalisation that was used."""
    used = {name: getattr(task.processor, name) for name in ("normalization", "clip")}
    return replace(
        recipe,
        model=model_options(network.model.config),
        processing=replace(recipe.processing, **used),
    )


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
    config = run.model.config
    evolution = (
        "no evolution (the twin)" if config.is_twin else f"alpha {config.alpha}, beta {config.beta}"
    )
    return "\n".join(
        [
            "---",
            "library_name: evolving-attention",
            "tags: [time-series, evolving-attention]",
            "---",
            f"# EA-DC-Transformer, {run.recipe.kind} of {run.recipe.data.train}",
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
            'vectors, labels = run.embed("series.ts")'
            if run.recipe.kind == "pretraining"
            else 'table = run.predict("series.ts")',
            "```",
            "",
        ]
    )
