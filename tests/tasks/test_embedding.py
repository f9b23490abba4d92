"""Vectors of series: what they are made of, and what does not change them."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from evolving_attention.models import (
    EADCTransformerForClassification,
    EADCTransformerForPretraining,
    EADCTransformerModel,
)
from evolving_attention.tasks.embedding import embed_series
from evolving_attention.tasks.time_series_processor import TimeSeriesProcessor
from tests.models.helpers import small_model

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def series_of(*lengths):
    rng = np.random.default_rng(0)
    return [rng.normal(size=(3, length)) for length in lengths]


@pytest.fixture(scope="module")
def processor():
    return TimeSeriesProcessor().fit(series_of(12))


def network(kind=EADCTransformerForPretraining, **options):
    torch.manual_seed(0)
    return small_model(kind, **options).float()


@pytest.mark.parametrize("patch_size", [1, 4])
def test_a_vector_is_the_mean_over_positions_of_gelu_of_the_last_hidden_state(
    processor, patch_size
):
    model = network(patch_size=patch_size)
    series = series_of(10, 1, 6)
    vectors = embed_series(model, processor, series)
    assert vectors.shape == (3, 16)
    for values, vector in zip(series, vectors, strict=True):
        with torch.no_grad():
            states = model.model(torch.from_numpy(processor([values])[0])[None]).last_hidden_state
        assert_allclose(vector, torch.nn.functional.gelu(states[0]).mean(0), **CLOSE)


def test_it_is_what_a_head_with_mean_pooling_reads(processor):
    model = network(EADCTransformerForClassification)
    series = series_of(10, 10)
    pooled = []
    model.pooling.register_forward_hook(lambda module, given, told: pooled.append(told))
    with torch.no_grad():
        model(torch.from_numpy(np.stack(processor(series))))
    assert_allclose(embed_series(model, processor, series), pooled[0], **CLOSE)


def test_the_head_does_not_matter(processor):
    model = network(EADCTransformerForClassification, pooling="attention")
    series = series_of(8, 3)
    expected = embed_series(model, processor, series)
    assert_allclose(embed_series(model.model, processor, series), expected)
    base = EADCTransformerModel(model.config)
    base.load_state_dict(model.model.state_dict())
    assert_allclose(embed_series(base, processor, series), expected)


def test_order_and_company_change_nothing(processor):
    model = network()
    series = series_of(*np.random.default_rng(1).integers(1, 30, size=100))
    together = embed_series(model, processor, series)
    alone = np.concatenate([embed_series(model, processor, [values]) for values in series[:10]])
    assert_allclose(together[:10], alone, **CLOSE)
    assert_allclose(embed_series(model, processor, series[::-1]), together[::-1], **CLOSE)


def test_a_network_in_training_is_asked_in_evaluation_mode(processor):
    model = network(hidden_dropout=0.5)
    expected = embed_series(model, processor, series_of(8))
    assert_allclose(embed_series(model.train(), processor, series_of(8)), expected)


def test_missing_values_are_filled_in(processor):
    (values,) = series_of(8)
    values[1, 2:5] = np.nan
    assert np.isfinite(embed_series(network(), processor, [values])).all()
