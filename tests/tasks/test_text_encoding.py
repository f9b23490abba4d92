import numpy as np
import pytest
import torch

from evolving_attention.tasks.text_encoding import (
    EncodedTexts,
    collate_texts,
    encode,
    tell_cuts,
)
from evolving_attention.tasks.text_tokenizer import train_tokenizer
from tests.tasks.helpers import one_sentence

WORDS = "one two three four five six seven eight nine ten"


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([WORDS], vocab_size=300, max_length=64)


def test_a_pair_is_put_together_as_the_tokenizer_does(tokenizer):
    inputs, cut = encode(tokenizer, [("one two", "three"), ("four", "five")], 16)
    assert [one["input_ids"] for one in inputs] == [
        tokenizer("one two", "three")["input_ids"],
        tokenizer("four", "five")["input_ids"],
    ]
    assert inputs[0]["token_type_ids"] == [0, 0, 0, 0, 1, 1]
    assert cut == []


def test_the_longer_text_of_a_pair_is_cut_and_the_cut_is_told(tokenizer, capsys):
    inputs, cut = encode(tokenizer, [("one", "two"), (WORDS, "one two")], 8)
    assert len(inputs[1]["input_ids"]) == 8
    assert inputs[1]["token_type_ids"] == [0, 0, 0, 0, 0, 1, 1, 1]
    assert cut == [15]
    tell_cuts(cut, 2, 8, "training texts")
    told = capsys.readouterr().err
    assert "1 of 2 training texts are longer than 8 tokens" in told
    assert "the longest has 15" in told
    tell_cuts([], 2, 8, "training texts")
    assert capsys.readouterr().err == ""


def test_a_length_that_cannot_be_read_is_told(tokenizer):
    with one_sentence("processing.max_length is 65", "no more than 64"):
        encode(tokenizer, [("one",)], 65)
    with one_sentence("at least 5", "got 4"):
        encode(tokenizer, [("one",)], 4)


def test_batches_are_padded_to_their_longest_and_no_further(tokenizer):
    inputs, _ = encode(tokenizer, [("one",), ("one two three",), (WORDS,)], 16)
    data = EncodedTexts(inputs, np.array([0, 1, 1]))
    batch = collate_texts(tokenizer, [data[0], data[1]])
    assert batch["input_ids"].shape == (2, 5)
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert batch["labels"].dtype == torch.int64
    assert batch["labels"].tolist() == [0, 1]


def test_scores_are_single_precision_numbers(tokenizer):
    inputs, _ = encode(tokenizer, [("one",), ("two",)], 16)
    data = EncodedTexts(inputs, np.array([0.5, 2.0]))
    assert collate_texts(tokenizer, [data[0], data[1]])["labels"].dtype == torch.float32
