"""Scikit-learn and aeon estimators: EA-DC-Transformers that ``fit`` and ``predict``."""

from pathlib import Path
from typing import Any

import numpy as np
from aeon.classification.base import BaseClassifier
from aeon.regression.base import BaseRegressor
from numpy.typing import NDArray
from scipy.special import softmax

from evolving_attention.encoder import EADCTransformerEncoder
from evolving_attention.fine_tuning import FineTunedEnsemble
from evolving_attention.tasks.time_series_data import Collection
from evolving_attention.tasks.time_series_processor import TimeSeriesProcessor

__all__ = ["EADCTransformerClassifier", "EADCTransformerRegressor"]


class EADCTransformerClassifier(FineTunedEnsemble, BaseClassifier):
    """Time-series classifier: EA-DC-Transformer, dilated convolutions beside evolving attention.

    Takes multivariate series of unequal lengths with missing values. By default all of the training
    data train for a fixed number of epochs; ``validation`` holds a part out to choose the epoch.
    The device is a GPU where there is one.

    Parameters
    ----------
    hidden_size : int, default=64
        Width of the network.
    num_blocks : int, default=4
        Blocks of two augmented convolutions each, of dilation 1, 2, 4, ...
    num_attention_heads : int, default=4
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
        Steps in a position; ``"auto"``: 1, and more for series beyond 80 steps.
    hidden_dropout : float, default=0.1
        Dropout of hidden states.
    model_options : dict[str, Any], optional
        Further options of the model's configuration, by name.
    epochs : int or str, default="auto"
        Passes over the training data, at the most; ``"auto"``: as many as make 1000 updates, and no
        fewer than 5.
    batch_size : int, default=16
        Series in a step.
    learning_rate : float, default=3e-3
        Of the optimiser.
    weight_decay : float, default=1e-2
        Of the optimiser.
    optimizer : str, default="adamw"
        ``"adamw"``, or ``"radam"`` as the papers.
    schedule : str, default="cosine"
        ``"cosine"``, ``"linear"`` or ``"constant"`` learning rate.
    validation : float, default=0.0
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
    differences : int or str, default="auto"
        So many orders of differences between steps become channels of their own; ``"auto"``: none.
    pretrained : EADCTransformerEncoder, str or Path, optional
        What the networks start from: a fitted encoder, or the folder of a saved one or of a run.
        Its normalisation stays, and options of the network must be its own.
    freeze : bool, default=False
        Whether only the head is trained.
    pretraining_epochs : int, default=0
        Passes over the training series, without their labels, before training; 0: none.
    augmentation : dict[str, Any], optional
        How training series vary, by the names of
        :class:`~evolving_attention.recipe.AugmentationOptions`, such as ``{"slicing": 0.3}``.
    n_estimators : int, default=1
        Networks, differing in their seeds, whose predictions are averaged.
    class_weight : {"balanced"} or dict, optional
        Weight of each class in the loss.
    random_state : int, RandomState instance or None, default=None
        With an int, the same data give the same networks, to the bit on the same processor.
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
    >>> classifier = EADCTransformerClassifier(random_state=0)
    >>> classifier.fit(X, y)  # doctest: +SKIP
    >>> classifier.predict_proba(X[:2]).shape  # doctest: +SKIP
    (2, 9)
    """

    _kind = "classification"
    _tags = FineTunedEnsemble._tags

    def __init__(
        self,
        *,
        hidden_size: int = 64,
        num_blocks: int = 4,
        num_attention_heads: int = 4,
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
        epochs: int | str = "auto",
        batch_size: int = 16,
        learning_rate: float = 3e-3,
        weight_decay: float = 1e-2,
        optimizer: str = "adamw",
        schedule: str = "cosine",
        validation: float = 0.0,
        patience: int | None = None,
        refit: bool = False,
        normalization: str = "robust",
        clip: float | None = 5.0,
        longer_series: str = "keep",
        differences: int | str = "auto",
        pretrained: EADCTransformerEncoder | str | Path | None = None,
        freeze: bool = False,
        pretraining_epochs: int = 0,
        augmentation: dict[str, Any] | None = None,
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
        self.differences = differences
        self.pretrained = pretrained
        self.freeze = freeze
        self.pretraining_epochs = pretraining_epochs
        self.augmentation = augmentation
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


class EADCTransformerRegressor(FineTunedEnsemble, BaseRegressor):
    """Time-series regressor: EA-DC-Transformer, dilated convolutions beside evolving attention.

    Takes multivariate series of unequal lengths with missing values. By default all of the training
    data train for a fixed number of epochs; ``validation`` holds a part out to choose the epoch.
    The device is a GPU where there is one.

    Parameters
    ----------
    hidden_size : int, default=64
        Width of the network.
    num_blocks : int, default=4
        Blocks of two augmented convolutions each, of dilation 1, 2, 4, ...
    num_attention_heads : int, default=4
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
        Steps in a position; ``"auto"``: 1, and more for series beyond 80 steps.
    hidden_dropout : float, default=0.1
        Dropout of hidden states.
    model_options : dict[str, Any], optional
        Further options of the model's configuration, by name.
    epochs : int or str, default="auto"
        Passes over the training data, at the most; ``"auto"``: as many as make 1000 updates, and no
        fewer than 5.
    batch_size : int, default=16
        Series in a step.
    learning_rate : float, default=3e-3
        Of the optimiser.
    weight_decay : float, default=1e-2
        Of the optimiser.
    optimizer : str, default="adamw"
        ``"adamw"``, or ``"radam"`` as the papers.
    schedule : str, default="cosine"
        ``"cosine"``, ``"linear"`` or ``"constant"`` learning rate.
    validation : float, default=0.0
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
    differences : int or str, default="auto"
        So many orders of differences between steps become channels of their own; ``"auto"``: 1, or
        none where a network is pretrained.
    pretrained : EADCTransformerEncoder, str or Path, optional
        What the networks start from: a fitted encoder, or the folder of a saved one or of a run.
        Its normalisation stays, and options of the network must be its own.
    freeze : bool, default=False
        Whether only the head is trained.
    pretraining_epochs : int, default=0
        Passes over the training series, without their labels, before training; 0: none.
    augmentation : dict[str, Any], optional
        How training series vary, by the names of
        :class:`~evolving_attention.recipe.AugmentationOptions`, such as ``{"slicing": 0.3}``.
    n_estimators : int, default=1
        Networks, differing in their seeds, whose predictions are averaged.
    random_state : int, RandomState instance or None, default=None
        With an int, the same data give the same networks, to the bit on the same processor.
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
    >>> regressor = EADCTransformerRegressor(random_state=0)
    >>> regressor.fit(X, y)  # doctest: +SKIP
    >>> regressor.predict(X[:2]).shape  # doctest: +SKIP
    (2,)
    """

    _kind = "regression"
    _tags = FineTunedEnsemble._tags

    def __init__(
        self,
        *,
        hidden_size: int = 64,
        num_blocks: int = 4,
        num_attention_heads: int = 4,
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
        epochs: int | str = "auto",
        batch_size: int = 16,
        learning_rate: float = 3e-3,
        weight_decay: float = 1e-2,
        optimizer: str = "adamw",
        schedule: str = "cosine",
        validation: float = 0.0,
        patience: int | None = None,
        refit: bool = False,
        normalization: str = "robust",
        clip: float | None = 5.0,
        longer_series: str = "keep",
        differences: int | str = "auto",
        pretrained: EADCTransformerEncoder | str | Path | None = None,
        freeze: bool = False,
        pretraining_epochs: int = 0,
        augmentation: dict[str, Any] | None = None,
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
        self.differences = differences
        self.pretrained = pretrained
        self.freeze = freeze
        self.pretraining_epochs = pretraining_epochs
        self.augmentation = augmentation
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
