"""Who computes which rows: the compiled loops hold no lock, so plain threads run beside another."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch

__all__ = ["Chunk", "chunks_of", "run"]

#: Entries of maps that are worth a thread of their own.
WORTH_A_THREAD = 2**16
#: The shortest part of a sample's rows.
FEWEST_ROWS = 64

#: First sample, last, first row, last, number of the part of rows.
Chunk = tuple[int, int, int, int, int]
_memory = threading.local()


def chunks_of(B: int, N: int, entries: int) -> tuple[list[Chunk], int]:
    """Divide samples, and where these are too few rows too, among torch's number of threads.

    Returns
    -------
    list of Chunk
    int
        How many parts of rows there are. Each writes sums of its own, which are added up in order.
    """
    return _chunks_of(B, N, max(1, min(torch.get_num_threads(), entries // WORTH_A_THREAD)))


@lru_cache(maxsize=256)
def _chunks_of(B: int, N: int, threads: int) -> tuple[list[Chunk], int]:
    parts = max(1, min(-(-threads // B), N // FEWEST_ROWS))
    samples = [B * n // min(B, threads) for n in range(min(B, threads) + 1)]
    rows = [N * n // parts for n in range(parts + 1)]
    chunks = [
        (samples[s], samples[s + 1], rows[part], rows[part + 1], part)
        for s in range(len(samples) - 1)
        for part in range(parts)
    ]
    return chunks, parts


def run(work: Callable[..., None], chunks: list[Chunk], scratch: int, dtype: np.dtype) -> None:
    """Call ``work(scratch, *chunk)`` for each chunk, the last of them in this thread."""

    def call(chunk: Chunk) -> None:
        work(_scratch(scratch, dtype), *chunk)

    pending = [_pool(os.getpid()).submit(call, chunk) for chunk in chunks[:-1]]
    call(chunks[-1])
    for each in pending:
        each.result()


@lru_cache(maxsize=1)
def _pool(_process: int) -> ThreadPoolExecutor:
    # A forked process has none of its parent's threads, so it gets a pool of its own.
    return ThreadPoolExecutor(os.cpu_count(), "evolving-attention")


def _scratch(size: int, dtype: np.dtype) -> np.ndarray:
    """Return this thread's memory, kept from call to call: fresh pages cost more than sums."""
    arrays: dict[np.dtype, np.ndarray] = _memory.__dict__.setdefault("arrays", {})
    if dtype not in arrays or arrays[dtype].size < size:
        arrays[dtype] = np.empty(size, dtype)
    return arrays[dtype]
