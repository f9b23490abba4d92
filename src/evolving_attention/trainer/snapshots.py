"""A trainer's state as safetensors and JSON, and back: weights, optimiser, schedule, randomness.

No pickle: what a checkpoint holds can be read by anything, and reading it runs no code.
"""

import json
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
    tensors, numbers = {}, {}
    for index, values in state["state"].items():
        for name, value in values.items():
            place = tensors if isinstance(value, Tensor) else numbers
            place[f"{index}.{name}"] = value
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()},
        folder / f"{_OPTIMIZER}.safetensors",
    )
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


def save_state(model: torch.nn.Module, state: TrainerState, callbacks: list[Any], folder: Path) -> None:
    """Write weights and the trainer's state, with the callbacks', as the Trainer reads them."""
    save_model(model, str(folder / SAFE_WEIGHTS_NAME))
    state.stateful_callbacks = {
        type(callback).__name__: callback.state()
        for callback in callbacks
        if isinstance(callback, ExportableState)
    }
    state.save_to_json(str(folder / TRAINER_STATE_NAME))


def restore_callbacks(state: TrainerState, callbacks: list[Any]) -> None:
    """Set the attributes that callbacks had when the state was written."""
    for callback in callbacks:
        written = state.stateful_callbacks.get(type(callback).__name__, {})
        if isinstance(callback, ExportableState):
            for name, value in written.get("attributes", {}).items():
                setattr(callback, name, value)
