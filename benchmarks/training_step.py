"""Time and memory of a training step, evolving and twin, side by side.

    python benchmarks/training_step.py [--sizes 29x64 144x16 512x8] [--repeats 15]

For each size (steps x batch) both networks take turns, so that what else the machine does hits both
alike; the medians are printed, and their ratio. Peak memory is measured in a process of its own for
each network: the growth of the process's resident memory over a step, also in maps (bytes of one
[B, H, N, N] map in float32).
"""

import multiprocessing
import statistics
import threading
import time
from argparse import ArgumentParser

import psutil
import torch

from evolving_attention.models import EADCTransformerConfig, EADCTransformerForClassification

CONFIG = EADCTransformerConfig(input_size=12, num_labels=9)


def make_step(config: EADCTransformerConfig, length: int, batch: int):
    torch.manual_seed(0)
    model = EADCTransformerForClassification(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    values = torch.randn(batch, length, config.input_size)
    labels = torch.randint(config.num_labels, (batch,))

    def step() -> None:
        model(values, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 4.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def time_steps(length: int, batch: int, repeats: int) -> list[float]:
    """Return the median seconds of the evolving network's step and of its twin's."""
    config = EADCTransformerConfig(**{**CONFIG.to_dict(), "max_length": length})
    steps = [make_step(config, length, batch), make_step(config.twin(), length, batch)]
    seconds: list[list[float]] = [[], []]
    for repeat in range(repeats + 2):
        for step, taken in zip(steps, seconds, strict=True):
            started = time.perf_counter()
            step()
            if repeat >= 2:
                taken.append(time.perf_counter() - started)
    return [statistics.median(taken) for taken in seconds]


def _peak(is_twin: bool, length: int, batch: int, result) -> None:
    config = EADCTransformerConfig(**{**CONFIG.to_dict(), "max_length": length})
    step = make_step(config.twin() if is_twin else config, length, batch)
    process, peak, running = psutil.Process(), 0, True

    def watch() -> None:
        nonlocal peak
        while running:
            peak = max(peak, process.memory_info().rss)
            time.sleep(0.001)

    before = process.memory_info().rss
    watcher = threading.Thread(target=watch)
    watcher.start()
    step()
    running = False
    watcher.join()
    result.value = peak - before


def peak_bytes(is_twin: bool, length: int, batch: int) -> int:
    """Return the growth of resident memory over one step, in a fresh process."""
    context = multiprocessing.get_context("spawn")
    result = context.Value("q", 0)
    process = context.Process(target=_peak, args=(is_twin, length, batch, result))
    process.start()
    process.join()
    return result.value


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["29x64", "144x16", "512x8"])
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{'steps x batch':>14} {'evolving ms':>12} {'twin ms':>9} {'ratio':>6}", end="")
    print(f" {'evolving MB':>12} {'maps':>6} {'twin MB':>9} {'maps':>6}")
    for size in options.sizes:
        length, batch = map(int, size.split("x"))
        evolving, twin = time_steps(length, batch, options.repeats)
        one_map = batch * CONFIG.num_attention_heads * length * length * 4
        memory = [peak_bytes(is_twin, length, batch) for is_twin in (False, True)]
        print(f"{size:>14} {1e3 * evolving:12.1f} {1e3 * twin:9.1f} {evolving / twin:6.2f}", end="")
        for peak in memory:
            print(f" {peak / 1e6:12.0f} {peak / one_map:6.1f}", end="")
        print(flush=True)


if __name__ == "__main__":
    main()
