"""Recipes: everything that determines a run, as plain data.

Nothing heavy is imported here: the command line reads recipes before it decides what to load.
"""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import yaml
from jsonargparse import ArgumentParser, Namespace

from evolving_attention.errors import InputError, reason

__all__ = [
    "AugmentationOptions",
    "DataOptions",
    "PretrainingOptions",
    "ProcessingOptions",
    "Recipe",
    "TrainingOptions",
    "bundled_recipes",
    "change_recipe",
    "check_literals",
    "check_supervised",
    "make_recipe",
    "read_recipe",
    "recipe_of",
    "recipe_path",
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
    """

    normalization: Literal["robust", "standard", "series", "none"] = "robust"
    clip: float | None = 5.0
    longer_series: Literal["keep", "resample", "truncate", "error"] = "keep"


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
class TrainingOptions:
    """How a network is trained.

    Attributes
    ----------
    epochs : int or "auto"
        Passes over the training part, at the most. ``"auto"``: as many as make
        :data:`~evolving_attention.trainer.budget.UPDATES` updates, and no fewer than
        :data:`~evolving_attention.trainer.budget.FEWEST_EPOCHS`.
    batch_size : int
        Series in an update, over all processes and accumulated pieces.
    gradient_accumulation : int
        Pieces a batch is cut into to save memory, computed one after the other.
    learning_rate : float
        Highest learning rate, after the warm-up.
    weight_decay : float
        Decay of the weights, but for biases and norms.
    optimizer : {"adamw", "radam"}
        AdamW, or RAdam as the papers.
    schedule : {"cosine", "linear", "constant"}
        Of the learning rate, over ``epochs``.
    warmup : float
        Share of the steps in which the learning rate rises.
    gradient_clip : float
        Largest norm of the gradient; 0: no clipping.
    validation : float
        Share of the training part held out, stratified by class, to choose the epoch; 0: a fixed
        budget.
    patience : int or None
        Epochs without improvement after which training stops. None: never.
    select_by : {"loss", "metric"}
        What chooses the epoch: validation loss, or the task's metric.
    refit : bool
        After the epoch is chosen, train again on all of the training part for that many epochs.
    precision : {"float32", "bfloat16"}
        bfloat16: mixed precision.
    gradient_checkpointing : bool
        Recompute blocks in the backward pass to save memory.
    checkpoint_every : float or None
        Seconds between two checkpoints, from which ``--resume`` goes on; 0: after every update;
        None: no checkpoints.
    tensorboard : bool
        Write curves for TensorBoard into the run folder.
    """

    epochs: int | Literal["auto"] = "auto"
    batch_size: int = 16
    gradient_accumulation: int = 1
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    optimizer: Literal["adamw", "radam"] = "adamw"
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = 0.1
    gradient_clip: float = 4.0
    validation: float = 0.0
    patience: int | None = None
    select_by: Literal["loss", "metric"] = "loss"
    refit: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"
    gradient_checkpointing: bool = False
    checkpoint_every: float | None = 60.0
    tensorboard: bool = False


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
class Recipe:
    """An experiment: data, processing, model, training, seed.

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
        that are not given, and the normalisation, follow that run.
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
    model: dict[str, Any] = field(default_factory=dict)
    training: TrainingOptions = field(default_factory=TrainingOptions)
    pretraining: PretrainingOptions = field(default_factory=PretrainingOptions)
    class_weight: Literal["balanced"] | None = None
    pretrained: str | None = None
    freeze: bool = False
    seed: int = 0
    output: str = "runs/run"

    @property
    def kind(self) -> str:
        """``"classification"``, ``"regression"`` or ``"pretraining"``."""
        return self.task.removeprefix("time_series_")

    def as_pretraining(self) -> "Recipe":
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

    def to_yaml(self) -> str:
        """Return the recipe as YAML that :func:`read_recipe` reads."""
        return yaml.safe_dump(asdict(self), sort_keys=False)


def check_literals(options: Any, *names: str, prefix: str = "") -> None:
    """Raise :class:`InputError` unless the options of these names have one of their choices.

    Parameters
    ----------
    options : dataclass instance
        Declares the choices of each name as a ``Literal``.
    *names : str
        The options to check.
    prefix : str
        What the message puts before a name.
    """
    declared = get_type_hints(type(options))
    for name in names:
        value, choices = getattr(options, name), get_args(declared[name])
        if value not in choices:
            raise InputError(
                f"{prefix}{name} must be one of {', '.join(map(repr, choices))}, got {value!r}."
            )


def check_supervised(recipe: Recipe, purpose: str) -> None:
    """Raise :class:`InputError` for a recipe that only pretrains, where labels are needed."""
    if recipe.kind == "pretraining":
        raise InputError(
            f"{purpose} takes the recipe of a classifier or regressor, and this one pretrains "
            "without labels."
        )


def _recipe_folder() -> Path:
    installed = Path(__file__).parent / "recipes"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "recipes"


def bundled_recipes() -> dict[str, Path]:
    """Return the package's recipes by name, such as ``time_series/japanese_vowels``."""
    folder = _recipe_folder()
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path
        for path in sorted(folder.rglob("*.yaml"))
    }


def recipe_path(name: str) -> Path:
    """Find a recipe by path, or by the name of one that comes with the package."""
    if (path := Path(name)).is_file():
        return path
    recipes = bundled_recipes()
    if (short := name.removesuffix(".yaml").removeprefix("recipes/")) in recipes:
        return recipes[short]
    raise InputError(
        f"there is no recipe {name!r}: give a YAML file or one of {', '.join(recipes)}."
    )


def read_recipe(path: str | Path) -> Recipe:
    """Read a YAML recipe; what it does not say has its default.

    Raises
    ------
    InputError
        The file is missing or not YAML, or an option is unknown or of a wrong type.
    """
    try:
        return recipe_of(yaml.safe_load(Path(path).read_text()) or {})
    except Exception as error:  # YAML's errors, and those of a wrong option
        raise InputError(f"{path} is not a recipe: {reason(error)}.") from error


def recipe_of(values: dict[str, Any]) -> Recipe:
    """Make a recipe of plain values, as YAML holds them, and check their names and types."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Recipe)
    _check_sections(values)
    try:
        return make_recipe(parser.parse_object(values))
    except Exception as error:  # jsonargparse raises its own and argparse's errors
        raise InputError(f"{reason(error)}.") from error


def change_recipe(recipe: Recipe, changes: dict[str, Any]) -> Recipe:
    """Return a recipe with other values, given by dotted names such as ``model.alpha``."""
    values = asdict(recipe)
    for name, value in changes.items():
        section, _, option = name.partition(".")
        values[section] = values[section] | {option: value} if option else value
    return recipe_of(values)


def make_recipe(values: Namespace) -> Recipe:
    """Make a recipe of what a parser with the arguments of one has parsed."""
    parser = ArgumentParser()
    parser.add_class_arguments(Recipe)
    own = Namespace(**{name: values[name] for name in Recipe.__dataclass_fields__})
    return Recipe(**vars(parser.instantiate(own)))


_SECTIONS = ("data", "processing", "augmentation", "model", "training", "pretraining")


def _check_sections(values: Any) -> None:
    """Check that sections are mappings: jsonargparse reports others unclearly, or not at all."""
    if not isinstance(values, dict):
        raise InputError("it must be a mapping of names to values")
    for name, value in values.items():
        if name not in Recipe.__dataclass_fields__:
            raise InputError(f"it has no option {name!r}")
        if name in _SECTIONS and not isinstance(value, dict):
            raise InputError(f"{name} must be a mapping of options, got {value!r}")
