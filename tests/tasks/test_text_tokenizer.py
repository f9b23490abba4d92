import subprocess
import sys

import pytest
from transformers import AutoTokenizer

from evolving_attention.tasks.text_tokenizer import train_tokenizer
from tests.tasks.helpers import one_sentence

TEXTS = [f"The {noun} sees {number} others." for number in range(9) for noun in ("cat", "Dog")]


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_a_learned_tokenizer_comes_back_from_its_files(tmp_path, architecture):
    learned = train_tokenizer(TEXTS, architecture, vocab_size=300, max_length=16)
    learned.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert type(loaded) is type(learned)
    assert loaded.model_max_length == 16
    pair = ("The cat, unheard of,", "sees <mask> [MASK].")
    assert loaded(*pair) == learned(*pair)
    assert learned.unk_token_id not in learned("The Dog sees 7 others.")["input_ids"]


def test_the_same_texts_give_the_same_numbers_in_another_process():
    program = (
        "from tests.tasks.test_text_tokenizer import TEXTS\n"
        "from evolving_attention.tasks.text_tokenizer import train_tokenizer\n"
        "print(sorted(train_tokenizer(TEXTS, vocab_size=60).get_vocab().items()))"
    )
    ours = sorted(train_tokenizer(TEXTS, vocab_size=60).get_vocab().items())
    theirs = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert theirs.stdout.strip() == str(ours)


def test_pieces_inside_of_words_are_ordinary_tokens():
    learned = train_tokenizer(TEXTS, vocab_size=60)
    assert not [token for token in learned.all_special_tokens if token.startswith("##")]
    assert learned.decode(learned("the cat sees")["input_ids"], skip_special_tokens=True) == (
        "the cat sees"
    )
    assert "##a" not in learned.tokenize("a ##a")


def test_case_is_kept_where_it_is_asked_for():
    learned = train_tokenizer(TEXTS, vocab_size=200, lowercase=False)
    assert learned.tokenize("Dog") != learned.tokenize("dog")
    lower = train_tokenizer(TEXTS, vocab_size=200)
    assert lower.tokenize("Dog") == lower.tokenize("dog")


def test_a_vocabulary_too_small_for_the_letters_is_told():
    with one_sentence("vocab_size is 12"):
        train_tokenizer(TEXTS, vocab_size=12)
    with one_sentence("vocab_size must be at least 1", "-5"):
        train_tokenizer(TEXTS, vocab_size=-5)
    with one_sentence("'t5'", "bert, roberta"):
        train_tokenizer(TEXTS, "t5")
