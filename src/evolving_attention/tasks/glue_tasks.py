"""The tasks of GLUE (Wang et al., ICLR 2019): what their files hold and how they are judged.

The layout of the files is that of the archives which GLUE itself distributes; labels, files and
header of a submission are those that https://gluebenchmark.com takes.
"""

from dataclasses import dataclass, field

from evolving_attention.errors import InputError

__all__ = ["GLUE", "GlueDescription", "describe"]

_SENTENCES = ("sentence1", "sentence2")
_BINARY = ("0", "1")
_ENTAILMENT = ("entailment", "not_entailment")
_INFERENCE = ("entailment", "neutral", "contradiction")


@dataclass(frozen=True)
class GlueDescription:
    """One task.

    Attributes
    ----------
    name : str
        As GLUE calls it; also its folder.
    texts : tuple of str
        Headers of the columns with a sentence or the two of a pair.
    metrics : tuple of str
        By which GLUE ranks; see :mod:`~evolving_attention.tasks.glue_metrics`.
    labels : tuple of str
        The classes, as the files and the server write them; none where a number is predicted.
    label : str
        Header of the column with the label; ``"gold_label"``, ``"score"``, ...
    hub : str
        Name of the configuration on the Hugging Face Hub.
    hub_texts : tuple of str
        Columns of the texts there.
    train : str or None
        The training file; None for a task that is only predicted.
    dev : dict of str to str
        The labelled files that judge, by the part's name; a single part has the name ``""``.
    tests : dict of str to str
        The unlabelled files, by the file that the server takes for them.
    borrows : str or None
        A task whose networks predict this one.
    lossy : bool
        Whether GLUE's own files have rows that a line break inside a text has torn apart.
    """

    name: str
    texts: tuple[str, ...]
    metrics: tuple[str, ...]
    labels: tuple[str, ...]
    label: str
    hub: str
    hub_texts: tuple[str, ...]
    train: str | None = "train.tsv"
    dev: dict[str, str] = field(default_factory=lambda: {"": "dev.tsv"})
    tests: dict[str, str] = field(default_factory=dict)
    borrows: str | None = None
    lossy: bool = False

    @property
    def is_regression(self) -> bool:
        """Whether a number is predicted."""
        return not self.labels

    @property
    def test_files(self) -> dict[str, str]:
        """The unlabelled files, by the file that the server takes for them."""
        return self.tests or {f"{self.name}.tsv": "test.tsv"}


GLUE: dict[str, GlueDescription] = {
    task.name: task
    for task in (
        GlueDescription(
            "CoLA",
            ("sentence",),
            ("matthews",),
            _BINARY,
            "label",
            hub="cola",
            hub_texts=("sentence",),
        ),
        GlueDescription(
            "SST-2",
            ("sentence",),
            ("accuracy",),
            _BINARY,
            "label",
            hub="sst2",
            hub_texts=("sentence",),
        ),
        GlueDescription(
            "MRPC",
            ("#1 String", "#2 String"),
            ("accuracy", "f1"),
            _BINARY,
            "Quality",
            hub="mrpc",
            hub_texts=_SENTENCES,
        ),
        GlueDescription(
            "STS-B",
            _SENTENCES,
            ("pearson", "spearman"),
            (),
            "score",
            hub="stsb",
            hub_texts=_SENTENCES,
        ),
        GlueDescription(
            "QQP",
            ("question1", "question2"),
            ("accuracy", "f1"),
            _BINARY,
            "is_duplicate",
            hub="qqp",
            hub_texts=("question1", "question2"),
            lossy=True,
        ),
        GlueDescription(
            "MNLI",
            _SENTENCES,
            ("accuracy",),
            _INFERENCE,
            "gold_label",
            hub="mnli",
            hub_texts=("premise", "hypothesis"),
            dev={"matched": "dev_matched.tsv", "mismatched": "dev_mismatched.tsv"},
            tests={"MNLI-m.tsv": "test_matched.tsv", "MNLI-mm.tsv": "test_mismatched.tsv"},
        ),
        GlueDescription(
            "QNLI",
            ("question", "sentence"),
            ("accuracy",),
            _ENTAILMENT,
            "label",
            hub="qnli",
            hub_texts=("question", "sentence"),
        ),
        GlueDescription(
            "RTE",
            _SENTENCES,
            ("accuracy",),
            _ENTAILMENT,
            "label",
            hub="rte",
            hub_texts=_SENTENCES,
        ),
        GlueDescription(
            "WNLI",
            _SENTENCES,
            ("accuracy",),
            _BINARY,
            "label",
            hub="wnli",
            hub_texts=_SENTENCES,
        ),
        GlueDescription(  # the diagnostic set: predicted by networks of MNLI, never trained on
            "AX",
            _SENTENCES,
            ("matthews",),
            _INFERENCE,
            "label",
            hub="ax",
            hub_texts=("premise", "hypothesis"),
            train=None,
            dev={},
            tests={"AX.tsv": "diagnostic.tsv"},
            borrows="MNLI",
        ),
    )
}

_PLAIN = {name.replace("-", "").lower(): name for name in GLUE} | {"diagnostic": "AX"}


def describe(name: str) -> GlueDescription:
    """Return the task of a name, such as ``SST-2``, ``sst2`` or ``diagnostic``.

    Raises
    ------
    InputError
        There is none.
    """
    plain = name.replace("-", "").replace("_", "").lower()
    if plain not in _PLAIN:
        raise InputError(f"GLUE has no task {name!r}: take one of {', '.join(GLUE)}.")
    return GLUE[_PLAIN[plain]]
