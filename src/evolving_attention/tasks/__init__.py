"""Tasks: data to batches, networks to predictions, predictions to metrics."""
