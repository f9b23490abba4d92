"""Peak memory of a piece of work, seen from the process that does it."""

import multiprocessing
import threading
import time
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import psutil
from torch.profiler import ProfilerActivity, profile

__all__ = ["peak_allocated", "peak_growth"]


def peak_growth(prepare: Callable[..., Callable[[], Any]], *arguments: Any) -> int:
    """Return by how many bytes resident memory grows while the work is done, at the most.

    A fresh process prepares the work and does it once: what was allocated and freed before would
    hide what it takes.

    Parameters
    ----------
    prepare : callable
        A function of a module; returns the work.
    *arguments
        Given to ``prepare``.
    """
    context = multiprocessing.get_context("spawn")
    result = context.Value("q", -1)
    process = context.Process(target=_watched, args=(prepare, arguments, result))
    process.start()
    process.join()
    if result.value < 0:
        raise RuntimeError(f"the process that was watched ended with code {process.exitcode}.")
    return result.value


def _watched(prepare: Callable[..., Callable[[], Any]], arguments: tuple, result: Any) -> None:
    work, process, done = prepare(*arguments), psutil.Process(), threading.Event()
    before = peak = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not done.is_set():
            peak = max(peak, process.memory_info().rss)
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:  # or the process would never end
        done.set()
        watcher.join()
    result.value = peak - before


def peak_allocated(work: Callable[[], Any]) -> int:
    """Return by how many bytes the tensors of this process grow while the work is done, at most.

    Counted are the calls of PyTorch's allocator, so there is nothing to wear off beforehand.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    events = profiler.profiler.kineto_results.events()
    changes = sorted(
        (each.start_ns(), each.nbytes()) for each in events if each.name() == "[memory]"
    )
    return max(accumulate((change for _, change in changes), initial=0))
