"""A trainer's state as safetensors and JSON, and back: weights, optimiser, schedule, randomness.

No pickle: what a checkpoint holds can be read by anything, and reading it runs no code.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file, save_model
from torch import Tensor
from torch.optim import Optimizer
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import ExportableState, TrainerState
from transformers.utils import SAFE_WEIGHTS_NAME

__all__ = [
    "callback_states",
    "load_json",
    "load_optimizer",
    "restore_callbacks",
    "save_json",
    "save_optimizer",
    "save_state",
]

_OPTIMIZER = "optimizer"


def save_json(values: Any, path: Path) -> None:
    """Write JSON: its numbers come back to the bit."""
    path.write_text(json.dumps(values) + "\n")


def load_json(path: Path) -> Any:
    """Read JSON."""
    return json.loads(path.read_text())


def save_optimizer(optimizer: Optimizer, folder: Path) -> None:
    """Write an optimiser's state: ``optimizer.safetensors`` and ``optimizer.json``."""
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {}
    for index, values in state["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value.contiguous()
            else:
                numbers[f"{index}.{name}"] = value
    save_file(tensors, folder / f"{_OPTIMIZER}.safetensors")
    groups = state["param_groups"]
    save_json({"groups": groups, "numbers": numbers}, folder / f"{_OPTIMIZER}.json")


def load_optimizer(optimizer: Optimizer, folder: Path) -> None:
    """Set what :func:`save_optimizer` wrote."""
    written = load_json(folder / f"{_OPTIMIZER}.json")
    state: dict[int, dict[str, Any]] = {}
    values = load_file(folder / f"{_OPTIMIZER}.safetensors") | written["numbers"]
    for place, value in values.items():
        index, _, name = place.partition(".")
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": written["groups"]})


def save_state(model: torch.nn.Module, state: TrainerState, folder: Path) -> None:
    """Write weights and the trainer's state, as the Trainer reads them."""
    save_model(model, str(folder / SAFE_WEIGHTS_NAME))
    save_json(asdict(state), folder / TRAINER_STATE_NAME)  # its own way would sort the history


def callback_states(callbacks: list[Any]) -> dict[str, Any]:
    """Return the attributes of callbacks that have a state, such as how patient one was."""
    return {
        type(callback).__name__: callback.state()["attributes"]
        for callback in callbacks
        if isinstance(callback, ExportableState)
    }


def restore_callbacks(states: dict[str, Any], callbacks: list[Any]) -> None:
    """Set what :func:`callback_states` returned."""
    for callback in callbacks:
        for name, value in states.get(type(callback).__name__, {}).items():
            setattr(callback, name, value)
