"""Several processes that train one network, as torchrun and ``accelerate launch`` start them.

The first process writes, prints and decides; the others follow. Everything here is a plain call
where there is one process.
"""

import gc
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object
from tqdm.auto import tqdm

from evolving_attention.errors import InputError

__all__ = [
    "ToldByAnotherError",
    "check_alone",
    "connect",
    "disconnect",
    "first_alone",
    "from_all",
    "is_first",
    "process_count",
    "tell",
    "together",
]

Result = TypeVar("Result")


class ToldByAnotherError(InputError):
    """An error that another process tells the user."""


def process_count() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process is the one that writes and prints."""
    return os.environ.get("RANK", "0") == "0"


def tell(line: str) -> None:
    """Write a line for the user on standard error, above any progress bar; once for all."""
    if is_first():
        tqdm.write(line, file=sys.stderr)


def connect() -> None:
    """Let the processes know one another.

    Raises
    ------
    InputError
        They were started to hold parts of a network instead of copies.
    """
    for way in ("FSDP", "DEEPSPEED"):
        if os.environ.get(f"ACCELERATE_USE_{way}", "false").lower() == "true":
            raise InputError(
                f"training does not cut networks into parts: start it without {way}, with a copy "
                "of the network in every process."
            )
    if process_count() > 1:
        PartialState(cpu=not torch.accelerator.is_available())


def check_alone(purpose: str) -> None:
    """Raise :class:`InputError` under torchrun: each process would train a network of its own."""
    if process_count() > 1:
        raise InputError(
            f"{purpose} trains one network after the other, each in one process, and was started "
            f"in {process_count()}: start it without torchrun or accelerate launch."
        )


def disconnect() -> None:
    """Take leave of the other processes, at the very end.

    The last trainer refers to itself, and holds on to the group of processes. Were it left to the
    interpreter's end, the group's threads would live until then, when an abort may end them.
    """
    if process_count() > 1:
        PartialState().wait_for_everyone()
        gc.collect()
        PartialState().destroy_process_group()


def from_all(value: Any) -> list[Any]:
    """Return every process's value, in their order."""
    return [value] if process_count() == 1 else gather_object([value])


def first_alone(call: Callable[[], Result]) -> Result:
    """Call in the first process alone; all return what it returned, or raise what it raised."""
    if process_count() == 1:
        return call()
    outcome: list[Any] = [None, None]
    error: Exception | None = None
    if is_first():
        try:
            outcome[0] = call()
        except (InputError, OSError) as caught:
            error, outcome[1] = caught, str(caught)
    outcome = broadcast_object_list(outcome)
    if error is not None:
        raise error
    if outcome[1] is not None:
        raise ToldByAnotherError(outcome[1])
    return outcome[0]


def together(call: Callable[[], Result]) -> Result:
    """Call in every process; if one fails, all fail, and the first process tells why."""
    if process_count() == 1:
        return call()
    result, error = None, None
    try:
        result = call()
    except (InputError, OSError) as caught:
        error = caught
    errors = from_all(None if error is None else str(error))
    if not any(errors):
        return result  # type: ignore[return-value]
    number, message = next((number, told) for number, told in enumerate(errors) if told)
    if not is_first():
        raise ToldByAnotherError(message)
    raise InputError(message if number == 0 else f"in process {number}, {message}")
