"""Random states: seeded, written down as JSON, and set back."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

__all__ = ["random_states", "seeded", "set_random_states"]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed Python, NumPy and PyTorch inside the block, and leave their states as they were."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


def random_states(order: torch.Generator | None = None) -> dict[str, Any]:
    """Return the states of all generators in use, as JSON can hold them.

    Parameters
    ----------
    order : torch.Generator, optional
        A further generator: that of the order of the data.
    """
    version, python_state, gauss = random.getstate()
    numpy_state = dict(np.random.get_state(legacy=False))
    twister = numpy_state["state"]
    states = {
        "python": [version, list(python_state), gauss],
        "numpy": numpy_state | {"state": twister | {"key": twister["key"].tolist()}},
        "torch": _to_text(torch.get_rng_state()),
    }
    if (device := torch.accelerator.current_accelerator()) is not None:
        states[device.type] = _to_text(torch.get_device_module(device).get_rng_state())
    if order is not None:
        states["order"] = _to_text(order.get_state())
    return states


def set_random_states(states: dict[str, Any], order: torch.Generator | None = None) -> None:
    """Set what :func:`random_states` returned; a device that is not there is left out."""
    version, python_state, gauss = states["python"]
    random.setstate((version, tuple(python_state), gauss))
    twister = states["numpy"]["state"]
    key = np.asarray(twister["key"], dtype=np.uint32)
    np.random.set_state(states["numpy"] | {"state": twister | {"key": key}})
    torch.set_rng_state(_from_text(states["torch"]))
    device = torch.accelerator.current_accelerator()
    if device is not None and device.type in states:
        torch.get_device_module(device).set_rng_state(_from_text(states[device.type]))
    if order is not None and "order" in states:
        order.set_state(_from_text(states["order"]))


def _to_text(state: torch.Tensor) -> str:
    return state.numpy().tobytes().hex()


def _from_text(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)
