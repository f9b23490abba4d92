"""The family of translation."""

from collections.abc import Iterable
from dataclasses import replace
from math import isfinite
from pathlib import Path
from types import MappingProxyType
from typing import Any

from evolving_attention.errors import InputError
from evolving_attention.recipe import GenerationOptions, TranslationRecipe
from evolving_attention.tasks.family import Family, check_source
from evolving_attention.tasks.parallel_sources import Corpus, Part, find_corpus, find_tests
from evolving_attention.tasks.parallel_texts import ParallelTexts
from evolving_attention.tasks.text_files import numbered_lines
from evolving_attention.tasks.translation import TranslationTask
from evolving_attention.tasks.translation_metrics import TranslationMetrics
from evolving_attention.tasks.translation_network import check_model_options, make_config
from evolving_attention.tasks.translation_network import model_options as options_of_model

__all__ = ["FAMILY", "TranslationFamily"]


class TranslationFamily(Family[TranslationRecipe]):
    """Translation from one language into another."""

    inputs = "sentences"
    example_file = "sentences.txt"
    processor_file = "tokenizer.json"
    writes_lines = True
    #: Shares around the papers', and what a network that translates learns best with.
    search_space = MappingProxyType(
        {
            "model.alpha": {"choices": [0.05, 0.1, 0.2, 0.4]},
            "model.beta": {"choices": [0.05, 0.1, 0.2, 0.4]},
            "model.dropout": {"choices": [0.1, 0.2, 0.3]},
            "training.learning_rate": {"low": 5e-4, "high": 1e-2, "log": True},
        }
    )

    def check(self, recipe: TranslationRecipe) -> None:
        """Check the options of network, processing and generation."""
        TranslationMetrics.check()  # now, and not after the training
        check_generation(recipe.generation)
        if recipe.processing.max_length < 2:
            raise InputError(
                "processing.max_length must be at least 2, a token and the end, got "
                f"{recipe.processing.max_length}."
            )
        if (start := _start(recipe)) is None:
            make_config(recipe.model)
            return
        if not (start / "tokenizer.json").is_file():
            raise InputError(f"{start} holds no network to start from: tokenizer.json is missing.")
        check_model_options(recipe.model, start)

    def load(self, recipe: TranslationRecipe) -> tuple[ParallelTexts, ParallelTexts | None]:
        """Load the training part, with what validates, and all test parts, which keep their names.

        Of a single test part the name is not kept.
        """
        corpus = _corpus(recipe)
        tests = {name: part.read(name) for name, part in corpus.tests.items()}
        return _training(corpus), ParallelTexts.joined(tests) if tests else None

    def load_training(self, recipe: TranslationRecipe) -> ParallelTexts:
        """Load the training part alone, with what validates."""
        return _training(_corpus(recipe))

    def load_file(
        self, recipe: TranslationRecipe, path: Path, *, labelled: bool = False
    ) -> ParallelTexts:
        """Load a file of sentences; with ``labelled``, one with its translation.

        That is a ``.tsv``, one of two files that differ in their languages, or what both begin
        with; or parts of the recipe's data, by name; several have commas between.
        """
        if labelled:
            source, target = languages_of(recipe)
            tests = find_tests(str(path), replace(recipe.data, source=source, target=target))
            return ParallelTexts.joined({name: part.read(name) for name, part in tests.items()})
        return ParallelTexts.of([line.strip() for _, line in numbered_lines(path)])

    def task_of(self, recipe: TranslationRecipe) -> TranslationTask:
        """Return the task that a trained recipe's network works for."""
        check_generation(recipe.generation)
        return TranslationTask(
            recipe.processing,
            recipe.generation,
            label_smoothing=recipe.training.label_smoothing,
            languages=languages_of(recipe),
            pretrained=_start(recipe),
        )

    def task_to_train(
        self, recipe: TranslationRecipe, *, progress: bool = False
    ) -> TranslationTask:
        """Return the task that trains a recipe, from the network that it starts from."""
        self.check(recipe)
        return self.task_of(recipe)

    def model_options(self, recipe: TranslationRecipe) -> dict[str, Any]:
        """Return the recipe's options of the EA-Transformer over those of its preset."""
        if recipe.pretrained is not None:
            check_model_options(recipe.model, _start(recipe))
            return dict(recipe.model)
        return options_of_model(recipe.model)

    def metric_of(self, recipe: TranslationRecipe) -> tuple[str, bool]:
        """Return the loss of a token: BLEU would take a translation of all that is held out."""
        return "loss", False

    def place(self, recipe: TranslationRecipe, source: str) -> tuple[str, TranslationRecipe]:
        """Return a data set's name, with its languages, and the recipe with it as its data."""
        placed = replace(recipe, data=replace(recipe.data, train=source))
        corpus = _corpus(placed)
        return f"{corpus.name}_{corpus.source}_{corpus.target}", placed

    def data_settings(self, recipe: TranslationRecipe) -> dict[str, Any]:
        """Return the languages, and names and sizes of the files, or the name on the Hub."""
        data = recipe.data
        if not data.train or data.train.startswith("hub:"):
            return {name: getattr(data, name) for name in data.__dataclass_fields__}
        try:
            corpus = _corpus(recipe)
        except InputError:  # none, or several, as of a comparison; loading them tells what is wrong
            return {"train": data.train}
        parts = {"train": corpus.train, **corpus.tests}
        if corpus.validation is not None:
            parts["validation"] = corpus.validation
        settings: dict[str, Any] = {"source": corpus.source, "target": corpus.target}
        return settings | {name: _sizes(part) for name, part in parts.items()}

    def title(self, recipe: TranslationRecipe) -> str:
        """Return model, languages and data."""
        source, target = languages_of(recipe)
        return f"EA-Transformer, {source} to {target} of {Path(str(recipe.data.train)).name}"

    def metric_lines(self, part: str, metrics: dict[str, float], task: Any) -> list[str]:
        """Return a line for each part that was measured, and what the metrics are."""
        if "bleu" not in metrics:  # of a validation part there is the loss alone
            return super().metric_lines(part, metrics, task)
        names = ("bleu", "chrf", "loss")
        parts = [each.removeprefix("bleu_") for each in metrics if each.startswith("bleu_")]
        rows = {f"{part}, mean of {len(parts)}" if parts else part: ""}
        rows |= {each: f"_{each}" for each in parts}
        lines = [
            f"{called}: BLEU {metrics['bleu' + end]:.2f}, chrF {metrics['chrf' + end]:.2f}, loss "
            f"{metrics['loss' + end]:.4f}"
            for called, end in rows.items()
            if all(name + end in metrics for name in names)
        ]
        return [*lines, *task.metrics.signatures().values()]


