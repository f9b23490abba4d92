import sys
from types import ModuleType

import pytest

from evolving_attention.recipe import TranslationDataOptions
from evolving_attention.tasks.parallel_sources import find_corpus
from tests.tasks.helpers import one_sentence


class Columns(dict):
    @property
    def column_names(self):
        return list(self)


PAIR = [{"de": "ja", "en": "yes"}, {"de": "", "en": "no"}]
#: A stand-in for the Hub: splits by data set and configuration.
HELD = {
    ("wmt/wmt14", "de-en"): {
        "train": Columns(translation=PAIR),
        "validation": Columns(translation=PAIR),
        "test": Columns(translation=PAIR),
    },
    ("me/columns", None): {"train": Columns(de=["ja"], en=["yes"], id=[0]), "test_2": Columns()},
    ("me/others", None): {
        "train": Columns(translation=[*PAIR, {"de": None, "en": "maybe"}]),
        "dev": Columns(translation=PAIR),
        "newstest2014": Columns(de=["ja", None], en=["yes", "no"]),
    },
    ("me/untrained", None): {"test": Columns(translation=PAIR)},
}


@pytest.fixture
def hub(monkeypatch):
    revisions = []

    def splits(name, config, revision):
        revisions.append(revision)
        if (name, config) not in HELD:
            raise ConnectionError("Couldn't reach the Hub. Try again.")
        return list(HELD[name, config])

    def load(name, config, split, revision):
        revisions.append(revision)
        return HELD[name, config][split]

    module = ModuleType("datasets")
    module.get_dataset_split_names, module.load_dataset = splits, load
    monkeypatch.setitem(sys.modules, "datasets", module)
    return revisions


def corpus(name, source="en", target="de"):
    return find_corpus(TranslationDataOptions(train=name, source=source, target=target))


def test_pairs_come_either_way_round(hub):
    found = corpus("hub:wmt/wmt14:de-en")
    read = found.train.read("it")
    assert (read.texts, read.targets.tolist(), read.empty) == ([("yes",)], ["ja"], 1)
    assert found.name == "wmt14"
    assert found.validation is not None
    assert list(found.tests) == ["test"]
    assert corpus("hub:wmt/wmt14:de-en", "de", "en").train.read("it").targets.tolist() == ["yes"]


def test_languages_may_be_columns(hub):
    found = corpus("hub:me/columns")
    assert found.train.read("it").texts == [("yes",)]
    assert list(found.tests) == ["test_2"]
    with one_sentence("no sentences in 'fr' and 'de'", "'en'"):
        corpus("hub:me/columns", "fr").train.read("it")
    with one_sentence("no sentences in 'fr' and 'de'", "'en'"):
        corpus("hub:wmt/wmt14:de-en", "fr").train.read("it")


def test_parts_may_have_the_names_that_files_may_have_and_sentences_may_be_missing(hub):
    found = corpus("hub:me/others")
    assert found.validation is not None
    assert list(found.tests) == ["newstest2014"]
    for part, empty in ((found.train, 2), (found.tests["newstest2014"], 1)):
        read = part.read("it")
        assert (read.targets.tolist(), read.empty) == (["ja"], empty)


def test_a_revision_may_be_named(hub):
    found = corpus("hub:wmt/wmt14@refs/convert/parquet:de-en")
    assert found.name == "wmt14"
    found.train.read("it")
    assert hub == ["refs/convert/parquet"] * 2
    corpus("hub:me/columns").train.read("it")
    assert hub[2:] == [None, None]


def test_what_cannot_be_had_is_told_with_what_else_there_is(hub, monkeypatch):
    with one_sentence("me/nowhere", "Couldn't reach", "--data.train FOLDER"):
        corpus("hub:me/nowhere")
    with one_sentence("no split 'train'", "test"):
        corpus("hub:me/untrained")
    with one_sentence("--data.source, --data.target"):
        corpus("hub:wmt/wmt14:de-en", None)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with one_sentence("datasets is not installed", "evolving-attention[text]"):
        corpus("hub:wmt/wmt14:de-en")
