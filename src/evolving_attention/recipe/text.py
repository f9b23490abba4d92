"""Recipes of tasks on texts."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Self

from evolving_attention.recipe.base import Recipe

__all__ = ["TextDataOptions", "TextProcessingOptions", "TextRecipe"]


@dataclass
class TextDataOptions:
    """Where the texts come from.

    Attributes
    ----------
    train : str or None
        A task of GLUE by its name, such as ``CoLA``, or a folder of that name with the task's
        original files (``train.tsv``, ``dev.tsv``, ``test.tsv``). Pretraining also takes a text
        file, a text a line, or a folder of ``.txt`` files.
    test : str or None
        Pretraining: the text file to be measured on. None: the dev part of a GLUE task, if it is
        one. A GLUE task itself is always measured on its dev part.
    archive : str or None
        The folder in which a task's folder is looked up by name. None: named tasks come from the
        Hugging Face Hub.
    """

    train: str | None = None
    test: str | None = None
    archive: str | None = None


@dataclass
class TextProcessingOptions:
    """How texts become tokens.

    Attributes
    ----------
    max_length : int
        Most tokens of a text or pair; what is longer is cut. Of a network that is made from nothing
        also the longest input it can read.
    vocab_size : int
        Most tokens of a tokenizer that is learned, for a network made from nothing.
    lowercase : bool
        Whether such a tokenizer makes upper and lower case the same (BERT's form only).
    """

    max_length: int = 128
    vocab_size: int = 8000
    lowercase: bool = True


@dataclass
class TextRecipe(Recipe):
    """An experiment with texts.

    Attributes
    ----------
    task : {"glue", "text_pretraining"}
        What is learned: the labels of a GLUE task, or to guess masked tokens.
    data, processing, training
        See their classes.
    model : dict
        ``alpha``, ``beta`` and the other options of evolution, dropout, and, for a network made
        from nothing, ``architecture`` and its sizes; see ``--print_config`` for all of them.
    pretrained : str or None
        What the network starts from: a run folder, the folder of any checkpoint of BERT, RoBERTa or
        T5, or its name on the Hugging Face Hub. None: chance, and a tokenizer is learned.
    masked_share : float
        Of pretraining: the share of tokens to guess. Of these, eight in ten are masked, one in ten
        is another token, and one in ten is as it was (Devlin et al., NAACL 2019).
    seed : int
        Of initialisation, data order, split, masks and dropout.
    output : str
        The run folder.
    """

    task: Literal["glue", "text_pretraining"] = "glue"
    data: TextDataOptions = field(default_factory=TextDataOptions)
    processing: TextProcessingOptions = field(default_factory=TextProcessingOptions)
    masked_share: float = 0.15

    family: ClassVar[str] = "text"
    changeable: ClassVar[tuple[str, ...]] = ("model", "training", "processing", "masked_share")

    @property
    def kind(self) -> str:
        """``"glue"`` or ``"pretraining"``."""
        return self.task.removeprefix("text_")

    def as_pretraining(self) -> Self:
        """Return the recipe of pretraining alone: the same texts, network and options."""
        return replace(self, task="text_pretraining")
