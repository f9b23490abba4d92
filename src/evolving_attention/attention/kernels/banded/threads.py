"""Who computes which rows: the compiled loops hold no lock, so plain threads run beside another."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch

__all__ = ["chunks_of", "run"]

#: Entries of maps that are worth a thread of their own.
WORTH_A_THREAD = 2**16

Chunk = tuple[int, int, int, int, int]
_memory = threading.local()


def chunks_of(B: int, N: int, entries: int) -> list[Chunk]:
    """Divide samples, and where these are too few rows too, among torch's number of threads.

    Returns
    -------
    list of (first sample, last, first row, last, number of the part of rows)
        A part of rows writes sums of its own, which are added up in the order of their numbers.
    """
    threads = max(1, min(torch.get_num_threads(), B * entries // WORTH_A_THREAD))
    parts = min(-(-threads // B), max(1, N // 32))
    samples = np.linspace(0, B, min(B, threads) + 1).round().astype(int).tolist()
    rows = np.linspace(0, N, parts + 1).round().astype(int).tolist()
    return [
        (*samples[s : s + 2], *rows[part : part + 2], part)
        for s in range(len(samples) - 1)
        for part in range(parts)
    ]


def run(
    work: Callable[..., None], chunks: list[Chunk], scratch: int, dtype: np.dtype
) -> None:
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
    return ThreadPoolExecutor(max(1, torch.get_num_threads() - 1), "evolving-attention")


def _scratch(size: int, dtype: np.dtype) -> np.ndarray:
    """Return this thread's memory, kept from call to call: fresh pages cost more than sums."""
    arrays = _memory.__dict__
    if dtype.name not in arrays or arrays[dtype.name].size < size:
        arrays[dtype.name] = np.empty(size, dtype)
    array: np.ndarray = arrays[dtype.name]
    return array
