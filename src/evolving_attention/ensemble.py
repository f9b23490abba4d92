"""What the estimators share: an ensemble of networks that is trained, asked, and saved."""

import json
import shutil
from numbers import Integral
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from aeon.base import BaseCollectionEstimator
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from evolving_attention.errors import InputError, reading
from evolving_attention.recipe import ProcessingOptions, TrainingOptions
from evolving_attention.tasks.time_series import TimeSeriesTask
from evolving_attention.tasks.time_series_batches import predict_logits
from evolving_attention.tasks.time_series_data import Collection, LabelledSeries, as_collection
from evolving_attention.tasks.time_series_processor import TimeSeriesProcessor
from evolving_attention.training import TrainedNetwork, quiet, train_network

__all__ = ["NetworkEnsemble", "plain"]

_MODEL_PARAMETERS = (
    "hidden_size",
    "num_blocks",
    "num_attention_heads",
    "key_ratio",
    "value_ratio",
    "dilated",
    "alpha",
    "beta",
    "map_kernel_size",
    "map_activation",
    "learned_mixing",
    "map_initialization",
    "pooling",
    "patch_size",
    "hidden_dropout",
)
_TRAINING_PARAMETERS = (
    "epochs",
    "batch_size",
    "learning_rate",
    "weight_decay",
    "optimizer",
    "schedule",
    "validation",
    "patience",
    "refit",
)
_PROCESSING_PARAMETERS = ("normalization", "clip", "longer_series", "differences")


