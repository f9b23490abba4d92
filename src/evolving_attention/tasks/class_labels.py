"""Class labels of any type, and their numbers in a network's outputs."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from evolving_attention.errors import InputError

__all__ = ["ClassLabels"]


class ClassLabels:
    """What processors of classes have in common.

    Attributes
    ----------
    classes : list
        Class labels in the order of the network's outputs.
    class_type : str
        The NumPy type they came in.
    """

    classes: list[Any]
    class_type: str

    def fit_classes(self, labels: NDArray) -> Self:
        """Learn the class labels, of any type."""
        classes = np.unique(np.asarray(labels))
        if len(classes) < 2:
            raise InputError(
                f"classification needs at least 2 classes, got only {classes.tolist()}."
            )
        self.classes, self.class_type = classes.tolist(), classes.dtype.str
        return self

    def encode(self, targets: NDArray) -> NDArray:
        """Turn labels into class numbers."""
        number = {label: index for index, label in enumerate(self.classes)}
        try:
            return np.array([number[label] for label in np.asarray(targets).tolist()], np.int64)
        except (KeyError, TypeError) as error:
            raise InputError(
                f"class {error.args[0]!r} was not among the training classes {self.classes}."
            ) from None

    def decode(self, logits: NDArray) -> NDArray:
        """Turn a network's outputs into class labels."""
        return self.class_labels[logits.argmax(1)]

    @property
    def class_labels(self) -> NDArray:
        """Class labels in their own type, in the order of the network's outputs."""
        return np.array(self.classes, dtype=np.dtype(self.class_type))
