"""What attention and its evolution cost an EA-AA-ResNet, in a training step and in inference.

    python benchmarks/image_step.py [--sizes tiny:64 cifar:32 50:2] [--repeats 7] --output steps.csv

For each size (variant:batch) the network with evolution, its twin, and the plain ResNet take turns,
so that what else the machine does hits all alike; written are images a second of the processor's
time, by the medians, and ratios to the twin's. FLOPs are those of an image as
``torch.utils.flop_counter`` counts them, two for a multiplication with an addition, with the
reference backend, whose every operation it sees; a training step is both passes. Peak memory is
measured in a process of its own: the growth of its resident memory over a step, or over a batch of
inference.
"""

from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from peak_memory import peak_growth
from torch.utils.flop_counter import FlopCounterMode
from turns import median_seconds

from evolving_attention.attention import attention_backend
from evolving_attention.models import EAAAResNetConfig, EAAAResNetForImageClassification

FORMS = {
    "evolving": {},
    "twin": {"alpha": 0.0, "beta": 0.0},
    "plain": {"key_ratio": 0.0, "value_ratio": 0.0},
}
WAYS = ("training", "inference")


def make_model(variant: str, form: str) -> EAAAResNetForImageClassification:
    """Return a variant's network for ten classes."""
    torch.manual_seed(0)
    config = EAAAResNetConfig.variant(variant, num_labels=10, **FORMS[form])
    return EAAAResNetForImageClassification(config)


def make_work(variant: str, form: str, batch: int, way: str) -> Callable[[], object]:
    """Return a function that makes one update, or that scores a batch."""
    model = make_model(variant, form)
    images = torch.randn(batch, model.config.num_channels, *model.config.image_height_and_width)
    if way == "inference":
        model.eval()
        return torch.inference_mode()(lambda: model(images).logits)
    labels = torch.randint(model.config.num_labels, (batch,))
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-4, fused=True)

    def step() -> None:
        model(images, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def make_warm_work(variant: str, form: str, batch: int, way: str) -> Callable[[], object]:
    """Return the same after a tiny network has run: what loads code at first use has done so."""
    for backend in ("reference", "banded"):
        with attention_backend(backend):
            make_work("tiny", form, 2, way)()
    return make_work(variant, form, batch, way)


def time_work(variant: str, batch: int, way: str, repeats: int) -> dict[str, float]:
    """Return the median processor's seconds of every form."""
    works = {form: make_work(variant, form, batch, way) for form in FORMS}
    return median_seconds(works, repeats)


def gflops(variant: str, form: str, way: str) -> float:
    """Return the GFLOPs of an image; two are counted, as batch norm in training wants."""
    work = make_work(variant, form, 2, way)
    with attention_backend("reference"), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 2 / 1e9


def measure(variant: str, batch: int, repeats: int) -> list[dict[str, object]]:
    """Return a row a form."""
    rows: dict[str, dict[str, object]] = {}
    for form in FORMS:
        size = {"variant": variant, "batch": batch, "form": form}
        rows[form] = size | {"parameters": make_model(variant, form).num_parameters()}
    for way in WAYS:
        seconds = time_work(variant, batch, way, repeats)
        for form, row in rows.items():
            row[f"{way}_images_per_second"] = batch / seconds[form]
            row[f"{way}_of_twin"] = seconds[form] / seconds["twin"]
            row[f"{way}_peak_MB"] = peak_growth(make_warm_work, variant, form, batch, way) / 1e6
            row[f"{way}_gflops"] = gflops(variant, form, way)
    return list(rows.values())


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["tiny:64", "cifar:32", "50:2"])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--output", type=Path, required=True, help="a CSV")
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    for size in options.sizes:
        variant, batch = size.split(":")
        rows += measure(variant, int(batch), options.repeats)
        table = pd.DataFrame(rows)
        table.to_csv(options.output, index=False, float_format="%.4g")
        print(table.tail(len(FORMS)).T.to_string(float_format="{:.4g}".format), flush=True)


if __name__ == "__main__":
    main()
