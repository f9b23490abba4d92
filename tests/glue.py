"""Small folders in the layout of GLUE's own files.

The columns are those of the archives that GLUE distributes (gluebenchmark.com/tasks, as fetched by
its ``download_glue_data.py``); contents are made up.
"""

from pathlib import Path

#: The columns of every task's files: training and dev, then test. CoLA's first have no header.
COLUMNS = {
    "CoLA": (("source", "label", "mark", "sentence"), ("index", "sentence")),
    "SST-2": (("sentence", "label"), ("index", "sentence")),
    "MRPC": (
        ("Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"),
        ("index", "#1 ID", "#2 ID", "#1 String", "#2 String"),
    ),
    "STS-B": (
        (
            *("index", "genre", "filename", "year", "old_index", "source1", "source2"),
            *("sentence1", "sentence2", "score"),
        ),
        (
            *("index", "genre", "filename", "year", "old_index", "source1", "source2"),
            *("sentence1", "sentence2"),
        ),
    ),
    "QQP": (
        ("id", "qid1", "qid2", "question1", "question2", "is_duplicate"),
        ("id", "question1", "question2"),
    ),
    "MNLI": (
        (
            *("index", "promptID", "pairID", "genre", "sentence1_binary_parse"),
            *("sentence2_binary_parse", "sentence1_parse", "sentence2_parse"),
            *("sentence1", "sentence2", "label1", "gold_label"),
        ),
        (
            *("index", "promptID", "pairID", "genre", "sentence1_binary_parse"),
            *("sentence2_binary_parse", "sentence1_parse", "sentence2_parse"),
            *("sentence1", "sentence2"),
        ),
    ),
    "QNLI": (("index", "question", "sentence", "label"), ("index", "question", "sentence")),
    "RTE": (("index", "sentence1", "sentence2", "label"), ("index", "sentence1", "sentence2")),
    "WNLI": (("index", "sentence1", "sentence2", "label"), ("index", "sentence1", "sentence2")),
    "diagnostic": ((), ("index", "sentence1", "sentence2")),
}

#: The labels of every task, as its files write them.
LABELS = {
    "CoLA": ("0", "1"),
    "SST-2": ("0", "1"),
    "MRPC": ("0", "1"),
    "STS-B": ("0.000", "2.500", "5.000"),
    "QQP": ("0", "1"),
    "MNLI": ("entailment", "neutral", "contradiction"),
    "QNLI": ("entailment", "not_entailment"),
    "RTE": ("entailment", "not_entailment"),
    "WNLI": ("0", "1"),
}

_TEXTS = ("sentence", "sentence1", "question", "question1", "#1 String")
_SECONDS = ("sentence2", "question2", "#2 String")
_TARGETS = ("label", "label1", "gold_label", "Quality", "score", "is_duplicate")
_NOUNS = ("cat", "dog", "bird", "child", "teacher", "friend")


def sentence(number: int, label: int) -> str:
    """A sentence that tells its label, with a lonely quotation mark in every third."""
    mood = ("sleeps quietly", "runs away fast", "waits here")[label]
    mark = '" ' if number % 3 == 0 else ""
    return f"{mark}The {_NOUNS[number % len(_NOUNS)]} {mood} ."


def write_task(folder: Path, task: str, train: int = 24, dev: int = 10, test: int = 6) -> Path:
    """Write the files of a task into ``folder/task`` and return it."""
    place = folder / task
    place.mkdir(parents=True)
    parts = {"train": train, "dev": dev, "test": test}
    if task == "MNLI":
        parts = {"train": train} | {
            f"{part}_{kind}": count
            for part, count in (("dev", dev), ("test", test))
            for kind in ("matched", "mismatched")
        }
    if task == "diagnostic":
        parts = {"diagnostic": test}
    for part, count in parts.items():
        is_test = part.startswith(("test", "diagnostic"))
        write_rows(place / f"{part}.tsv", task, count, labelled=not is_test)
    return place


def write_rows(path: Path, task: str, count: int, *, labelled: bool) -> None:
    """Write one file; MRPC's dev file starts with a byte-order mark, as the original does."""
    columns = COLUMNS[task][not labelled]
    lines = [] if task == "CoLA" and labelled else ["\t".join(columns)]
    labels = LABELS.get(task, ("",))
    for number in range(count):
        label = number % len(labels)
        row = [_value(name, number, label, labels) for name in columns]
        if task == "QNLI":  # its second text is called as others' first
            row[columns.index("sentence")] = "It is so ."
        lines.append("\t".join(row))
    mark = "\ufeff" if task == "MRPC" and path.stem == "dev" else ""
    path.write_text(mark + "\n".join(lines) + "\n", encoding="utf-8")


def _value(name: str, number: int, label: int, labels: tuple[str, ...]) -> str:
    if name in _TEXTS:
        return sentence(number, label)
    if name in _SECONDS:
        return "It is so ."
    if name in _TARGETS:
        return labels[label]
    return str(number)
