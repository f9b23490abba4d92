"""Trainings whose batches may be cut: no dropout, no augmentation, fixed statistics of norms.

``torchrun --nproc-per-node 2 -m tests.trainer.frozen FOLDER`` writes what two processes make of
each of them into a folder, and which threads each of them still has when it has taken leave.
"""

import json
import os
import sys
from pathlib import Path

from safetensors.torch import save_model
from torch import nn

from evolving_attention.models.masked_batch_norm import MaskedBatchNorm
from evolving_attention.recipe import AugmentationOptions, TrainingOptions
from evolving_attention.tasks.time_series import TimeSeriesTask
from evolving_attention.tasks.time_series_data import LabelledSeries
from evolving_attention.trainer.checkpoints import Checkpoints
from evolving_attention.trainer.processes import disconnect, is_first
from evolving_attention.training import train_network
from tests.tasks.helpers import SMALL, sines_and_noise, waves

#: Name, kind, series, and what differs from the options below. The last batches hold 1 to 5 series.
SCENARIOS = {
    "one_update": ("classification", 16, {"batch_size": 16, "epochs": 1}),
    "odd_end": ("classification", 30, {"epochs": 3}),
    "empty_share": ("classification", 19, {"gradient_accumulation": 4}),
    "regression": ("regression", 25, {}),
    "validation": ("classification", 38, {"validation": 0.3, "epochs": 1}),
}
#: In the papers' form, which leaves the rounding of a cut batch as small as it is.
MODEL = SMALL | {"num_blocks": 2, "hidden_dropout": 0.0, "normalize_maps": False}


class FrozenTask(TimeSeriesTask):
    """Its networks keep the statistics of their batch norms."""

    def build_model(self, options):
        model = super().build_model(options)
        for module in model.modules():
            if isinstance(module, MaskedBatchNorm):
                module.train = lambda mode=True, norm=module: nn.Module.train(norm, False)
        return model


def train(name, model=None, checkpoints=None, **changes):
    kind, cases, options = SCENARIOS[name]
    if kind == "regression":
        data, weight = waves(cases), None
    else:
        data, weight = sines_and_noise(cases + 1, unequal=True), {"noise": 3.0, "sine": 0.5}
        data = LabelledSeries(data.series[:cases], data.targets[:cases])
        model = {"label_smoothing": 0.2} | (model or {})
    defaults = {"epochs": 2, "batch_size": 8, "learning_rate": 0.01}
    return train_network(
        FrozenTask(kind, class_weight=weight, augmentation=AugmentationOptions(slicing=0.0)),
        data,
        MODEL | (model or {}),
        TrainingOptions(**(defaults | options | changes)),
        seed=2,
        checkpoints=checkpoints,
    )


def main(folder):
    for name in SCENARIOS:
        network = train(name, checkpoints=Checkpoints(folder / "checkpoints", None))  # as commands
        if is_first():
            save_model(network.model, str(folder / f"{name}.safetensors"))
            (folder / f"{name}.json").write_text(json.dumps([network.epoch, network.history]))
    disconnect()
    threads = [(thread / "comm").read_text() for thread in Path("/proc/self/task").glob("*")]
    (folder / f"threads-{os.environ['RANK']}.json").write_text(json.dumps(threads))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
