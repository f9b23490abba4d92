"""The network of the first training, kept while one on all of the data follows."""

from safetensors.torch import load_model, save_model
from torch import accelerator
from transformers import PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_NAME

from evolving_attention.trainer.checkpoints import Checkpoints
from evolving_attention.trainer.contracts import TrainedNetwork
from evolving_attention.trainer.files import is_whole, remove_folder, telling, whole_folder
from evolving_attention.trainer.resuming import Clock
from evolving_attention.trainer.snapshots import load_json, save_json

__all__ = ["chosen_network", "keep_chosen"]

_NAME = "chosen"


def keep_chosen(checkpoints: Checkpoints, network: TrainedNetwork, clock: Clock) -> None:
    """Write the network, and remove the checkpoints that led to it."""
    folder = checkpoints.folder / _NAME
    if checkpoints.every is None:
        return
    remove_folder(folder)
    consequence = "make room and go on with --resume, the last checkpoint is whole"
    with telling(checkpoints.folder, consequence), whole_folder(folder) as draft:
        save_model(network.model, str(draft / SAFE_WEIGHTS_NAME))
        told = {"epoch": network.epoch, "history": network.history, "seconds": clock.seconds}
        save_json(told, draft / "network.json")
    checkpoints.part("first").clear()


def chosen_network(
    checkpoints: Checkpoints, model: PreTrainedModel, clock: Clock
) -> TrainedNetwork | None:
    """Return the network that was kept, if one was, with its weights in ``model``."""
    folder = checkpoints.folder / _NAME
    if not is_whole(folder):
        return None
    load_model(model, folder / SAFE_WEIGHTS_NAME)
    told = load_json(folder / "network.json")
    clock.go_on_from(told["seconds"])
    model.to(accelerator.current_accelerator() or "cpu")  # type: ignore[arg-type]
    return TrainedNetwork(model.eval(), told["epoch"], history=told["history"])