def check_generation(options: GenerationOptions) -> None:
    """Raise :class:`InputError` for options of generation that cannot work."""
    least = {"num_beams": 1, "batch_size": 1, "max_length_extra": 0, "max_length_ratio": 0}
    for name, value in least.items():
        if getattr(options, name) < value:
            raise InputError(
                f"generation.{name} must be at least {value}, got {getattr(options, name)}."
            )
    for name in ("length_penalty", "max_length_ratio"):
        if not isfinite(getattr(options, name)):
            raise InputError(
                f"generation.{name} must be a finite number, got {getattr(options, name)}."
            )


def languages_of(recipe: TranslationRecipe) -> tuple[str, str]:
    """Return the languages: the recipe's, or those that its data have."""
    data = recipe.data
    if data.source and data.target:
        return data.source, data.target
    corpus = _corpus(recipe)
    return corpus.source, corpus.target


def _corpus(recipe: TranslationRecipe) -> Corpus:
    check_source(recipe)
    return find_corpus(recipe.data)


def _training(corpus: Corpus) -> ParallelTexts:
    training = corpus.train.read("the training part")
    if corpus.validation is not None:
        training.validation = corpus.validation.read("the validation part")
    return training


def _start(recipe: TranslationRecipe) -> Path | None:
    return None if recipe.pretrained is None else Path(recipe.pretrained).expanduser()


def _sizes(part: Part) -> str:
    files: Iterable[Path] = part.files
    return ", ".join(f"{path.name}, {path.stat().st_size} bytes" for path in files)


FAMILY = TranslationFamily()
