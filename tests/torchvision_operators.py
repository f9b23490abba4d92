"""Makes a torchvision importable that was built for another torch than the installed one.

torchvision's compiled operators need the torch they were built with; beside a torch for CPUs alone
they may not load, and then neither torchvision, nor timm, nor what transformers bases on it can be
imported. Networks and transforms use none of the operators: two empty declarations satisfy the
import. This is for tests; a real installation has a matching pair.
"""

import importlib.util
import sys

import torch

_BOXES = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def declare_missing():
    """Declare the operators that an installed torchvision lacks, if it lacks them."""
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", _BOXES)
        for name in [each for each in sys.modules if each.split(".")[0] == "torchvision"]:
            del sys.modules[name]
