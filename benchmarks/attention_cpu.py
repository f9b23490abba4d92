"""One layer of evolving attention on a CPU: backends, the reference, and the machine's limit.

    python benchmarks/attention_cpu.py [--heads 8 12 16] [--lengths 32 128 512]
        [--output docs/results]

Times are of one core's work (process time), medians over repeats in which all take turns, so that
what else the machine does hits all alike; compare ratios, not milliseconds. A training step is
forward and backward with every gradient, that of the map and of the previous map too. ``sdpa`` is
PyTorch's attention without any evolution: a ceiling, not a rival. ``compiled`` is the reference
under torch.compile, for the sizes of --compiled alone, as compiling takes its time. ``auto`` is
timed for short sequences, where choosing counts; for longer ones its figures are those of the
backend it chooses.

The limit is the longer of two times: that of the least operations at the rate of a large product of
matrices, and that of the least bytes (a map read, a map written; the same and their gradients) at
the rate of copying. Both rates are measured first. Memory is what autograd keeps between the passes
beside the layer's arguments and results, in maps.

Where the time of the CPU backend goes is told by leaving out: the layer without its convolution,
and without its previous map, for the sizes of --parts.

A stack of layers tells peak memory, in maps: what PyTorch's allocator hands out at the most, beside
the stack's input, in inference without and with leave to overwrite maps, and in a training step for
each layer, all of its maps included.

With ``--output``, attention_cpu.csv, attention_cpu_parts.csv and attention_cpu_stack.csv are
written as they grow.
"""

from argparse import ArgumentParser
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from peak_memory import peak_allocated
from torch import Tensor
from turns import median_seconds

from evolving_attention.attention import (
    EvolvingAttention,
    evolving_attention,
    explain_backend,
    overwriting_maps,
)

#: Queries from which on choosing a backend takes no time that could be measured.
LONG = 512
SHARES = {"alpha": 0.5, "beta": 0.5}


def machine() -> tuple[float, float]:
    """Operations and bytes a second."""
    left, right = torch.randn(1024, 1024), torch.randn(1024, 1024)
    source, target = torch.randn(2**26), torch.zeros(2**26)
    measured = median_seconds(
        {"product": lambda: left @ right, "copy": lambda: target.copy_(source)}, 15
    )
    return 2 * 1024**3 / measured["product"], 2 * 4 * 2**26 / measured["copy"]


