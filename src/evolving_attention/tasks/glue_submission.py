"""Predictions as the server of GLUE (https://gluebenchmark.com) takes them."""

from pathlib import Path

import numpy as np
import pandas as pd

from evolving_attention.tasks.glue_tasks import GlueDescription

__all__ = ["submission_table", "write_submission"]

#: The range of scores that STS-B's annotators could give.
_SCORES = (0.0, 5.0)


def submission_table(table: pd.DataFrame, task: GlueDescription) -> pd.DataFrame:
    """Return predictions in the server's form: the row's number, from 0, and the prediction.

    Classes are told by the names that the files have, 0 and 1 or ``entailment`` and so on; scores
    with three decimals, within the range of the annotators'.
    """
    predicted = table["prediction"]
    if task.is_regression:
        predicted = predicted.clip(*_SCORES).map("{:.3f}".format)
    return pd.DataFrame({"index": np.arange(len(table)), "prediction": predicted})


def write_submission(table: pd.DataFrame, task: GlueDescription, path: Path) -> None:
    """Write predictions into a file for the server, such as ``CoLA.tsv``; see its names there."""
    submission_table(table, task).to_csv(path, sep="\t", index=False)
