"""The GLUE task: texts to batches, networks to predictions, predictions to metrics."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from transformers import EvalPrediction, PreTrainedModel

from evolving_attention.errors import InputError
from evolving_attention.recipe import TextProcessingOptions
from evolving_attention.tasks.glue_metrics import measure
from evolving_attention.tasks.glue_tasks import GlueDescription
from evolving_attention.tasks.networks import probability_table
from evolving_attention.tasks.text_data import LabelledTexts
from evolving_attention.tasks.text_networks import CLASSIFICATION, Start
from evolving_attention.tasks.text_task import TextTask
from evolving_attention.trainer.processes import tell

__all__ = ["GlueTask"]


class GlueTask(TextTask):
    """A task of GLUE: a class or a score for a sentence or a pair.

    Parameters
    ----------
    description : GlueDescription
        Which task.
    processing : TextProcessingOptions, optional
        How texts become tokens.
    start : Start, optional
        What networks start from. Default: chance.
    """

    kind, metric, greater_is_better = "glue", "score", True
    head = CLASSIFICATION

    def __init__(
        self,
        description: GlueDescription,
        processing: TextProcessingOptions | None = None,
        start: Start | None = None,
    ) -> None:
        super().__init__(processing or TextProcessingOptions(), start or Start())
        self.description = description

    def _indices(
        self, data: LabelledTexts, validation: float, seed: int
    ) -> tuple[NDArray, NDArray]:
        if data.targets is None:
            raise InputError("the training data have no targets; each text needs one.")
        if not self.description.is_regression and len(labels := np.unique(data.targets)) < 2:
            raise InputError(
                f"all training texts have the label {labels[0]!s}: there is nothing to learn."
            )
        if empty := sum(not any(text) for text in data.texts):
            if empty == len(data):
                raise InputError("all training texts are empty: there is nothing to learn.")
            tell(f"{empty} of {len(data)} training texts are empty")
        return super()._indices(data, validation, seed)

    def _strata(self, data: LabelledTexts, held_out: int) -> NDArray | None:
        if self.description.is_regression or data.targets is None:
            return None
        _, strata, counts = np.unique(data.targets, return_inverse=True, return_counts=True)
        least = min(held_out, len(data) - held_out)
        # too small a part to have every class in it is drawn from all alike
        return strata if counts.min() > 1 and least >= len(counts) else None

    def encode_targets(self, data: LabelledTexts) -> NDArray | None:
        """Return class numbers, in the order of the task's labels, or scores as float32."""
        if data.targets is None:
            return None
        if self.description.is_regression:
            return data.targets.astype(np.float32)
        number = {label: index for index, label in enumerate(self.description.labels)}
        return np.array([number[label] for label in data.targets.tolist()], dtype=np.int64)

    def decode(self, logits: NDArray) -> NDArray:
        """Turn a network's outputs into labels, or into scores."""
        if self.description.is_regression:
            return logits[:, 0].astype(np.float64)
        return np.array(self.description.labels)[logits.argmax(1)]

    def output_options(self) -> dict[str, Any]:
        """Return the options of the configuration that say what the head predicts."""
        if self.description.is_regression:
            return {"num_labels": 1, "problem_type": "regression"}
        names = dict(enumerate(self.description.labels))
        return {
            "id2label": names,
            "label2id": {name: index for index, name in names.items()},
            "problem_type": "single_label_classification",
        }

    def logits(self, model: PreTrainedModel, data: LabelledTexts) -> NDArray[np.float32]:
        """Return a network's outputs ``(cases, labels)``, in the order of the texts."""
        examples = self.inputs(data.texts, "texts")
        return self.read_out(model, examples, lambda model, batch: model(**batch).logits)

    def predict(self, model: PreTrainedModel, data: LabelledTexts) -> pd.DataFrame:
        """Predict every text or pair: a row each, with the probabilities of the classes."""
        logits = self.logits(model, data)
        predicted = self.decode(logits)
        if self.description.is_regression:
            return pd.DataFrame({"prediction": predicted})
        return probability_table(predicted, logits, self.description.labels)

    def compute_metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        """Measure a network's outputs against encoded targets."""
        outputs, encoded = prediction.predictions, np.asarray(prediction.label_ids)
        logits = np.asarray(outputs[0] if isinstance(outputs, tuple) else outputs)
        labels = np.array(self.description.labels)
        targets = encoded if self.description.is_regression else labels[encoded]
        return self.measure(logits, LabelledTexts([()] * len(targets), targets))

    def can_evaluate(self, data: LabelledTexts) -> bool:
        """Tell whether there are labels to measure a network by."""
        return data.targets is not None

    def evaluate(self, model: PreTrainedModel, data: LabelledTexts) -> dict[str, float]:
        """Measure a network on labelled texts; raise :class:`InputError` where they are not."""
        if data.targets is None:
            raise InputError("the texts have no labels to evaluate on; each needs one.")
        return self.measure(self.logits(model, data), data)

    def measure(self, logits: NDArray, data: LabelledTexts) -> dict[str, float]:
        """Measure a network's outputs by the task's official metrics."""
        assert data.targets is not None
        return measure(self.description, data.targets, self.decode(logits), data.parts)