def batch_of(N: int) -> int:
    return max(1, min(16, 2**19 // (N * N)))


def make_layer(B: int, H: int, N: int, E: int) -> dict[str, Tensor]:
    torch.manual_seed(0)
    shapes = {
        "query_BHNE": (B, H, N, E),
        "key_BHME": (B, H, N, E),
        "value_BHMV": (B, H, N, E),
        "previous_map": (B, H, N, N),
        "weight": (H, H, 3, 3),
        "bias": (H,),
    }
    layer = {name: torch.randn(shape) for name, shape in shapes.items()}
    layer["weight"] /= 3 * H**0.5
    return {name: tensor.requires_grad_() for name, tensor in layer.items()}


def step(attend: Callable[..., tuple[Tensor, ...]], tensors: list[Tensor]) -> None:
    results = attend()
    torch.autograd.grad(results, tensors, [torch.ones_like(result) for result in results])


@torch.no_grad()
def forward(attend: Callable[..., tuple[Tensor, ...]]) -> None:
    attend()


def kept_maps(attend: Callable[..., tuple[Tensor, ...]], layer: dict[str, Tensor]) -> float:
    """Bytes that autograd keeps beside arguments and results, in maps."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        results = attend()
    for tensor in (*layer.values(), *results):
        kept.pop(tensor.untyped_storage().data_ptr(), None)
    return sum(kept.values()) / layer["previous_map"].untyped_storage().nbytes()


def measure(
    B: int, H: int, N: int, E: int, repeats: int, with_compiled: bool, rates: tuple[float, float]
) -> list[dict[str, object]]:
    layer = make_layer(B, H, N, E)
    tensors = list(layer.values())

    def by(backend: str) -> Callable[[], tuple[Tensor, ...]]:
        return lambda: evolving_attention(**layer, **SHARES, backend=backend)

    ways = {name: by(name) for name in ("reference", "banded", "auto")}
    chosen = explain_backend(**layer, **SHARES).name
    if N >= LONG:
        del ways["auto"]
    if with_compiled:
        torch.compiler.reset()
        compiled = torch.compile(evolving_attention)
        ways["compiled"] = lambda: compiled(**layer, **SHARES, backend="reference")
    query_key_value = tensors[:3]
    ways["sdpa"] = lambda: (F.scaled_dot_product_attention(*query_key_value),)
    used = {name: query_key_value if name == "sdpa" else tensors for name in ways}
    ahead = median_seconds(
        {name: lambda way=way: forward(way) for name, way in ways.items()}, repeats
    )
    both = median_seconds(
        {name: lambda n=name, way=way: step(way, used[n]) for name, way in ways.items()}, repeats
    )
    kept = {name: kept_maps(way, layer) for name, way in ways.items()}
    for table in (ahead, both, kept):
        table.setdefault("auto", table[chosen])
    limits = limits_of(B, H, N, E, rates)
    ahead["limit"] = max(limits["products"] + limits["convolution"], limits["maps"])
    both["limit"] = 3 * ahead["limit"]  # of operations and of bytes alike
    return [
        {"B": B, "H": H, "N": N, "E": E, "way": name}
        | {"forward_ms": 1e3 * ahead[name], "step_ms": 1e3 * both[name]}
        | {"forward_gain": ahead["reference"] / ahead[name]}
        | {"step_gain": both["reference"] / both[name], "kept_maps": kept.get(name)}
        | {"GFLOPs": rates[0] / 1e9, "GB/s": rates[1] / 1e9, "chosen": chosen}
        for name in both
    ]


def limits_of(B: int, H: int, N: int, E: int, rates: tuple[float, float]) -> dict[str, float]:
    """Least seconds of a forward pass: of its products, its convolution, and its two maps.

    Both passes take three times as many operations, and move six maps for two.
    """
    entries = B * H * N * N
    return {
        "products": 4 * E * entries / rates[0],
        "convolution": 18 * H * entries / rates[0],
        "maps": 2 * 4 * entries / rates[1],
    }


def parts(
    B: int, H: int, N: int, E: int, repeats: int, rates: tuple[float, float]
) -> list[dict[str, object]]:
    """Return a row a pass: milliseconds of the whole, of its parts, and the limits of these."""
    whole = make_layer(B, H, N, E)
    forms = {
        "whole": whole,
        "convolution": {k: v for k, v in whole.items() if k not in ("weight", "bias")},
        "previous": {k: v for k, v in whole.items() if k != "previous_map"},
    }

    def attend(form: str) -> tuple[Tensor, ...]:
        return evolving_attention(**forms[form], **SHARES, backend="banded")

    passes = {
        "forward": {name: lambda n=name: forward(lambda: attend(n)) for name in forms},
        "step": {
            name: lambda n=name: step(lambda: attend(n), list(forms[n].values())) for name in forms
        },
    }
    rows = []
    for name, calls in passes.items():
        taken = median_seconds(calls, repeats)
        times = 1 if name == "forward" else 3
        limits = {k: times * limit for k, limit in limits_of(B, H, N, E, rates).items()}
        convolution = taken["whole"] - taken["convolution"]
        previous = taken["whole"] - taken["previous"]
        rows.append(
            {"B": B, "H": H, "N": N, "E": E, "pass": name, "whole_ms": 1e3 * taken["whole"]}
            | {"convolution_ms": 1e3 * convolution, "previous_ms": 1e3 * previous}
            | {"rest_ms": 1e3 * (taken["whole"] - convolution - previous)}
            | {f"{part}_limit_ms": 1e3 * limit for part, limit in limits.items()}
            | {"previous_limit_ms": 1e3 * limits["maps"] / 2}  # one of two maps, and its gradient
        )
    return rows


def stack_memory(
    way: str, B: int, H: int, N: int, E: int, layers: int = 8
) -> dict[str, int | float | str]:
    """Return the row of a stack that evolves from its second layer on."""
    torch.manual_seed(0)
    stack = [EvolvingAttention(H, backend=way)]
    stack += [EvolvingAttention(H, **SHARES, backend=way) for _ in range(layers - 1)]
    states = torch.randn(B, H, N, E, requires_grad=True)

    def infer() -> Tensor:
        hidden, own_map = states, None
        for layer in stack:
            hidden, own_map = layer(hidden, hidden, hidden, own_map)
        return hidden

    def train() -> None:
        infer().sum().backward()

    train()  # what is allocated once
    one_map = 4 * B * H * N * N
    with torch.no_grad():
        inference = peak_allocated(infer) / one_map
        with overwriting_maps():
            overwriting = peak_allocated(infer) / one_map
    training = peak_allocated(train) / one_map
    return {"B": B, "H": H, "N": N, "E": E, "layers": layers, "way": way} | {
        "inference_maps": inference,
        "overwriting_maps": overwriting,
        "training_maps_a_layer": training / layers,
    }


def write(rows: list[dict[str, object]], folder: Path | None, name: str) -> None:
    if folder is not None:
        pd.DataFrame(rows).to_csv(folder / name, index=False, float_format="%.4g")


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heads", type=int, nargs="+", default=[8, 12, 16])
    parser.add_argument("--lengths", type=int, nargs="+", default=[32, 128, 512, 1024, 2048])
    parser.add_argument("--widths", type=int, nargs="+", default=[4, 16, 64])
    compiled = ["8x128x16", "8x512x16", "8x1024x16"]
    parser.add_argument("--compiled", nargs="*", default=compiled, help="HxNxE")
    parser.add_argument("--parts", nargs="*", default=["8x512x16", "16x512x16", "8x2048x16"])
    parser.add_argument("--stacks", type=int, nargs="*", default=[128, 512], help="lengths")
    parser.add_argument("--repeats", type=int, default=5, help="at N = 512")
    parser.add_argument("--output", type=Path, help="a folder for the CSVs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rates = machine()
    print(f"torch {torch.__version__}, {rates[0] / 1e9:.0f} GFLOP/s, {rates[1] / 1e9:.1f} GB/s")
    rows: list[dict[str, object]] = []
    for N, H, E in product(options.lengths, options.heads, options.widths):
        repeats = min(3 * options.repeats, max(2, options.repeats * LONG // N))
        size = f"{H}x{N}x{E}"
        new = measure(batch_of(N), H, N, E, repeats, size in options.compiled, rates)
        rows += new
        gains = {row["way"]: (row["forward_gain"], row["step_gain"]) for row in new}
        told = "  ".join(f"{name} {ahead:.2f} {both:.2f}" for name, (ahead, both) in gains.items())
        print(f"{batch_of(N)}x{size:<12} {told}", flush=True)
        write(rows, options.output, "attention_cpu.csv")
    rows = []
    for size in options.parts:
        H, N, E = map(int, size.split("x"))
        rows += parts(batch_of(N), H, N, E, options.repeats, rates)
        print(pd.DataFrame(rows[-2:]).to_string(index=False, float_format="{:.3g}".format))
        write(rows, options.output, "attention_cpu_parts.csv")
    rows = []
    for N, way in product(options.stacks, ("reference", "banded")):
        rows.append(stack_memory(way, batch_of(N), 8, N, 16))
        write(rows, options.output, "attention_cpu_stack.csv")


if __name__ == "__main__":
    main()