class NetworkEnsemble(BaseCollectionEstimator):
    """What classifier, regressor and encoder share: networks, trained, asked and saved."""

    _kind: ClassVar[str]
    _model_parameters: ClassVar[tuple[str, ...]] = _MODEL_PARAMETERS
    _processing_parameters: ClassVar[tuple[str, ...]] = _PROCESSING_PARAMETERS
    #: The encoder is a single network; the others let one choose.
    n_estimators: int = 1
    _tags: ClassVar[dict[str, Any]] = {
        "capability:multivariate": True,
        "capability:unequal_length": True,
        "capability:missing_values": True,
        "X_inner_type": ["np-list", "numpy3D"],
        "algorithm_type": "deeplearning",
    }

    def _fit(self, X: Collection, y: NDArray | None = None) -> Self:
        if not isinstance(self.n_estimators, Integral) or self.n_estimators < 1:
            raise InputError(
                f"n_estimators must be a whole number, at least 1, got {self.n_estimators!r}."
            )
        # Checked as a whole, so that messages number the series as they were given.
        data = LabelledSeries(as_collection(X), None if y is None else np.asarray(y))
        random = check_random_state(self.random_state)
        self.members_: list[tuple[TimeSeriesTask, TrainedNetwork]] = []
        for seed in random.randint(2**31 - 1, size=self.n_estimators).tolist():
            task = self._task_to_train()
            try:
                network = train_network(
                    task,
                    data,
                    self._settings(self._model_parameters) | plain(self.model_options or {}),
                    self._training(),
                    seed=seed,
                    progress=self.verbose > 0,
                )
            except KeyboardInterrupt:
                if not self.members_:
                    raise
                break
            self.members_.append((task, network))
            if network.interrupted:
                break
        return self

    def _settings(self, names: tuple[str, ...]) -> dict[str, Any]:
        """Return parameters by name."""
        return plain({name: getattr(self, name) for name in names})

    def _training(self) -> TrainingOptions:
        return TrainingOptions(**self._settings(_TRAINING_PARAMETERS))

    def _processing(self) -> ProcessingOptions:
        return ProcessingOptions(**self._settings(self._processing_parameters))

    def _task(self) -> TimeSeriesTask:
        """Return the task that a trained network works for."""
        return TimeSeriesTask(self._kind, self._processing(), getattr(self, "class_weight", None))

    def _task_to_train(self) -> TimeSeriesTask:
        """Return the task that trains a network."""
        return self._task()

    def _logits(self, X: Collection) -> list[NDArray[np.float64]]:
        """Return each network's outputs (cases, labels)."""
        return [
            predict_logits(network.model, task.processor, list(X)).astype(np.float64)
            for task, network in self.members_
        ]

    def save(self, folder: str | Path) -> None:
        """Save the fitted estimator, without pickle: JSON and safetensors.

        Parameters
        ----------
        folder : str or Path
            Made where it does not exist. An encoder that was given as ``pretrained`` goes into a
            folder inside it.
        """
        self._check_is_fitted()
        state = json.dumps(self._state(), indent=2, default=_to_json)
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        # It comes back last: without it what a kill leaves is no estimator, rather than half of two
        (folder / "estimator.json").unlink(missing_ok=True)
        for stale in folder.glob("network_*"):  # of an ensemble saved here before
            shutil.rmtree(stale)
        with quiet():
            for index, (task, network) in enumerate(self.members_):
                network.model.save_pretrained(folder / f"network_{index}")
                task.processor.save_pretrained(folder / f"network_{index}")
        self._save_start(folder)
        (folder / "estimator.json").write_text(state + "\n")

    def _save_start(self, folder: Path) -> None:
        """Save what the networks started from, where it has no folder of its own."""

    def _state(self) -> dict[str, Any]:
        parameters = self.get_params(deep=False)
        if not isinstance(self.random_state, Integral):
            parameters["random_state"] = None  # a generator's state is not a setting
        if isinstance(parameters.get("class_weight"), dict):  # JSON's keys are only text
            parameters["class_weight"] = list(parameters["class_weight"].items())
        return {
            "estimator": type(self).__name__,
            "parameters": parameters,
            "metadata": self.metadata_,
            "members": [
                {"epoch": network.epoch, "seconds": network.seconds, "history": network.history}
                for _, network in self.members_
            ],
        }

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Load a saved estimator; it predicts what the saved one predicts.

        Raises
        ------
        InputError
            The folder holds no estimator of this class, or something in it is damaged.
        """
        folder = Path(folder)
        if not (folder / "estimator.json").is_file():
            raise InputError(f"{folder} holds no saved estimator: estimator.json is missing.")
        with reading(folder / "estimator.json"):
            state = json.loads((folder / "estimator.json").read_text())
            name, parameters, members = (
                state[part] for part in ("estimator", "parameters", "members")
            )
            metadata = state["metadata"]
        if name != cls.__name__:
            raise InputError(
                f"{folder} holds a {name}; load it with that class, not {cls.__name__}."
            )
        with reading(folder / "estimator.json"):  # that of another version has other parameters
            if isinstance(parameters.get("class_weight"), list):
                parameters["class_weight"] = dict(parameters["class_weight"])
            estimator = cls(**parameters)
        estimator.metadata_ = metadata
        estimator.members_ = []
        for index, member in enumerate(members):
            task = estimator._task()
            model = task.load_network(folder / f"network_{index}")
            estimator.members_.append((task, TrainedNetwork(model, **member)))
        estimator._restore(estimator.members_[0][0].processor)
        estimator.is_fitted = True
        return estimator

    def _restore(self, processor: TimeSeriesProcessor) -> None:
        """Set what ``fit`` would have learned beside the networks."""

    @classmethod
    def _get_test_params(cls, parameter_set: str = "default") -> dict[str, Any]:
        """Return parameters of a network small enough for aeon's checks."""
        return {
            "hidden_size": 8,
            "num_blocks": 1,
            "num_attention_heads": 2,
            "epochs": 2,
            "random_state": 0,
        }


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """Return values in which NumPy's numbers, as searches give them, are Python's."""
    return {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in values.items()
    }


def _to_json(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise InputError(
        f"{value!r} cannot be saved as JSON; use plain numbers, strings, lists and dicts."
    )
