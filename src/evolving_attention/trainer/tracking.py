"""Curves for TensorBoard, written by transformers' own integration."""

from pathlib import Path

from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback

from evolving_attention.errors import InputError
from evolving_attention.trainer.processes import is_first

__all__ = ["check_tensorboard", "tensorboard_callback"]


def check_tensorboard() -> None:
    """Raise :class:`InputError` where TensorBoard is not installed."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise InputError(
            "training.tensorboard needs a package that is not installed: "
            "pip install 'evolving-attention[track]'."
        ) from error


def tensorboard_callback(folder: Path) -> TrainerCallback:
    """Return a callback that writes losses, rates and metrics into a folder."""
    check_tensorboard()
    from torch.utils.tensorboard import SummaryWriter

    return TensorBoardCallback(SummaryWriter(str(folder)) if is_first() else None)
