"""What the loss of a batch weighs: batches together give the loss of all their series."""

import pytest
import torch

from evolving_attention.models import (
    EADCTransformerConfig,
    EADCTransformerForClassification,
    EADCTransformerForPretraining,
    EADCTransformerForRegression,
)

LABELS = torch.tensor([0, 2, 1, 0, 2, 2, 1])
CASES = {
    "classification": (EADCTransformerForClassification, {}, {"labels": LABELS}),
    "weighted": (
        EADCTransformerForClassification,
        {"class_weights": [3.0, 0.25, 1.0], "label_smoothing": 0.3},
        {"labels": LABELS},
    ),
    "regression": (EADCTransformerForRegression, {}, {"labels": torch.randn(7, 3)}),
    "pretraining": (
        EADCTransformerForPretraining,
        {},
        {
            "label_mask": torch.rand(7, 9, 2) < torch.linspace(0, 0.9, 7)[:, None, None],
            "attention_mask": torch.arange(9) < torch.arange(3, 10)[:, None],
        },
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("sizes", [[4, 3], [1, 5, 1]])
def test_losses_of_batches_average_to_the_loss_of_all(case, sizes):
    model_class, options, targets = CASES[case]
    config = EADCTransformerConfig(
        input_size=2, max_length=9, hidden_size=8, num_attention_heads=2, num_labels=3, **options
    )
    model = model_class(config).eval()
    batch = {"input_values": torch.randn(7, 9, 2)} | targets
    pieces = zip(*(values.split(sizes) for values in batch.values()), strict=True)
    batches = [dict(zip(batch, piece, strict=True)) for piece in pieces]
    with torch.inference_mode():
        losses = torch.stack([model(**piece).loss for piece in batches])
        expected = model(**batch).loss
    weights = torch.stack([model.loss_weight(piece) for piece in batches])
    assert weights.sum() == model.loss_weight(batch)
    torch.testing.assert_close((losses * weights).sum() / weights.sum(), expected)
    assert abs(losses.mean() - expected) > 1e-4
