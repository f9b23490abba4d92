"""Time and memory of a training step, evolving and twin, with each backend, side by side.

    python benchmarks/training_step.py [--sizes 29x64 144x16 512x8] [--repeats 9] [--output FOLDER]

For each size (steps x batch) all networks take turns, so that what else the machine does hits all
alike. Printed are medians of the processor's time, of all threads together: the evolving network
and its twin by the backends that ``"auto"`` chooses, the evolving network by the reference, and the
ratios. Peak memory is measured in a process of its own for each network, which has made a step with
a tiny batch: the growth of the process's resident memory over a step, also in maps (bytes of one
[B, H, N, N] map in float32). ``--output`` writes training_step.csv as it grows.
"""

import statistics
import time
from argparse import ArgumentParser
from pathlib import Path

import pandas as pd
import torch
from peak_memory import peak_growth

from evolving_attention.attention import attention_backend
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


def time_steps(length: int, batch: int, repeats: int) -> dict[str, float]:
    """Return median seconds of a step of the evolving network and of its twin."""
    config = EADCTransformerConfig(**{**CONFIG.to_dict(), "max_length": length})
    evolving = make_step(config, length, batch)
    ways = {
        "evolving": (evolving, "auto"),
        "reference": (evolving, "reference"),
        "twin": (make_step(config.twin(), length, batch), "auto"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 2):
        for name, (step, backend) in ways.items():
            with attention_backend(backend):
                started = time.process_time()
                step()
                if repeat >= 2:
                    seconds[name].append(time.process_time() - started)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def make_warm_step(form: str, length: int, batch: int):
    """Return the step of a process that has loaded and compiled what steps need."""
    config = EADCTransformerConfig(**{**CONFIG.to_dict(), "max_length": length})
    config = config.twin() if form == "twin" else config
    for backend in ("banded", "reference"):
        with attention_backend(backend):
            make_step(config, 8, 2)()
    step = make_step(config, length, batch)

    def work() -> None:
        with attention_backend("reference" if form == "reference" else "auto"):
            step()

    return work


def measure(length: int, batch: int, repeats: int) -> dict[str, float]:
    seconds = time_steps(length, batch, repeats)
    one_map = batch * CONFIG.num_attention_heads * length * length * 4
    peaks = {name: peak_growth(make_warm_step, name, length, batch) for name in seconds}
    return (
        {"steps": length, "batch": batch, "layers": 2 * CONFIG.num_blocks}
        | {f"{name}_ms": 1e3 * taken for name, taken in seconds.items()}
        | {"gain": seconds["reference"] / seconds["evolving"]}
        | {"of_twin": seconds["evolving"] / seconds["twin"]}
        | {f"{name}_MB": peak / 1e6 for name, peak in peaks.items()}
        | {f"{name}_maps": peak / one_map for name, peak in peaks.items()}
    )


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["29x64", "80x16", "144x16", "512x8"])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--output", type=Path, help="a folder for training_step.csv")
    options = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    rows = []
    for size in options.sizes:
        rows.append(measure(*map(int, size.split("x")), options.repeats))
        row = pd.DataFrame(rows[-1:])
        print(row.to_string(index=False, float_format="{:.4g}".format), flush=True)
        if options.output:
            table = pd.DataFrame(rows)
            table.to_csv(options.output / "training_step.csv", index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
