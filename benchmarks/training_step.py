"""Time and memory of a training step, evolving and twin, with each backend, side by side.

    python benchmarks/training_step.py [--sizes 29x64 144x16 512x8] [--repeats 9] [--output FOLDER]

For each size (steps x batch) all networks take turns, so that what else the machine does hits all
alike. Printed are medians of the processor's time, of all threads together: the evolving network
and its twin by the backends that ``"auto"`` chooses, the evolving network by the reference, and the
ratios. Peak memory is measured in a process of its own for each network, which has made a step with
a tiny batch: the growth of the process's resident memory over a step, also in maps (bytes of one
[B, H, N, N] map in float32). ``--output`` writes training_step.csv as it grows.
"""

from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from peak_memory import peak_growth
from torch import Tensor
from turns import median_seconds

from evolving_attention.attention import attention_backend
from evolving_attention.models import EADCTransformerConfig, EADCTransformerForClassification
from evolving_attention.trainer.recomputation import recompute

CONFIG = EADCTransformerConfig(input_size=12, num_labels=9)
FORMS = ("evolving", "reference", "twin")


def random_series(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def make_step(
    config: EADCTransformerConfig, values: Tensor, recomputed: bool | int | str = False
) -> Callable[[], None]:
    """Return a function that makes one update with series [B, N, F].

    ``recomputed`` is what ``training.gradient_checkpointing`` has.
    """
    torch.manual_seed(0)
    model = EADCTransformerForClassification(config).train()
    recompute(model, recomputed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    labels = torch.arange(len(values)) % config.num_labels

    def step() -> None:
        model(values, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 4.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def make_work(form: str, length: int, batch: int) -> Callable[[], None]:
    """Return the step of a form, by its backend."""
    config = EADCTransformerConfig(**{**CONFIG.to_dict(), "max_length": length})
    config = config.twin() if form == "twin" else config
    step = make_step(config, random_series(batch, length, config.input_size))

    def work() -> None:
        with attention_backend("reference" if form == "reference" else "auto"):
            step()

    return work


def make_warm_work(form: str, length: int, batch: int) -> Callable[[], None]:
    """Return the same in a process that has loaded and compiled what steps need."""
    for backend in ("banded", "reference"):
        with attention_backend(backend):
            make_step(CONFIG, random_series(2, 8, CONFIG.input_size))()
    return make_work(form, length, batch)


def measure(length: int, batch: int, repeats: int) -> dict[str, float]:
    works = {form: make_work(form, length, batch) for form in FORMS}
    seconds = median_seconds(works, repeats, warm_up=2)
    one_map = batch * CONFIG.num_attention_heads * length * length * 4
    peaks = {form: peak_growth(make_warm_work, form, length, batch) for form in FORMS}
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
