"""Scikit-learn and aeon estimators: EA-DC-Transformers that ``fit`` and ``predict``."""

import json
import shutil
from numbers import Integral
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from aeon.base import BaseCollectionEstimator
from aeon.classification.base import BaseClassifier
from aeon.regression.base import BaseRegressor
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.utils import check_random_state

from evolving_attention.errors import InputError, reading
from evolving_attention.recipe import ProcessingOptions, TrainingOptions
from evolving_attention.tasks.time_series import TimeSeriesTask, predict_logits
from evolving_attention.tasks.time_series_data import Collection, LabelledSeries
from evolving_attention.tasks.time_series_processor import TimeSeriesProcessor
from evolving_attention.training import TrainedNetwork, quiet, train_network

__all__ = ["EADCTransformerClassifier", "EADCTransformerRegressor"]

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
_PROCESSING_PARAMETERS = ("normalization", "clip", "longer_series")


class _EADCTransformerEstimator(BaseCollectionEstimator):
    """What classifier and regressor share: an ensemble of networks, trained, asked and saved."""

    _kind: ClassVar[str]
    _tags: ClassVar[dict[str, Any]] = {
        "capability:multivariate": True,
        "capability:unequal_length": True,
        "capability:missing_values": True,
        "X_inner_type": ["np-list", "numpy3D"],
        "algorithm_type": "deeplearning",
    }

    def _fit(self, X: Collection, y: NDArray) -> Self:
        if not isinstance(self.n_estimators, Integral) or self.n_estimators < 1:
            raise InputError(
                f"n_estimators must be a whole number, at least 1, got {self.n_estimators!r}."
            )
        data = LabelledSeries(list(X), np.asarray(y))
        random = check_random_state(self.random_state)
        self.members_: list[tuple[TimeSeriesTask, TrainedNetwork]] = []
        for seed in random.randint(2**31 - 1, size=self.n_estimators).tolist():
            task = self._task()
            try:
                network = train_network(
                    task,
                    data,
                    self._settings(_MODEL_PARAMETERS) | (self.model_options or {}),
                    TrainingOptions(**self._settings(_TRAINING_PARAMETERS)),
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
        """Return parameters by name; NumPy's numbers, as searches give them, become Python's."""
        values = ((name, getattr(self, name)) for name in names)
        return {
            name: value.item() if isinstance(value, np.generic) else value for name, value in values
        }

    def _task(self) -> TimeSeriesTask:
        processing = ProcessingOptions(**self._settings(_PROCESSING_PARAMETERS))
        return TimeSeriesTask(self._kind, processing, getattr(self, "class_weight", None))

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
            Made where it does not exist.
        """
        self._check_is_fitted()
        state = json.dumps(self._state(), indent=2, default=_to_json)
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.glob("network_*"):  # of an ensemble saved here before
            shutil.rmtree(stale)
        with quiet():
            for index, (task, network) in enumerate(self.members_):
                network.model.save_pretrained(folder / f"network_{index}")
                task.processor.save_pretrained(folder / f"network_{index}")
        (folder / "estimator.json").write_text(state + "\n")

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
            "n_estimators": 1,
            "random_state": 0,
        }


def _to_json(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise InputError(
        f"{value!r} cannot be saved as JSON; use plain numbers, strings, lists and dicts."
    )


class EADCTransformerClassifier(_EADCTransformerEstimator, BaseClassifier):
    """Time-series classifier: EA-DC-Transformer, dilated convolutions beside evolving attention.

    Takes multivariate series of unequal lengths with missing values. A part of the training data
    chooses the epoch. The device is a GPU where there is one.

    Parameters
    ----------
    hidden_size : int, default=128
        Width of the network.
    num_blocks : int, default=4
        Blocks of two augmented convolutions each, of dilation 1, 2, 4, ...
    num_attention_heads : int, default=8
        Attention heads.
    key_ratio : float, default=0.25
        The papers' k: key channels as a share of the width; 0 in both ratios: no attention.
    value_ratio : float, default=0.25
        The papers' v: value channels as a share of the width; 1 in both: attention alone.
    dilated : bool, default=True
        Whether the convolutions are dilated.
    alpha : float, default=0.5
        Share of the previous layer's map, in [0, 1].
    beta : float, default=0.5
        Share of the convolved map, in [0, 1]; ``alpha = beta = 0``: no evolution, the twin.
    map_kernel_size : int, default=3
        Kernel of the convolution over maps, odd.
    map_activation : str, default="relu"
        ``"relu"``, ``"leaky_relu"`` or ``"identity"``, after that convolution.
    learned_mixing : bool, default=False
        Whether alpha and beta are learned.
    map_initialization : str, default="random"
        ``"random"``, or ``"identity"``: start as the twin.
    pooling : str, default="mean"
        ``"mean"``, ``"max"``, ``"attention"``, or ``"flatten"`` as the papers.
    patch_size : int or str, default="auto"
        Steps in a position; ``"auto"``: 1, and more for series beyond 256 steps.
    hidden_dropout : float, default=0.1
        Dropout of hidden states.
    model_options : dict[str, Any], optional
        Further options of the model's configuration, by name.
    epochs : int, default=100
        Passes over the training data, at the most.
    batch_size : int, default=16
        Series in a step.
    learning_rate : float, default=1e-3
        Of the optimiser.
    weight_decay : float, default=1e-2
        Of the optimiser.
    optimizer : str, default="adamw"
        ``"adamw"``, or ``"radam"`` as the papers.
    schedule : str, default="cosine"
        ``"cosine"``, ``"linear"`` or ``"constant"`` learning rate.
    validation : float, default=0.2
        Share of the training data held out to choose the epoch; 0: a fixed budget.
    patience : int, optional
        Epochs without improvement after which training stops.
    refit : bool, default=False
        Whether to train again on everything, for the chosen number of epochs.
    normalization : str, default="robust"
        ``"robust"``, ``"standard"``, ``"series"`` or ``"none"``.
    clip : float, optional, default=5.0
        Normalised values beyond it grow logarithmically only.
    longer_series : str, default="keep"
        Longer series at prediction: ``"keep"``, ``"resample"``, ``"truncate"``, ``"error"``.
    n_estimators : int, default=1
        Networks, differing in their seeds, whose predictions are averaged.
    class_weight : {"balanced"} or dict, optional
        Weight of each class in the loss.
    random_state : int, RandomState instance or None, default=None
        With an int, the same data give the same networks, to the bit on the same machine.
    verbose : int, default=0
        1: a progress bar.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        Class labels.
    members_ : list of (TimeSeriesTask, TrainedNetwork)
        The networks; ``network.history`` holds losses and metrics of each epoch.

    References
    ----------
    .. [1] Wang et al., "Convolution-enhanced Evolving Attention Networks", IEEE TPAMI, 2023.

    Examples
    --------
    >>> from aeon.datasets import load_japanese_vowels
    >>> from evolving_attention import EADCTransformerClassifier
    >>> X, y = load_japanese_vowels(split="train")
    >>> classifier = EADCTransformerClassifier(epochs=60, random_state=0)
    >>> classifier.fit(X, y)  # doctest: +SKIP
    >>> classifier.predict_proba(X[:2]).shape  # doctest: +SKIP
    (2, 9)
    """

    _kind = "classification"
    _tags = _EADCTransformerEstimator._tags

    def __init__(
        self,
        *,
        hidden_size: int = 128,
        num_blocks: int = 4,
        num_attention_heads: int = 8,
        key_ratio: float = 0.25,
        value_ratio: float = 0.25,
        dilated: bool = True,
        alpha: float = 0.5,
        beta: float = 0.5,
        map_kernel_size: int = 3,
        map_activation: str = "relu",
        learned_mixing: bool = False,
        map_initialization: str = "random",
        pooling: str = "mean",
        patch_size: int | str = "auto",
        hidden_dropout: float = 0.1,
        model_options: dict[str, Any] | None = None,
        epochs: int = 100,
        batch_size: int = 16,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-2,
        optimizer: str = "adamw",
        schedule: str = "cosine",
        validation: float = 0.2,
        patience: int | None = None,
        refit: bool = False,
        normalization: str = "robust",
        clip: float | None = 5.0,
        longer_series: str = "keep",
        n_estimators: int = 1,
        class_weight: str | dict[Any, float] | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.hidden_size = hidden_size
        self.num_blocks = num_blocks
        self.num_attention_heads = num_attention_heads
        self.key_ratio = key_ratio
        self.value_ratio = value_ratio
        self.dilated = dilated
        self.alpha = alpha
        self.beta = beta
        self.map_kernel_size = map_kernel_size
        self.map_activation = map_activation
        self.learned_mixing = learned_mixing
        self.map_initialization = map_initialization
        self.pooling = pooling
        self.patch_size = patch_size
        self.hidden_dropout = hidden_dropout
        self.model_options = model_options
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.optimizer = optimizer
        self.schedule = schedule
        self.validation = validation
        self.patience = patience
        self.refit = refit
        self.normalization = normalization
        self.clip = clip
        self.longer_series = longer_series
        self.n_estimators = n_estimators
        self.class_weight = class_weight
        self.random_state = random_state
        self.verbose = verbose
        super().__init__()

    def _predict_proba(self, X: Collection) -> NDArray[np.float64]:
        probabilities = [softmax(logits, axis=1) for logits in self._logits(X)]
        return np.mean(probabilities, axis=0)

    def _predict(self, X: Collection) -> NDArray:
        return self.classes_[self._predict_proba(X).argmax(1)]

    def _restore(self, processor: TimeSeriesProcessor) -> None:
        self.classes_ = processor.class_labels
        self.n_classes_ = len(self.classes_)
        self._class_dictionary = {label: index for index, label in enumerate(self.classes_)}


class EADCTransformerRegressor(_EADCTransformerEstimator, BaseRegressor):
    """Time-series regressor: EA-DC-Transformer, dilated convolutions beside evolving attention.

    Takes multivariate series of unequal lengths with missing values. A part of the training data
    chooses the epoch. The device is a GPU where there is one.

    Parameters
    ----------
    hidden_size : int, default=128
        Width of the network.
    num_blocks : int, default=4
        Blocks of two augmented convolutions each, of dilation 1, 2, 4, ...
    num_attention_heads : int, default=8
        Attention heads.
    key_ratio : float, default=0.25
        The papers' k: key channels as a share of the width; 0 in both ratios: no attention.
    value_ratio : float, default=0.25
        The papers' v: value channels as a share of the width; 1 in both: attention alone.
    dilated : bool, default=True
        Whether the convolutions are dilated.
    alpha : float, default=0.5
        Share of the previous layer's map, in [0, 1].
    beta : float, default=0.5
        Share of the convolved map, in [0, 1]; ``alpha = beta = 0``: no evolution, the twin.
    map_kernel_size : int, default=3
        Kernel of the convolution over maps, odd.
    map_activation : str, default="relu"
        ``"relu"``, ``"leaky_relu"`` or ``"identity"``, after that convolution.
    learned_mixing : bool, default=False
        Whether alpha and beta are learned.
    map_initialization : str, default="random"
        ``"random"``, or ``"identity"``: start as the twin.
    pooling : str, default="mean"
        ``"mean"``, ``"max"``, ``"attention"``, or ``"flatten"`` as the papers.
    patch_size : int or str, default="auto"
        Steps in a position; ``"auto"``: 1, and more for series beyond 256 steps.
    hidden_dropout : float, default=0.1
        Dropout of hidden states.
    model_options : dict[str, Any], optional
        Further options of the model's configuration, by name.
    epochs : int, default=100
        Passes over the training data, at the most.
    batch_size : int, default=16
        Series in a step.
    learning_rate : float, default=1e-3
        Of the optimiser.
    weight_decay : float, default=1e-2
        Of the optimiser.
    optimizer : str, default="adamw"
        ``"adamw"``, or ``"radam"`` as the papers.
    schedule : str, default="cosine"
        ``"cosine"``, ``"linear"`` or ``"constant"`` learning rate.
    validation : float, default=0.2
        Share of the training data held out to choose the epoch; 0: a fixed budget.
    patience : int, optional
        Epochs without improvement after which training stops.
    refit : bool, default=False
        Whether to train again on everything, for the chosen number of epochs.
    normalization : str, default="robust"
        ``"robust"``, ``"standard"``, ``"series"`` or ``"none"``.
    clip : float, optional, default=5.0
        Normalised values beyond it grow logarithmically only.
    longer_series : str, default="keep"
        Longer series at prediction: ``"keep"``, ``"resample"``, ``"truncate"``, ``"error"``.
    n_estimators : int, default=1
        Networks, differing in their seeds, whose predictions are averaged.
    random_state : int, RandomState instance or None, default=None
        With an int, the same data give the same networks, to the bit on the same machine.
    verbose : int, default=0
        1: a progress bar.

    Attributes
    ----------
    members_ : list of (TimeSeriesTask, TrainedNetwork)
        The networks; ``network.history`` holds losses and metrics of each epoch.

    References
    ----------
    .. [1] Wang et al., "Convolution-enhanced Evolving Attention Networks", IEEE TPAMI, 2023.

    Examples
    --------
    >>> from aeon.datasets import load_covid_3month
    >>> from evolving_attention import EADCTransformerRegressor
    >>> X, y = load_covid_3month(split="train")
    >>> regressor = EADCTransformerRegressor(epochs=60, random_state=0)
    >>> regressor.fit(X, y)  # doctest: +SKIP
    >>> regressor.predict(X[:2]).shape  # doctest: +SKIP
    (2,)
    """

    _kind = "regression"
    _tags = _EADCTransformerEstimator._tags

    def __init__(
        self,
        *,
        hidden_size: int = 128,
        num_blocks: int = 4,
        num_attention_heads: int = 8,
        key_ratio: float = 0.25,
        value_ratio: float = 0.25,
        dilated: bool = True,
        alpha: float = 0.5,
        beta: float = 0.5,
        map_kernel_size: int = 3,
        map_activation: str = "relu",
        learned_mixing: bool = False,
        map_initialization: str = "random",
        pooling: str = "mean",
        patch_size: int | str = "auto",
        hidden_dropout: float = 0.1,
        model_options: dict[str, Any] | None = None,
        epochs: int = 100,
        batch_size: int = 16,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-2,
        optimizer: str = "adamw",
        schedule: str = "cosine",
        validation: float = 0.2,
        patience: int | None = None,
        refit: bool = False,
        normalization: str = "robust",
        clip: float | None = 5.0,
        longer_series: str = "keep",
        n_estimators: int = 1,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.hidden_size = hidden_size
        self.num_blocks = num_blocks
        self.num_attention_heads = num_attention_heads
        self.key_ratio = key_ratio
        self.value_ratio = value_ratio
        self.dilated = dilated
        self.alpha = alpha
        self.beta = beta
        self.map_kernel_size = map_kernel_size
        self.map_activation = map_activation
        self.learned_mixing = learned_mixing
        self.map_initialization = map_initialization
        self.pooling = pooling
        self.patch_size = patch_size
        self.hidden_dropout = hidden_dropout
        self.model_options = model_options
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.optimizer = optimizer
        self.schedule = schedule
        self.validation = validation
        self.patience = patience
        self.refit = refit
        self.normalization = normalization
        self.clip = clip
        self.longer_series = longer_series
        self.n_estimators = n_estimators
        self.random_state = random_state
        self.verbose = verbose
        super().__init__()

    def _predict(self, X: Collection) -> NDArray[np.float64]:
        processors = [task.processor for task, _ in self.members_]
        values = [
            processor.decode(logits)
            for processor, logits in zip(processors, self._logits(X), strict=True)
        ]
        return np.mean(values, axis=0)
