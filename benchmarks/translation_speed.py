"""How fast EA-Transformer and its twin train and translate, in CPU seconds.

    python benchmarks/translation_speed.py --data path/to/multi30k --output speed.csv
    python benchmarks/translation_speed.py --data path/to/multi30k --runs runs/evolving runs/twin \
        --output speed.csv

Training: tokens of source and target, padding left out, in a CPU second of an update of
``--batch-tokens`` tokens. Generation: words in a CPU second, with a cache and without. Without
``--runs`` the networks are untrained and write as many tokens as the longest translation of a batch
has; with them they write what they have learned. The networks take turns, so that what else the
machine does hits all alike.
"""

import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import logging

from evolving_attention.recipe import (
    GenerationOptions,
    TranslationDataOptions,
    TranslationProcessingOptions,
)
from evolving_attention.runs import Run
from evolving_attention.tasks.parallel_sources import find_corpus
from evolving_attention.tasks.parallel_texts import ParallelTexts
from evolving_attention.tasks.translation import TranslationTask
from evolving_attention.tasks.translation_batches import EncodedPairs, encode_pairs
from evolving_attention.tasks.translation_generation import translate_tokens
from evolving_attention.trainer.token_batches import TokenBatches
from evolving_attention.training import seeded

FORMS: dict[str, dict[str, Any]] = {"evolving": {}, "twin": {"alpha": 0.0, "beta": 0.0}}


def cpu_seconds(call: Callable[[], Any]) -> float:
    """Return what a call takes of all cores together."""
    started = time.process_time()
    call()
    return time.process_time() - started


def batches_of(pairs: EncodedPairs, tokens: int) -> Iterator[list[int]]:
    """Yield batches of an epoch, the same ones in every process."""
    yield from TokenBatches(pairs.sizes, tokens, generator=torch.Generator().manual_seed(0))


def time_training(
    task: TranslationTask, pairs: EncodedPairs, networks: dict[str, Any], options: Any
) -> list[dict[str, Any]]:
    """Return a row an update and network; the first updates, which allocate, are left out."""
    steps = {name: make_step(model) for name, model in networks.items()}
    rows = []
    for number, some in enumerate(batches_of(pairs, options.batch_tokens)):
        if number == options.updates + 2:
            break
        batch = task.collate([pairs[index] for index in some])
        tokens = int(pairs.sizes[some].sum())
        for name, step in steps.items():
            seconds = cpu_seconds(lambda step=step, batch=batch: step(dict(batch)))
            if number >= 2:
                rows.append({"what": "training", "form": name, "count": tokens, "seconds": seconds})
    return rows


def make_step(model: torch.nn.Module) -> Callable[[dict[str, Any]], None]:
    """Return a function that makes one update."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step(batch: dict[str, Any]) -> None:
        model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def time_generation(
    writers: dict[str, Callable[[list[int], bool], int]], sentences: int, batch_size: int
) -> list[dict[str, Any]]:
    """Return a row a batch, network and way."""
    rows = []
    for start in range(0, sentences, batch_size):
        some = list(range(start, min(start + batch_size, sentences)))
        for cache in (True, False):
            for name, write in writers.items():
                words: list[int] = []
                seconds = cpu_seconds(lambda: words.append(write(some, cache)))  # noqa: B023
                what = f"generation, {'with' if cache else 'without'} a cache"
                rows.append({"what": what, "form": name, "count": words[0], "seconds": seconds})
    return rows


def untrained_writer(
    model: Any, task: TranslationTask, pairs: EncodedPairs, targets: Any, beams: int
) -> Callable[[list[int], bool], int]:
    """Return a function that writes as many tokens as the longest translation of the batch has."""

    def write(some: list[int], cache: bool) -> int:
        model.eval()
        batch = task.collate([{"input_ids": pairs.sources[index]} for index in some])
        length = max(len(pairs.targets[index]) for index in some)
        with torch.inference_mode():
            model.generate(
                **batch,
                num_beams=beams,
                min_new_tokens=length,
                max_new_tokens=length,
                use_cache=cache,
            )
        return sum(len(targets[index].split()) for index in some)

    return write


def trained_writer(
    run: Run, pairs: EncodedPairs, options: GenerationOptions
) -> Callable[[list[int], bool], int]:
    """Return a function that translates."""

    def write(some: list[int], cache: bool) -> int:
        run.model.generation_config.use_cache = cache
        sources = [pairs.sources[index] for index in some]
        written = translate_tokens(run.model, run.task.processor, sources, options)
        return sum(len(line.split()) for line in written)

    return write


def encoded(task: TranslationTask, data: ParallelTexts) -> EncodedPairs:
    """Return pairs with the tokens of a task."""
    return encode_pairs(task.processor, [text for (text,) in data.texts], data.targets)


def trained_writers(tests: ParallelTexts, options: Any) -> dict[str, Callable]:
    """Return what the networks of ``--runs`` write with, by form."""
    writers = {}
    for name, folder in zip(FORMS, options.runs, strict=True):
        run = Run.load(folder)
        own = replace(run.recipe.generation, num_beams=options.beams, batch_size=options.batch_size)
        writers[name] = trained_writer(run, encoded(run.task, tests), own)
    return writers


def summed(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return what was counted in a CPU second, by what was done and form."""
    table = pd.DataFrame(rows).groupby(["what", "form"], sort=False)[["count", "seconds"]].sum()
    table["per_second"] = table["count"] / table["seconds"]
    twin = table["per_second"].groupby("what").transform("last")
    return table.assign(ratio_to_twin=table["per_second"] / twin).reset_index()


def parsed() -> Any:
    """Return what the command line says."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="as data.train of a recipe")
    parser.add_argument("--source")
    parser.add_argument("--target")
    parser.add_argument("--preset", default="small")
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--updates", type=int, default=10)
    parser.add_argument("--sentences", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--beams", type=int, default=5)
    parser.add_argument("--runs", nargs=2, type=Path, help="of the network and of its twin")
    parser.add_argument("--output", type=Path, required=True, help="a CSV")
    return parser.parse_args()


def main() -> None:
    options = parsed()
    logging.set_verbosity_error()
    corpus = find_corpus(TranslationDataOptions(options.data, options.source, options.target))
    task = TranslationTask(TranslationProcessingOptions(10000, 128), label_smoothing=0.1)
    pairs, _ = task.split(corpus.train.read("the training part"), 0.0, 0)
    networks = {}
    for name, changes in FORMS.items():
        with seeded(0):
            networks[name] = task.build_model({"preset": options.preset, **changes})
    rows = time_training(task, pairs, networks, options)
    part = next(iter(corpus.tests.values()), corpus.train).read("the test part")
    tests = part.take(np.arange(min(options.sentences, len(part))))
    if options.runs:
        writers = trained_writers(tests, options)
    else:
        writers = {
            name: untrained_writer(model, task, encoded(task, tests), tests.targets, options.beams)
            for name, model in networks.items()
        }
    rows += time_generation(writers, len(tests), options.batch_size)
    table = summed(rows)
    table.to_csv(options.output, index=False, float_format="%.4g")
    print(table.to_string(index=False, float_format="%.4g"))


if __name__ == "__main__":
    main()
