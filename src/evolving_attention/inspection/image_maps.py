"""The maps of one image: what each layer of a trained network attends to, pixel by pixel.

Shape letters: H heads, N pixels that attention sees, Y rows, X columns, C channels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from evolving_attention.errors import InputError
from evolving_attention.inspection.maps import check_attention, inputs_of
from evolving_attention.models.augmented_convolution import AugmentedConv2d
from evolving_attention.runs import Run

__all__ = ["ImageMaps", "attention_grids", "maps_of_image", "pixel_of"]


@dataclass
class ImageMaps:
    """The maps of one image.

    Attributes
    ----------
    title, prediction : str
        Which image it is, and its target; and what the network takes it for.
    picture_YXC : array of shape (Y, X, C)
        As the network sees it, but for the normalisation: from 0 to 1.
    maps, probabilities : list of array of shape (H, N, N)
        Of each layer, before and after the softmax.
    grids : list of (int, int)
        Height and width of what each layer attends to.
    network : str
        What the network is called, where there are several.
    """

    title: str
    prediction: str
    picture_YXC: NDArray[np.float32]
    maps: list[NDArray[np.float32]]
    probabilities: list[NDArray[np.float32]]
    grids: list[tuple[int, int]]
    network: str = ""

    def looks(self, layer: int, row: int, column: int) -> NDArray[np.float32]:
        """Return where a pixel of the picture looks in a layer, ``[Y', X']``: the heads' mean."""
        height, width = self.grids[layer]
        sides = self.picture_YXC.shape
        query = row * height // sides[0] * width + column * width // sides[1]
        looks_YX: NDArray[np.float32] = self.probabilities[layer].mean(0)[query]
        return looks_YX.reshape(height, width)


@torch.inference_mode()
def maps_of_image(run: Run, image: Any, title: str, network: str = "") -> ImageMaps:
    """Take one image through a run's network and keep its maps."""
    model, processor = run.model, run.task.processor
    check_attention(model)
    output = model(**inputs_of(model, processor, image), output_maps=True, output_attentions=True)
    return ImageMaps(
        title,
        str(processor.decode(output.logits.float().cpu().numpy())[0]),
        processor.framed(processor.opened(image)).permute(1, 2, 0).numpy(),
        [each[0].float().cpu().numpy() for each in output.maps],
        [each[0].float().cpu().numpy() for each in output.attentions],
        attention_grids(model),
        network,
    )


def attention_grids(model: PreTrainedModel) -> list[tuple[int, int]]:
    """Return height and width of what each attention layer sees, in their order."""
    stages: Any = model.base_model.stages
    return [
        model.config.attention_grid(stage)
        for stage, blocks in enumerate(stages)
        for module in blocks.modules()
        if isinstance(module, AugmentedConv2d)
    ]


def pixel_of(told: str | None, height: int, width: int) -> tuple[int, int]:
    """Return row and column, from 0, of a pixel told as ``ROW,COLUMN``; None: the middle."""
    if told is None:
        return height // 2, width // 2
    try:
        row, column = (int(part) for part in told.split(","))
    except ValueError:
        raise InputError(f"a pixel is told as ROW,COLUMN, such as 4,7, got {told!r}.") from None
    if not (0 <= row < height and 0 <= column < width):
        raise InputError(
            f"there is no pixel {told}; the network sees {height} rows and {width} columns, "
            "numbered from 0."
        )
    return row, column
