"""Memory and time of a training step with long series: evolving and twin, recomputing and not.

    python benchmarks/long_series.py [--data NAME_TRAIN.ts] [--lengths 896] [--batch 16]
        [--width 128] [--blocks 4] [--forms evolving twin] [--recompute none blocks segments]
        [--steps 2] [--output docs/results/long_series.csv]

Every case has a process of its own, which first makes a step with a tiny batch, so that what is
loaded and compiled once is not counted. Peak memory is the largest resident set of the process
(``ru_maxrss``), as it is and as growth over that first step in maps: bytes of one [B, H, N, N] map
in float32. Time is the processor's, of the last of ``--steps``, all threads together.
``--recompute`` is what ``training.gradient_checkpointing`` has: nothing is recomputed, every block,
or segments of layers. Series are random
numbers, or with ``--data`` the first of a file, of its length. Rows are added to the CSV as they
are measured. See what a case needs before running a longer one: nothing here keeps it from taking
all of the machine's memory.
"""

import multiprocessing
import resource
import time
from argparse import ArgumentParser
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from training_step import make_step, random_series

from evolving_attention.attention import attention_backend
from evolving_attention.models import EADCTransformerConfig

CHANNELS = 6  # of random series
RECOMPUTE = {"none": False, "blocks": True, "segments": "segments"}


def series_of(path: Path | None, batch: int, length: int) -> Tensor:
    """Return normalised series [B, N, F]."""
    if path is None:
        return random_series(batch, length, CHANNELS)
    from aeon.datasets import load_from_ts_file

    series, _ = load_from_ts_file(str(path))
    values = torch.as_tensor(series[:batch], dtype=torch.float32).transpose(1, 2)
    return (values - values.mean((0, 1))) / values.std((0, 1))


def peak() -> int:
    """Return the largest resident set of this process so far, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def run(
    config: EADCTransformerConfig, values: Tensor, recomputed: str, steps: int, result: Any
) -> None:
    """Fill in peak bytes before and after, and seconds of the last step."""
    for backend in ("banded", "reference"):
        with attention_backend(backend):
            make_step(config, values[:2, :16], RECOMPUTE[recomputed])()
    result[0] = peak()
    step = make_step(config, values, RECOMPUTE[recomputed])
    for _ in range(steps):
        started = time.process_time()
        step()
        result[2] = time.process_time() - started
    result[1] = peak()


def measure(options: Any, length: int, form: str, recomputed: str) -> dict[str, object]:
    """Return the row of a case."""
    values = series_of(options.data, options.batch, length)
    batch, length, channels = values.shape
    config = EADCTransformerConfig(
        input_size=channels,
        num_labels=2,
        max_length=length,
        hidden_size=options.width,
        intermediate_size=2 * options.width,
        num_blocks=options.blocks,
    )
    config = config.twin() if form == "twin" else config
    context = multiprocessing.get_context("spawn")
    result = context.Array("d", 3)
    process = context.Process(target=run, args=(config, values, recomputed, options.steps, result))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"the process of this case ended with code {process.exitcode}.")
    before, after, seconds = result
    one_map = batch * config.num_attention_heads * length**2 * 4
    return {
        "series": options.data.stem if options.data else "random",
        "steps": length,
        "batch": batch,
        "width": options.width,
        "heads": config.num_attention_heads,
        "layers": 2 * options.blocks,
        "form": form,
        "recomputed": recomputed,
        "peak_GB": after / 1e9,
        "map_GB": one_map / 1e9,
        "growth_maps": (after - before) / one_map,
        "cpu_seconds": seconds,
    }


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a .ts file of series of one length")
    parser.add_argument("--lengths", type=int, nargs="+", default=[448, 896])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--blocks", type=int, default=4, help="of two attention layers each")
    parser.add_argument("--forms", nargs="+", default=["evolving", "twin"])
    parser.add_argument("--recompute", nargs="+", default=list(RECOMPUTE), choices=RECOMPUTE)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--output", type=Path, help="a CSV that rows are added to")
    options = parser.parse_args()
    lengths = [0] if options.data else options.lengths  # a file has one of its own
    for length, form, recomputed in product(lengths, options.forms, options.recompute):
        row = pd.DataFrame([measure(options, length, form, recomputed)])
        print(row.to_string(index=False, float_format="{:.4g}".format), flush=True)
        if options.output:
            is_new = not options.output.is_file()
            row.to_csv(options.output, mode="a", header=is_new, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
