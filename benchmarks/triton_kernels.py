"""Time and memory of one layer on a GPU: Triton kernels, plain reference, and the limits.

    python benchmarks/triton_kernels.py [--heads 8 12 16] [--lengths 512 1024 2048] [--widths 64]
        [--batch 8] [--dtype bfloat16] [--tiles 16x16 16x32] [--output triton.csv]

Every size is run forward and as a training step (forward and backward) with a previous map, a
convolution and learned shares. Beside the kernels stand the reference, torch.compile of it, and
scaled dot product attention without maps, the ceiling. All take turns; medians of CUDA events are
printed, and how much faster than the reference that is. Memory is the peak beyond the inputs, in
maps. ``limit`` is the time that the bytes which must move take at the bandwidth of a large copy on
the same device: forward the previous map in and the map out, backward both and the map's gradient
in, and the previous map's gradient out. ``--tiles`` (rows x columns of the convolution's tile)
times the kernels for each; tiles and the size from which ``"auto"`` takes them are to be chosen
from this.
"""

import csv
import dataclasses
import statistics
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from evolving_attention.attention import evolving_attention
from evolving_attention.attention.kernels.triton import arguments

FIELDS = (
    "H",
    "N",
    "E",
    "B",
    "dtype",
    "what",
    "tiles",
    "pass",
    "ms",
    "faster",
    "limit",
    "maps",
)
WARM_UP = 3


def make_inputs(H: int, N: int, E: int, B: int, dtype: torch.dtype) -> dict[str, Tensor]:
    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, device="cuda", dtype=dtype)

    inputs = {
        "query_BHNE": draw(B, N, H, E).transpose(1, 2),
        "key_BHME": draw(B, N, H, E).transpose(1, 2),
        "value_BHMV": draw(B, N, H, E).transpose(1, 2),
        "previous_map": draw(B, H, N, N),
        "weight": draw(H, H, 3, 3) / (3 * H**0.5),
        "bias": draw(H),
        "alpha": torch.tensor(0.5, device="cuda"),
        "beta": torch.tensor(0.5, device="cuda"),
    }
    return {name: tensor.requires_grad_() for name, tensor in inputs.items()}


def attend_without_maps(**inputs: Tensor) -> tuple[Tensor, Tensor]:
    names = ("query_BHNE", "key_BHME", "value_BHMV")
    output = F.scaled_dot_product_attention(*(inputs[name] for name in names))
    return output, output


def by(backend: str) -> Callable[..., tuple[Tensor, Tensor]]:
    return lambda **inputs: evolving_attention(**inputs, backend=backend)


def make_passes(attend: Callable[..., tuple[Tensor, Tensor]], inputs: dict[str, Tensor]):
    """Return the forward pass and the training step."""

    def forward() -> None:
        with torch.no_grad():
            attend(**inputs)

    def train() -> None:
        output, own_map = attend(**inputs)
        tensors = (output,) if own_map is output else (output, own_map)
        torch.autograd.grad(
            tensors, list(inputs.values()), [each.detach() for each in tensors], allow_unused=True
        )

    return {"forward": forward, "training": train}


def milliseconds(call: Callable[[], object]) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def peak_bytes(call: Callable[[], object]) -> int:
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def bandwidth() -> float:
    """Return bytes a millisecond of a large copy, read and written."""
    source = torch.empty(2**28, device="cuda", dtype=torch.int8)
    target = torch.empty_like(source)
    times = [milliseconds(lambda: target.copy_(source)) for _ in range(20)]
    return 2 * source.numel() / statistics.median(times[WARM_UP:])


def with_tiles(tiles: str, call: Callable[[], object]) -> Callable[[], object]:
    def run() -> None:
        rows, columns = map(int, tiles.split("x"))
        before = arguments.TILES
        arguments.TILES = dataclasses.replace(before, convolution=(rows, columns))
        try:
            call()
        finally:
            arguments.TILES = before

    return run


def contestants(tiles: list[str], inputs: dict[str, Tensor]):
    """Return what is timed: (name, tiles, pass) and the call."""
    calls = {}
    compiled = torch.compile(by("reference"))
    for name, attend in (("reference", by("reference")), ("compiled reference", compiled)):
        calls |= {(name, "", kind): run for kind, run in make_passes(attend, inputs).items()}
    for kind, run in make_passes(by("triton"), inputs).items():
        calls |= {("triton", size, kind): with_tiles(size, run) for size in tiles}
    passes = make_passes(attend_without_maps, inputs)
    return calls | {("without maps", "", kind): run for kind, run in passes.items()}


def measure(calls, repeats: int):
    """Return for each call the median milliseconds of interleaved repeats, and its peak bytes."""
    times = {name: [] for name in calls}
    for repeat, (name, call) in product(range(repeats + WARM_UP), calls.items()):
        taken = milliseconds(call)
        if repeat >= WARM_UP:
            times[name].append(taken)
    return {
        name: (statistics.median(times[name]), peak_bytes(call)) for name, call in calls.items()
    }


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heads", nargs="+", type=int, default=[8, 12, 16])
    parser.add_argument("--lengths", nargs="+", type=int, default=[128, 512, 1024, 2048])
    parser.add_argument("--widths", nargs="+", type=int, default=[64])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float16", "float32"))
    parser.add_argument("--tiles", nargs="+", default=["16x16"])
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--output", help="a CSV file to write, too")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("benchmarks/triton_kernels.py: needs a CUDA device, and there is none.")

    dtype, bytes_a_ms = getattr(torch, options.dtype), bandwidth()
    print(torch.cuda.get_device_name(), f"{bytes_a_ms / 1e9:.2f} TB/s", sep=", ")
    print(*FIELDS, sep="\t")
    rows = []
    for H, N, E in product(options.heads, options.lengths, options.widths):
        inputs = make_inputs(H, N, E, options.batch, dtype)
        map_bytes = inputs["previous_map"].nbytes
        measured = measure(contestants(options.tiles, inputs), options.repeats)
        for (what, tiles, kind), (taken, peak) in measured.items():
            usual = measured["reference", "", kind][0]
            limit = map_bytes * (2 if kind == "forward" else 6) / bytes_a_ms
            case = (H, N, E, options.batch, options.dtype, what, tiles, kind)
            rows.append((*case, f"{taken:.4f}", f"{usual / taken:.2f}", f"{limit:.4f}"))
            rows[-1] += (f"{peak / map_bytes:.2f}",)
            print(*rows[-1], sep="\t", flush=True)
        if options.output:  # after every size: what was measured outlives a kill
            with open(options.output, "w", newline="") as file:
                csv.writer(file).writerows((FIELDS, *rows))


if __name__ == "__main__":
    main()
