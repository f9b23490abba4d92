from pathlib import Path

import pytest

from evolving_attention.recipe import TranslationDataOptions
from evolving_attention.tasks.parallel_sources import find_corpus, find_part, find_tests
from tests.parallel import PAIRS, write_corpus, write_lines
from tests.tasks.helpers import one_sentence


def corpus(train, **options):
    return find_corpus(TranslationDataOptions(train=str(train), **options))


def first(part):
    return part.read("it").texts[0][0]


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_folder_works_by_itself(tmp_path, suffix):
    found = corpus(write_corpus(tmp_path / "toy", suffix))
    assert (found.name, found.source, found.target) == ("toy", "de", "en")
    assert len(found.train.read("it")) == 24
    assert len(found.validation.read("it")) == 6
    assert list(found.tests) == ["test_a", "test_b"]


@pytest.mark.parametrize("given", [{"source": "en"}, {"target": "de"}])
def test_a_language_that_is_named_settles_the_other(tmp_path, given):
    found = corpus(write_corpus(tmp_path), **given)
    assert (found.source, found.target) == ("en", "de")
    assert first(found.train) == PAIRS[0][1]


def test_of_several_languages_two_must_be_named(tmp_path):
    write_corpus(tmp_path)
    write_lines(tmp_path / "train.fr", ["a"] * 24)
    with one_sentence("de, en, fr", "--data.source"):
        corpus(tmp_path)
    with one_sentence("de, en, fr", "--data.source"):
        corpus(tmp_path, source="de")
    assert corpus(tmp_path, source="fr", target="en").tests == {}
    with one_sentence("data.target is 'it'", "de, en, fr"):
        corpus(tmp_path, source="de", target="it")
    with one_sentence("both 'de'"):
        corpus(tmp_path, source="de", target="de")


@pytest.mark.parametrize("name", ["val", "valid", "validation", "dev"])
def test_what_validates_has_one_of_its_usual_names(tmp_path, name):
    found = corpus(write_corpus(tmp_path, train=3, newstest2014=2, **{name: 2}))
    assert len(found.validation.read("it")) == 2
    assert list(found.tests) == ["newstest2014"]


def test_parts_are_chosen_by_name_or_by_path(tmp_path):
    write_corpus(tmp_path / "more", news=2)
    write_corpus(tmp_path / "toy")
    found = corpus(
        tmp_path / "toy", validation="test_b", test=f"test_a, {tmp_path / 'more' / 'news'}"
    )
    assert len(found.validation.read("it")) == 4
    assert {name: len(part.read("it")) for name, part in found.tests.items()} == {
        "test_a": 5,
        "news": 2,
    }
    with one_sentence("no part 'test_c'", "test_a, test_b, val"):
        corpus(tmp_path / "toy", test="test_c")
    with one_sentence("two parts have one name"):
        corpus(tmp_path / "toy", test=f"test_a,{write_corpus(tmp_path / 'other')}/test_a")


def test_what_validates_does_not_test_unless_it_is_asked_to(tmp_path):
    write_corpus(tmp_path, train=5, newstest2013=2, newstest2014=3)
    for given in ("newstest2013", str(tmp_path / "newstest2013.de")):
        found = corpus(tmp_path, validation=given)
        assert len(found.validation.read("it")) == 2
        assert list(found.tests) == ["newstest2014"]
    found = corpus(tmp_path, validation="newstest2013", test="newstest2013,newstest2014")
    assert list(found.tests) == ["newstest2013", "newstest2014"]


def test_parts_to_measure_are_files_or_those_beside_the_training_part(tmp_path):
    folder, more = write_corpus(tmp_path / "toy"), write_corpus(tmp_path / "more", news=2)
    options = TranslationDataOptions(train=str(folder), source="de", target="en")
    found = find_tests(f"{more / 'news'}", options)
    assert [len(part.read("it")) for part in found.values()] == [2]
    found = find_tests(f"test_a, {more / 'news.en'}", options)
    assert {name: len(part.read("it")) for name, part in found.items()} == {"test_a": 5, "news": 2}
    with one_sentence("no part 'test_c'", "test_a, test_b, val"):
        find_tests("test_c", options)
    with one_sentence("is a folder", "test"):
        find_tests(str(folder), options)
    gone = TranslationDataOptions(train=str(tmp_path / "gone"), source="de", target="en")
    assert list(find_tests(str(more / "news"), gone)) == ["news"]
    with one_sentence("no pairs of sentences at 'test_a'"):
        find_tests("test_a", gone)


def test_a_table_is_no_part_of_a_folder_of_pairs(tmp_path):
    write_corpus(tmp_path, train=5, test=3)
    write_lines(tmp_path / "val.tsv", ["\t".join(pair) for pair in PAIRS[:2]])
    assert corpus(tmp_path, source="en").validation is None
    assert corpus(tmp_path, validation=str(tmp_path / "val.tsv")).validation is not None


def test_the_common_beginning_of_two_files_is_enough(tmp_path):
    write_corpus(tmp_path, **{"europarl-v7.de-en": 7, "val": 2, "test": 2})
    found = corpus(tmp_path / "europarl-v7.de-en")
    assert found.name == "europarl-v7.de-en"
    assert len(found.train.read("it")) == 7
    assert list(found.tests) == ["test"]
    assert found.validation is not None


def test_a_table_trains_and_has_others_beside_it(tmp_path):
    for part, count in (("train", 5), ("dev", 2), ("test", 3)):
        write_lines(tmp_path / f"{part}.tsv", ["\t".join(pair) for pair in PAIRS[:count]])
    for given in (tmp_path, tmp_path / "train.tsv"):
        found = corpus(given)
        assert (found.source, found.target) == ("source", "target")
        assert first(found.train) == PAIRS[0][0]
        assert len(found.validation.read("it")) == 2
        assert list(found.tests) == ["test"]


def test_one_of_two_files_stands_for_both(tmp_path):
    write_corpus(tmp_path, ".gz", test=3)
    for name in ("test", "test.de.gz", "test.en.gz"):
        assert first(find_part(str(tmp_path / name), "de", "en")) == PAIRS[0][0]


def test_what_is_not_there_is_told(tmp_path):
    write_corpus(tmp_path / "toy", test=2)
    write_lines(tmp_path / "toy" / "half.de", ["a"])
    with one_sentence("no training part", "train.de and train.en"):
        corpus(tmp_path / "toy")
    with one_sentence("no pairs of sentences", "train.de"):
        corpus(tmp_path / "toy" / "train")
    with one_sentence("no pairs of sentences", "nowhere"):
        corpus(tmp_path / "nowhere" / "train")
    with one_sentence("half.en is missing"):
        find_part(str(tmp_path / "toy" / "half.de"), "de", "en")
    with one_sentence("a file of one language", "corpus/train"):
        corpus(tmp_path / "toy" / "half.de")


MULTI30K = Path(__file__).parents[3] / "shared" / "data" / "multi30k"


@pytest.mark.skipif(
    not MULTI30K.is_dir(), reason="needs Multi30k, which is not part of the package"
)
def test_multi30k_is_read_as_it_lies():
    found = corpus(MULTI30K)
    assert (found.source, found.target) == ("de", "en")
    assert list(found.tests) == ["test_2016_flickr", "test_2017_flickr", "test_2017_mscoco"]
    train, validation = found.train.read("it"), found.validation.read("it")
    assert (len(train), len(validation), train.empty) == (29000, 1014, 0)
    assert [len(part.read("it")) for part in found.tests.values()] == [1000, 1000, 461]
