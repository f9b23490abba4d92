"""Processor's time of pieces of work that take turns."""

import statistics
import time
from collections.abc import Callable, Mapping

__all__ = ["median_seconds"]


def median_seconds(
    works: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 1
) -> dict[str, float]:
    """Return the median seconds of each, of all threads together.

    They take turns, so that what else the machine does hits all alike. The first rounds, which
    allocate and compile, are not counted.
    """
    taken: dict[str, list[float]] = {name: [] for name in works}
    for repeat in range(warm_up + repeats):
        for name, work in works.items():
            started = time.process_time()
            work()
            if repeat >= warm_up:
                taken[name].append(time.process_time() - started)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}
