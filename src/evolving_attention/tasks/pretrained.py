"""Starting from a trained network: its encoder, which is all of it but the head, and its processor.

Shape letters: N positions, E head width.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from transformers import PreTrainedModel

from evolving_attention.errors import InputError, reading
from evolving_attention.models.ea_dc_transformer import EADCTransformerConfig, EADCTransformerModel
from evolving_attention.tasks.time_series_data import Collection
from evolving_attention.tasks.time_series_processor import TimeSeriesProcessor
from evolving_attention.training import quiet

__all__ = ["FREE_OPTIONS", "PretrainedEncoder"]

#: Options that the encoder's weights do not depend on.
FREE_OPTIONS = (
    "pooling",
    "hidden_dropout",
    "attention_dropout",
    "branch_dropout",
    "label_smoothing",
    "class_weights",
)

#: Options that follow from the data.
_OF_THE_DATA = ("input_size", "max_length")

#: What a processor knows of labels, which are those of another task.
_OF_THE_LABELS = ("classes", "class_type", "target_mean", "target_scale")


@dataclass
class PretrainedEncoder:
    """An encoder to start from.

    Attributes
    ----------
    model : PreTrainedModel
        The trained EA-DC-Transformer, with any head or none.
    processor : TimeSeriesProcessor
        What made its inputs; its normalisation stays.
    name : str
        What messages call it.
    """

    model: PreTrainedModel
    processor: TimeSeriesProcessor
    name: str = "the pretrained network"

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Load the encoder of a run folder, whatever its task was.

        Raises
        ------
        InputError
            A file is missing or damaged; the message names it.
        """
        folder = Path(folder)
        needed = ("config.json", "model.safetensors", "preprocessor_config.json")
        if missing := [name for name in needed if not (folder / name).is_file()]:
            raise InputError(f"{folder} holds no pretrained network: {missing[0]} is missing.")
        with reading(folder / "preprocessor_config.json"):
            processor = TimeSeriesProcessor.from_pretrained(folder)
        with reading(folder / "config.json"):
            config = EADCTransformerConfig.from_pretrained(folder)
        with reading(folder / "model.safetensors"), quiet():
            model = EADCTransformerModel.from_pretrained(folder, config=config)
        return cls(model, processor, f"the network in {folder}")

    def complete(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return options of a model, those that are not given taken from the encoder.

        Raises
        ------
        InputError
            An option that the encoder's weights depend on has another value.
        """
        own = {
            name: getattr(self.model.config, name)
            for name in EADCTransformerConfig.__annotations__
            if name not in (*FREE_OPTIONS, *_OF_THE_DATA)
        }
        for name, value in own.items():
            asked = options.get(name, value)
            if not (name == "patch_size" and asked == "auto"):
                self.check_same(name, asked, value)
        return options | own

    def check_same(self, name: str, asked: object, own: object) -> None:
        """Raise :class:`InputError` where an option that starting keeps is asked to be another."""
        if asked != own:
            raise InputError(
                f"{name} is {asked!r}, but {self.name} has {name}={own!r}; to start from it, leave "
                "the option out or set it to the same."
            )

    def processor_for(
        self, series: Collection, longest: int, longer_series: str
    ) -> TimeSeriesProcessor:
        """Return a processor for other series: the same normalisation, no labels.

        Parameters
        ----------
        series : Collection
            What will be processed.
        longest : int
            Steps of the longest of them; positions up to there get vectors of their own.
        longer_series : str
            See :class:`~evolving_attention.recipe.ProcessingOptions`.
        """
        if (channels := series[0].shape[0]) != self.processor.num_channels:
            raise InputError(
                f"the series have {channels} channels, but {self.name} was trained on "
                f"{self.processor.num_channels}; to start from it they must be as many."
            )
        processor = copy.deepcopy(self.processor)
        for name in _OF_THE_LABELS:
            vars(processor).pop(name, None)
        processor.longer_series = longer_series
        processor.max_length = max(processor.max_length, longest)
        return processor

    def give(self, model: PreTrainedModel) -> None:
        """Copy the encoder's weights into another network, whose tables of positions may be longer.

        Farther positions and distances start as the farthest known, which is what a longer series
        reads in the shorter tables: the function stays the same.
        """
        own = model.base_model.state_dict()
        model.base_model.load_state_dict(
            {
                name: _lengthened(name, tensor, len(own[name])) if tensor.dim() else tensor
                for name, tensor in self.model.base_model.state_dict().items()
            }
        )


def _lengthened(name: str, table: Tensor, rows: int) -> Tensor:
    if len(table) == rows:
        return table
    row = torch.arange(rows, device=table.device)
    if name.endswith("positions"):  # [N, D], from the first on
        return table[row.clamp(max=len(table) - 1)]
    farthest = (len(table) - 1) // 2  # distances [2 N - 1, E], around 0
    return table[(row - (rows - 1) // 2).clamp(-farthest, farthest) + farthest]
