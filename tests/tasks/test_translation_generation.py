import numpy as np
import pytest
import torch

from evolving_attention.recipe import GenerationOptions
from evolving_attention.tasks.translation_generation import (
    cut_sentence,
    longest_translation,
    translate,
    translate_tokens,
)
from evolving_attention.tasks.translation_network import build_network
from evolving_attention.tasks.translation_tokenizer import learn_vocabulary
from tests.models.huggingface.helpers import shaken
from tests.parallel import PAIRS, SMALL

SOURCES = [source for source, _ in PAIRS]
LINES = [SOURCES[0], "", f"{SOURCES[1]} {SOURCES[2]}", " \t", "Die", SOURCES[3]]
GREEDY = GenerationOptions(num_beams=1, max_length_extra=4)
BEAMS = GenerationOptions(num_beams=3, max_length_extra=4)


@pytest.fixture(scope="module")
def tokenizer():
    return learn_vocabulary([text for pair in PAIRS for text in pair], 320)


@pytest.fixture(scope="module")
def model(tokenizer):
    """Untrained, and so shaken that its words depend on the source."""
    torch.manual_seed(1)
    return shaken(build_network(SMALL, tokenizer, 64)).eval()


def translated(model, tokenizer, lines, options=GREEDY, max_length=32, block=4):
    made = translate(model, tokenizer, lines, options, max_length=max_length, block=block)
    return list(made)


@pytest.mark.parametrize("options", [GREEDY, BEAMS])
@pytest.mark.parametrize("block", [1, 2, 100])
def test_every_line_has_one_in_its_place_and_blank_ones_stay_empty(
    model, tokenizer, options, block
):
    expected = [
        translated(model, tokenizer, [line], options)[0] if line.strip() else "" for line in LINES
    ]
    assert translated(model, tokenizer, LINES, options, block=block) == expected
    assert len({each for each in expected if each}) > 1
    assert not any("\n" in each for each in expected)


def test_who_shares_a_batch_changes_nothing(model, tokenizer):
    tokens = [np.array(tokenizer(source)["input_ids"]) for source in SOURCES[:8]]
    for batch_size in (1, 3):
        options = GenerationOptions(num_beams=3, max_length_extra=2, batch_size=batch_size)
        written = translate_tokens(model, tokenizer, tokens, options)
        if batch_size == 1:
            expected = written
    assert written == expected


@pytest.mark.parametrize("beams", [1, 3])
def test_no_translation_is_longer_than_its_own_limit(model, tokenizer, beams):
    options = GenerationOptions(beams, max_length_ratio=0.5, max_length_extra=1)
    tokens = [np.array([5] * length + [1]) for length in (2, 30)]
    lengths = []

    def noted(sequences, **_):
        lengths.extend((each == 1).nonzero()[0].item() + 1 for each in sequences[:, 1:])
        return [""] * len(sequences)

    tokenizer_that_notes = type("Notes", (), {"batch_decode": staticmethod(noted)})
    translate_tokens(model, tokenizer_that_notes, tokens, options)
    assert lengths[0] <= longest_translation(3, options)
    assert lengths[1] <= longest_translation(31, options)
    assert longest_translation(3, options) == 2
    assert longest_translation(1, GenerationOptions(max_length_ratio=0, max_length_extra=0)) == 1


def test_lines_are_asked_for_as_they_are_translated(model, tokenizer):
    asked = []

    def lines():
        for number in range(100):
            asked.append(number)
            yield SOURCES[number % 4]

    made = translate(model, tokenizer, lines(), GREEDY, max_length=32, block=2)
    next(made), next(made), next(made)
    assert len(asked) == 4


class TestALongLine:
    def test_is_cut_where_a_sentence_ends(self, tokenizer):
        line = " ".join(SOURCES[:5])
        pieces = cut_sentence(tokenizer, line, 40)
        assert len(pieces) > 1
        assert max(map(len, pieces)) <= 40
        texts = [tokenizer.decode(piece, skip_special_tokens=True).strip() for piece in pieces]
        assert " ".join(texts) == line
        assert all(text.endswith(".") for text in texts)
        assert all(piece[-1] == 1 for piece in pieces)

    def test_is_cut_before_a_word_else(self, tokenizer):
        line = " ".join(["Katze"] * 30)
        pieces = cut_sentence(tokenizer, line, 7)
        texts = [tokenizer.decode(piece, skip_special_tokens=True).strip() for piece in pieces]
        assert " ".join(texts) == line
        assert {word for text in texts for word in text.split()} == {"Katze"}

    @pytest.mark.parametrize("max_length", [2, 3, 50])
    def test_is_cut_anywhere_where_there_are_no_words(self, tokenizer, max_length):
        line = "字" * 100
        tokens = tokenizer(line)["input_ids"]
        pieces = cut_sentence(tokenizer, line, max_length)
        assert max(map(len, pieces)) <= max_length
        assert [token for piece in pieces for token in piece[:-1]] == tokens[:-1]

    def test_of_a_language_without_blanks_is_cut_where_its_sentences_end(self, tokenizer):
        sentences = ["彼は行った。", "「彼女は来た。」", "本当？"] * 3
        pieces = cut_sentence(tokenizer, "".join(sentences), 40)
        texts = [tokenizer.decode(piece, skip_special_tokens=True).strip() for piece in pieces]
        assert "".join(texts) == "".join(sentences)
        assert len(texts) > 1
        assert all(text.endswith(("。", "」", "？")) for text in texts)
        assert not any(text.startswith("」") for text in texts)

    def test_keeps_its_letters_whole(self, tokenizer):
        pieces = cut_sentence(tokenizer, "字" * 100, 9)
        texts = [tokenizer.decode(piece, skip_special_tokens=True).strip() for piece in pieces]
        assert "".join(texts) == "字" * 100

    @pytest.mark.parametrize("end", ['."', ".)", "!“", "...", ".  "])
    def test_is_cut_after_a_quotation_and_not_within_a_number(self, tokenizer, end):
        line = f"Die Katze wartet{end} Eine Gans kostet 3.14 mehr"
        limit = len(tokenizer(line)["input_ids"]) - 1
        first, _ = cut_sentence(tokenizer, line, limit)
        assert (
            tokenizer.decode(first, skip_special_tokens=True).strip()
            == line[: 16 + len(end)].strip()
        )

    def test_is_translated_in_parts_which_is_told(self, model, tokenizer, capsys):
        line = " ".join(SOURCES[:5])
        (written,) = translated(model, tokenizer, [line], max_length=40)
        parts = cut_sentence(tokenizer, line, 40)
        texts = [tokenizer.decode(part, skip_special_tokens=True) for part in parts]
        assert written == " ".join(filter(None, translated(model, tokenizer, texts, max_length=40)))
        assert "1 line is longer than 40 tokens" in capsys.readouterr().err
