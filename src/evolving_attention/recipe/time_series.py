"""Recipes of time-series tasks."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Self

from evolving_attention.recipe.base import Recipe

__all__ = [
    "AugmentationOptions",
    "DataOptions",
    "PretrainingOptions",
    "ProcessingOptions",
    "TimeSeriesRecipe",
]


@dataclass
class DataOptions:
    """Where the data come from.

    Attributes
    ----------
    train : str or None
        A name of aeon's archives (``JapaneseVowels``), a folder with ``NAME_TRAIN.ts`` and
        ``NAME_TEST.ts``, or a file: ``.ts``, ``.arff``, ``.tsv`` or ``.npz``.
    test : str or None
        The test file. None: found beside the training file (``_TRAIN`` becomes ``_TEST``; an
        ``.npz`` holds both).
    layout : {"channels_first", "steps_first"}
        Layout of arrays in ``.npz`` files: (cases, channels, steps) or (cases, steps, channels).
    archive : str or None
        Folder in which aeon looks for named data sets and stores what it downloads.
    """

    train: str | None = None
    test: str | None = None
    layout: Literal["channels_first", "steps_first"] = "channels_first"
    archive: str | None = None


@dataclass
class ProcessingOptions:
    """How series become inputs of a network.

    Attributes
    ----------
    normalization : {"robust", "standard", "series", "none"}
        Per channel: median and interquartile range, or mean and standard deviation, of the
        training part; mean and standard deviation of each series itself; or as it is.
    clip : float or None
        Normalised values beyond this many deviations grow logarithmically only, so that heavy
        tails cannot destabilise training. None: no clipping.
    longer_series : {"keep", "resample", "truncate", "error"}
        What to do at prediction with series longer than any in training.
    differences : int or "auto"
        So many orders of differences between steps follow the values as channels of their own.
        ``"auto"``: 1 for numbers, 0 for classes and wherever a network is pretrained, as a
        difference would give hidden values away.
    """

    normalization: Literal["robust", "standard", "series", "none"] = "robust"
    clip: float | None = 5.0
    longer_series: Literal["keep", "resample", "truncate", "error"] = "keep"
    differences: int | Literal["auto"] = "auto"


@dataclass
class AugmentationOptions:
    """How training series vary from epoch to epoch, after normalisation; 0: not at all.

    Attributes
    ----------
    slicing : float or "auto"
        Largest share of a series that is cut away at its ends; what is left is stretched to the
        length of the series. ``"auto"``: 0.2 for classes; 0 for numbers, which may depend on how
        fast a series runs.
    scaling : float
        Standard deviation of a factor around 1, drawn for each channel.
    jitter : float
        Standard deviation of noise added to every value.
    masking : float
        Share of steps at which all channels are set to 0.
    """

    slicing: float | Literal["auto"] = "auto"
    scaling: float = 0.0
    jitter: float = 0.0
    masking: float = 0.0


@dataclass
class PretrainingOptions:
    """How a network learns from series without labels: it fills in masked entries.

    Attributes
    ----------
    epochs : int
        Passes over the training part, without its labels, before a classifier or regressor is
        trained; 0: none. A recipe whose task is pretraining itself has ``training.epochs``.
    masked_share : float
        Share of each channel that is masked.
    mean_length : float
        Mean number of steps in a masked stretch.
    together : bool
        Mask all channels at the same steps, rather than each for itself.
    """

    epochs: int = 0
    masked_share: float = 0.15
    mean_length: float = 3.0
    together: bool = False


@dataclass
class TimeSeriesRecipe(Recipe):
    """An experiment with time series.

    Attributes
    ----------
    task : {"time_series_classification", "time_series_regression", "time_series_pretraining"}
        What is learned.
    data, processing, augmentation, training, pretraining
        See their classes.
    model : dict
        Options of the model's configuration, such as ``alpha``, ``hidden_size``, ``pooling``; see
        ``--print_config`` for all of them. ``patch_size: auto`` chooses by length.
    class_weight : {"balanced"} or None
        Weigh classes inversely to their frequency.
    pretrained : str or None
        A run folder whose encoder, the network but for its head, is the start. Options of the model
        that are not given, but for pooling and dropout, and the normalisation follow that run.
    freeze : bool
        Train only the head; the pretrained encoder stays as it is.
    seed : int
        Of initialisation, data order, split, masks and dropout.
    output : str
        The run folder.
    """

    task: Literal[
        "time_series_classification", "time_series_regression", "time_series_pretraining"
    ] = "time_series_classification"
    data: DataOptions = field(default_factory=DataOptions)
    processing: ProcessingOptions = field(default_factory=ProcessingOptions)
    augmentation: AugmentationOptions = field(default_factory=AugmentationOptions)
    pretraining: PretrainingOptions = field(default_factory=PretrainingOptions)
    class_weight: Literal["balanced"] | None = None
    freeze: bool = False

    family: ClassVar[str] = "time_series"
    changeable: ClassVar[tuple[str, ...]] = (
        *Recipe.changeable,
        "processing",
        "augmentation",
        "pretraining",
        "class_weight",
    )

    def as_pretraining(self) -> Self:
        """Return the recipe of pretraining alone: the same data, processing, model and options.

        Its epochs are ``pretraining.epochs`` where there are any, else ``training.epochs``.
        """
        if self.kind == "pretraining":
            return self
        return replace(
            self,
            task="time_series_pretraining",
            training=replace(self.training, epochs=self.pretraining.epochs or self.training.epochs),
            augmentation=AugmentationOptions(),  # masks are variation enough
            pretraining=replace(self.pretraining, epochs=0),
            class_weight=None,
            freeze=False,
        )
