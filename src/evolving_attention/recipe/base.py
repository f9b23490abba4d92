"""What the recipes of all tasks have in common.

Nothing heavy is imported here: the command line reads recipes before it decides what to load.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal, get_args, get_type_hints

import yaml

from evolving_attention.errors import InputError

__all__ = ["Recipe", "TrainingOptions", "check_literals", "check_supervised"]


@dataclass
class TrainingOptions:
    """How a network is trained.

    Attributes
    ----------
    epochs : int or "auto"
        Passes over the training part, at the most. ``"auto"``: as many as make
        1000 updates, and at least 5.
    batch_size : int
        Examples in an update, over all processes and accumulated pieces.
    gradient_accumulation : int
        Pieces a batch is cut into to save memory, computed one after the other.
    learning_rate : float
        Highest learning rate, after the warm-up.
    evolution_learning_rate : float or None
        That of evolution's own parameters, convolutions over maps and learned shares: at the rates
        of fine-tuning they would hardly leave their start. None: as all others.
    weight_decay : float
        Decay of the weights, but for biases and norms.
    optimizer : {"adamw", "radam", "sgd"}
        AdamW; or as the papers: RAdam for series, SGD with a momentum of 0.9 for images.
    schedule : {"cosine", "linear", "constant", "steps", "inverse_sqrt"}
        Of the learning rate, over ``epochs``. ``"steps"``: a tenth after 30, 60, 80 and 90 % of
        them. ``"inverse_sqrt"`` falls with the root of the updates, however many are to come.
    warmup : float
        Share of the updates in which the learning rate rises; from 1 on, their number.
    gradient_clip : float
        Largest norm of the gradient; 0: no clipping.
    average : float
        Share of an exponential average of the weights that an update leaves, such as 0.999; the
        network is measured with, and ends with, its average. From 1 on, it is the mean of the
        weights at the ends of so many last epochs. 0: no average.
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
    gradient_checkpointing : bool, "segments" or int
        Recompute in the backward pass to save memory. True: block by block, which keeps a map for
        each. ``"segments"``: several layers together, which keeps few maps, however deep the
        network; a number: as many layers.
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
    evolution_learning_rate: float | None = None
    weight_decay: float = 1e-2
    optimizer: Literal["adamw", "radam", "sgd"] = "adamw"
    schedule: Literal["cosine", "linear", "constant", "steps", "inverse_sqrt"] = "cosine"
    warmup: float = 0.1
    gradient_clip: float = 4.0
    average: float = 0.0
    validation: float = 0.0
    patience: int | None = None
    select_by: Literal["loss", "metric"] = "loss"
    refit: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"
    gradient_checkpointing: bool | int | Literal["segments"] = False
    checkpoint_every: float | None = 60.0
    tensorboard: bool = False


@dataclass
class Recipe:
    """An experiment: data, model, training, seed. What it learns decides the class.

    Each family of tasks has a class of its own, with options of its own; see
    :data:`~evolving_attention.recipe.families.RECIPES`.

    Attributes
    ----------
    task : str
        What is learned.
    data
        Where the data come from; ``data.train`` names them.
    model : dict
        Options of the model's configuration, such as ``alpha``; see ``--print_config`` for all of
        them.
    training : TrainingOptions
        How.
    pretrained : str or None
        What the network starts from. None: chance.
    seed : int
        Of initialisation, data order, split, masks and dropout.
    output : str
        The run folder.
    """

    task: str
    data: Any
    model: dict[str, Any] = field(default_factory=dict)
    training: TrainingOptions = field(default_factory=TrainingOptions)
    pretrained: str | None = None
    seed: int = 0
    output: str = "runs/run"

    #: Name of the family of tasks.
    family: ClassVar[str]
    #: Sections and options that variants and searches may change: all but data, task and seed.
    changeable: ClassVar[tuple[str, ...]] = ("model", "training")

    @property
    def kind(self) -> str:
        """What kind of target there is, such as ``"classification"`` or ``"pretraining"``."""
        return self.task.removeprefix(f"{self.family}_")

    def as_pretraining(self) -> "Recipe":
        """Return the recipe of pretraining alone: the same data, model and options.

        Raises
        ------
        InputError
            These tasks have no pretraining.
        """
        raise InputError(f"there is no pretraining for the task {self.task!r}.")

    def to_yaml(self) -> str:
        """Return the recipe as YAML that ``read_recipe`` reads."""
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
