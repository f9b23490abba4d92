"""Small corpora of sentences and their translations, word by word, and how to learn from them."""

import gzip
from itertools import islice, product
from pathlib import Path

from evolving_attention.recipe import (
    GenerationOptions,
    TranslationDataOptions,
    TranslationProcessingOptions,
    TranslationRecipe,
    TranslationTrainingOptions,
)
from evolving_attention.tasks.parallel_texts import ParallelTexts

_WORDS = (
    {"Die": "The", "Eine": "One"},
    {"große": "large", "kleine": "small", "müde": "tired", "laute": "noisy"},
    {"Katze": "cat", "Gans": "goose", "Frau": "woman", "Straßenbahn": "tram"},
    {"schläft": "sleeps", "wartet": "waits", "geht weg": "goes away"},
)

#: All the sentences there are, a fixed order in which neighbours differ in several words.
PAIRS = [
    (" ".join(source) + ".", " ".join(target) + ".")
    for words in product(*(words.items() for words in _WORDS))
    for source, target in [zip(*words, strict=True)]
]
PAIRS = [PAIRS[number * 35 % len(PAIRS)] for number in range(len(PAIRS))]

PROCESSING = TranslationProcessingOptions(vocab_size=320, max_length=32)
GENERATION = GenerationOptions(num_beams=2, max_length_extra=4)
#: Options of a network that trains in a fraction of a second.
SMALL = {
    "preset": "tiny",
    "d_model": 16,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "dropout": 0.0,
}
OPTIONS = TranslationTrainingOptions(epochs=2, batch_tokens=256, warmup=4, average=2)


def texts(count=24, first=0):
    """So many pairs."""
    return ParallelTexts.of(*zip(*PAIRS[first : first + count], strict=True))


def with_validation(count=24, held_out=6):
    """Pairs to train on, and others to validate on."""
    training = texts(count)
    training.validation = texts(held_out, first=count)
    return training


def write_lines(path: Path, lines) -> Path:
    """Write lines, packed where the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def write_corpus(folder: Path, suffix="", **parts: int) -> Path:
    """Write parts of so many pairs each, ``train.de`` and ``train.en`` and so on."""
    rest = iter(PAIRS)
    for part, count in (parts or {"train": 24, "val": 6, "test_a": 5, "test_b": 4}).items():
        for language, lines in zip(
            ("de", "en"), zip(*islice(rest, count), strict=True), strict=True
        ):
            write_lines(folder / f"{part}.{language}{suffix}", lines)
    return folder


def small_recipe(data, output, **changes) -> TranslationRecipe:
    """A recipe that trains in a fraction of a second."""
    return TranslationRecipe(
        data=TranslationDataOptions(train=str(data), **changes.pop("data", {})),
        model=SMALL | changes.pop("model", {}),
        processing=PROCESSING,
        generation=GENERATION,
        training=TranslationTrainingOptions(**{**vars(OPTIONS), **changes.pop("training", {})}),
        output=str(output),
        **changes,
    )
