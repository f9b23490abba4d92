"""Recipes of translation."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from evolving_attention.recipe.base import Recipe, TrainingOptions

__all__ = [
    "GenerationOptions",
    "TranslationDataOptions",
    "TranslationProcessingOptions",
    "TranslationRecipe",
    "TranslationTrainingOptions",
]


@dataclass
class TranslationDataOptions:
    """Where the pairs of sentences come from.

    Attributes
    ----------
    train : str or None
        A folder with ``train.de`` and ``train.en``, ``val`` and any ``test...`` likewise, plain or
        gzip (``.gz``); the common beginning of two such files, such as ``corpus/train``; a ``.tsv``
        of two columns, source and target; or ``hub:NAME``, a data set of the Hugging Face Hub, with
        ``@REVISION`` and ``:CONFIG`` where they are needed.
    source, target : str or None
        The languages, as the names of the files end. None: in the order of the alphabet, where
        there are two; of a ``.tsv`` they are names alone.
    validation : str or None
        The part that chooses the epoch: a name in the folder, or a source as ``train`` takes it.
        None: ``val``, ``valid``, ``validation`` or ``dev``, if there is one.
    test : str or None
        The parts that a run is measured on, with commas between: names in the folder, or sources as
        ``train`` takes them. None: all whose names begin with ``test``.
    """

    train: str | None = None
    source: str | None = None
    target: str | None = None
    validation: str | None = None
    test: str | None = None


@dataclass
class TranslationProcessingOptions:
    """How sentences become tokens.

    Attributes
    ----------
    vocab_size : int
        Most tokens of the vocabulary that both languages share; it is learned from the training
        part.
    max_length : int
        Most tokens of a sentence, its end included. Pairs with a longer one do not train; what is
        longer when it is translated is cut where a sentence or a word ends, and put together again.
    lowercase : bool
        Whether upper and lower case are the same, in what is measured too.
    """

    vocab_size: int = 10000
    max_length: int = 256
    lowercase: bool = False


@dataclass
class GenerationOptions:
    """How a trained network translates.

    Attributes
    ----------
    num_beams : int
        Translations kept in mind from token to token; 1: the likeliest token each time.
    length_penalty : float
        Power of its length by which the log probability of a translation is divided.
    max_length_ratio, max_length_extra : float, int
        A translation has at most so many tokens: the source's times the ratio, and the extra.
    batch_size : int
        Sentences translated at once.
    """

    num_beams: int = 5
    length_penalty: float = 1.0
    max_length_ratio: float = 1.0
    max_length_extra: int = 50
    batch_size: int = 64


@dataclass
class TranslationTrainingOptions(TrainingOptions):
    """How a network is trained to translate: options of every training, and three of its own.

    Attributes
    ----------
    batch_tokens : int or None
        Most tokens of source and target in an update, padding included, over all processes and
        accumulated pieces; ``batch_size`` then counts sentences of validation only. None: an update
        has ``batch_size`` pairs.
    label_smoothing : float
        Share of the target that is spread evenly over the vocabulary while the network trains.
    beta2 : float
        Share of the mean square of the gradients that an update leaves (AdamW, RAdam).
    validation : float
        0: a fixed budget. Else the epoch is chosen on the data's own validation part, or, where
        there is none, on such a share of the training part.
    average : float
        As in every training; from 1 on, the number of last epochs whose weights' mean is taken.
    """

    epochs: int | Literal["auto"] = 8
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    schedule: Literal["cosine", "linear", "constant", "steps", "inverse_sqrt"] = "inverse_sqrt"
    warmup: float = 400
    gradient_clip: float = 1.0
    average: float = 3
    validation: float = 0.02
    batch_tokens: int | None = 4096
    label_smoothing: float = 0.1
    beta2: float = 0.98


@dataclass
class TranslationRecipe(Recipe):
    """An experiment with translation.

    Attributes
    ----------
    task : {"translation"}
        What is learned.
    data, processing, generation, training
        See their classes.
    model : dict
        ``preset``, the size; ``alpha``, ``beta`` and the other options of evolution; and sizes and
        dropout that differ from the preset's; see ``--print_config`` for all of them.
    pretrained : str or None
        A run folder to go on from: its network and its vocabulary. None: chance.
    seed : int
        Of initialisation, data order, split and dropout.
    output : str
        The run folder.
    """

    task: Literal["translation"] = "translation"
    data: TranslationDataOptions = field(default_factory=TranslationDataOptions)
    processing: TranslationProcessingOptions = field(default_factory=TranslationProcessingOptions)
    generation: GenerationOptions = field(default_factory=GenerationOptions)
    training: TranslationTrainingOptions = field(default_factory=TranslationTrainingOptions)

    family: ClassVar[str] = "translation"
    changeable: ClassVar[tuple[str, ...]] = ("model", "training", "processing", "generation")
