import subprocess
import sys

import pytest
from transformers import AutoTokenizer

from evolving_attention.tasks.translation_tokenizer import learn_vocabulary
from tests.parallel import PAIRS
from tests.tasks.helpers import one_sentence

TEXTS = [text for pair in PAIRS for text in pair]


def written(tokenizer, text):
    return tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True).strip()


@pytest.mark.parametrize(
    "text",
    [
        "Größe 10 µm",
        "早上好。",
        "\U0001f469\u200d\U0001f467 x",
        'a "b" (c)',
        "\ufffd",
        "</s> <pad> a</s>",
        "x\x00y",
    ],
)
def test_every_text_has_tokens_and_comes_back(text):
    tokenizer = learn_vocabulary(TEXTS, 320)
    tokens = tokenizer(text)["input_ids"]
    assert written(tokenizer, text) == text
    assert tokens[-1] == tokenizer.eos_token_id == 1
    assert not {tokenizer.pad_token_id, tokenizer.eos_token_id} & set(tokens[:-1])


def test_forms_of_letters_and_blanks_are_one():
    tokenizer = learn_vocabulary(TEXTS, 320)
    assert (
        tokenizer(" gro\u0308ßer\u00a0 \tBär\n")["input_ids"]
        == tokenizer("größer Bär")["input_ids"]
    )
    assert tokenizer("Bär")["input_ids"] != tokenizer("bär")["input_ids"]
    lower = learn_vocabulary(TEXTS, 320, lowercase=True)
    assert lower("GROẞE Bären")["input_ids"] == lower("große bären")["input_ids"]


def test_words_that_are_frequent_become_one_token():
    tokenizer = learn_vocabulary(TEXTS, 400)
    assert len(tokenizer("Die Katze wartet.")["input_ids"]) == 5
    assert len(tokenizer) <= 400
    with one_sentence("processing.vocab_size must be at least 258"):
        learn_vocabulary(TEXTS, 257)


def test_it_is_saved_with_the_run(tmp_path):
    tokenizer = learn_vocabulary(TEXTS, 320)
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.pkl"))
    for text in ("</s> Die Katze", "早 <pad>"):
        assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert again.pad_token_id == 0


_LEARN = """
import hashlib
from evolving_attention.tasks.translation_tokenizer import learn_vocabulary
from tests.parallel import PAIRS
texts = [text for pair in PAIRS for text in pair]
print(hashlib.sha256(learn_vocabulary(texts, 330).backend_tokenizer.to_str().encode()).hexdigest())
"""


@pytest.mark.slow
def test_another_process_learns_the_same():
    done = [
        subprocess.run([sys.executable, "-c", _LEARN], capture_output=True, text=True, check=True)
        for _ in range(3)
    ]
    assert len({each.stdout for each in done}) == 1
