"""An aeon transformer that learns vectors for series from series alone."""

from typing import Any, ClassVar

import numpy as np
from aeon.transformations.collection import BaseCollectionTransformer
from numpy.typing import NDArray

from evolving_attention.ensemble import NetworkEnsemble
from evolving_attention.recipe import PretrainingOptions
from evolving_attention.tasks.embedding import embed_series
from evolving_attention.tasks.pretrained import PretrainedEncoder
from evolving_attention.tasks.time_series_data import Collection
from evolving_attention.tasks.time_series_pretraining import TimeSeriesPretrainingTask

__all__ = ["EADCTransformerEncoder"]


class EADCTransformerEncoder(NetworkEnsemble, BaseCollectionTransformer):
    """Time-series encoder: an EA-DC-Transformer pretrained without labels.

    ``fit`` hides stretches of the series and trains a network to fill them in; labels are ignored.
    ``transform`` gives one vector a series: the mean over its steps of GELU(last hidden state).
    Takes multivariate series of unequal lengths with missing values. A fitted encoder is also a
    start: ``EADCTransformerClassifier(pretrained=encoder)``.

    Parameters
    ----------
    hidden_size : int, default=64
        Width of the network, and numbers in a vector.
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
    patch_size : int or str, default="auto"
        Steps in a position; ``"auto"``: 1, and more for series beyond 80 steps.
    hidden_dropout : float, default=0.1
        Dropout of hidden states.
    model_options : dict[str, Any], optional
        Further options of the model's configuration, by name.
    masked_share : float, default=0.15
        Share of each channel that is hidden.
    mean_length : float, default=3.0
        Mean number of steps in a hidden stretch.
    together : bool, default=False
        Whether all channels are hidden at the same steps.
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
        Share of the series held out to choose the epoch; 0: a fixed budget.
    patience : int, optional
        Epochs without improvement after which training stops.
    refit : bool, default=False
        Whether to train again on everything, for the chosen number of epochs.
    normalization : str, default="robust"
        ``"robust"``, ``"standard"``, ``"series"`` or ``"none"``.
    clip : float, optional, default=5.0
        Normalised values beyond it grow logarithmically only.
    longer_series : str, default="keep"
        Longer series at transformation: ``"keep"``, ``"resample"``, ``"truncate"``, ``"error"``.
    random_state : int, RandomState instance or None, default=None
        With an int, the same data give the same network, to the bit on the same processor.
    verbose : int, default=0
        1: a progress bar.

    Attributes
    ----------
    members_ : list of (TimeSeriesPretrainingTask, TrainedNetwork)
        The network, alone in its list; ``network.history`` holds the losses of each epoch.

    References
    ----------
    .. [1] Zerveas et al., "A Transformer-based Framework for Multivariate Time Series
       Representation Learning", KDD, 2021.
    .. [2] Wang et al., "Convolution-enhanced Evolving Attention Networks", IEEE TPAMI, 2023.

    Examples
    --------
    >>> from aeon.datasets import load_japanese_vowels
    >>> from evolving_attention import EADCTransformerEncoder
    >>> X, _ = load_japanese_vowels(split="train")
    >>> encoder = EADCTransformerEncoder(random_state=0)
    >>> encoder.fit_transform(X).shape  # doctest: +SKIP
    (270, 64)
    """

    _kind = "pretraining"
    _model_parameters: ClassVar[tuple[str, ...]] = tuple(
        name for name in NetworkEnsemble._model_parameters if name != "pooling"
    )
    _processing_parameters: ClassVar[tuple[str, ...]] = tuple(
        name for name in NetworkEnsemble._processing_parameters if name != "differences"
    )
    _tags = NetworkEnsemble._tags | {"output_data_type": "Tabular"}

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
        patch_size: int | str = "auto",
        hidden_dropout: float = 0.1,
        model_options: dict[str, Any] | None = None,
        masked_share: float = 0.15,
        mean_length: float = 3.0,
        together: bool = False,
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
        self.patch_size = patch_size
        self.hidden_dropout = hidden_dropout
        self.model_options = model_options
        self.masked_share = masked_share
        self.mean_length = mean_length
        self.together = together
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
        self.random_state = random_state
        self.verbose = verbose
        super().__init__()

    def _task(self) -> TimeSeriesPretrainingTask:
        masking = self._settings(("masked_share", "mean_length", "together"))
        return TimeSeriesPretrainingTask(self._processing(), PretrainingOptions(**masking))

    def _transform(self, X: Collection, y: NDArray | None = None) -> NDArray[np.float32]:
        ((task, network),) = self.members_
        return embed_series(network.model, task.processor, list(X))

    def as_start(self) -> PretrainedEncoder:
        """Return what other networks can start from; the encoder must be fitted."""
        self._check_is_fitted()
        ((task, network),) = self.members_
        return PretrainedEncoder(network.model, task.processor, "the fitted encoder")
