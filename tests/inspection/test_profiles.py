"""Profiles: the measures of what a network really computed, layer by layer and head by head."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose

from evolving_attention import train
from evolving_attention.inspection import MEASURES, measures, profile, recorded_steps, summary
from evolving_attention.inspection.maps import chain_of_series
from evolving_attention.inspection.profiles import profile_of_steps
from evolving_attention.tasks.time_series_batches import collate
from tests.small import cut, one_sentence, small_recipe, two_classes, write_npz

OF_EVOLUTION = ["kept", "added", "silenced"]
OF_TWO_LAYERS = ["divergence", "change", "likeness"]


def trained(folder, **model):
    recipe = small_recipe(
        write_npz(folder / "data.npz"), folder / "run", epochs=1, model={"num_blocks": 2} | model
    )
    return train(recipe)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("profiles"))


@pytest.fixture(scope="module")
def series():
    """Series of 2 to 6 steps."""
    return cut(two_classes(cases=5, seed=3)[0])


@pytest.fixture(scope="module")
def table(run, series):
    return profile(run.model, run.task.processor, series)


def test_it_has_a_row_for_each_series_layer_and_head(table):
    assert list(table.columns) == ["series", "layer", "head", *MEASURES]
    assert table["series"].nunique() == 5
    assert len(table) == 5 * 4 * 2
    assert sorted(table["layer"].unique()) == [1, 2, 3, 4]
    assert sorted(table["head"].unique()) == [1, 2]


def test_it_measures_the_chain_of_each_series(run, series, table):
    for number, values in enumerate(series):
        chain = chain_of_series(run.model, run.task.processor, values)
        for layer in range(4):
            rows = table[(table["series"] == number) & (table["layer"] == layer + 1)]
            for name, expected in {
                "entropy": measures.entropy(chain.probabilities[layer]),
                "scale": measures.scale(chain.maps[layer]),
                "agreement": measures.agreement(chain.probabilities[layer]),
            }.items():
                assert_allclose(rows[name], expected, rtol=1e-5, atol=1e-7, err_msg=name)
            if layer > 0:
                expected = measures.likeness(chain.maps[layer], chain.maps[layer - 1])
                assert_allclose(rows["likeness"], expected, rtol=1e-5)


def test_the_first_layer_has_nothing_before_it(table):
    first = table[table["layer"] == 1]
    assert first[OF_TWO_LAYERS + OF_EVOLUTION].isna().all(axis=None)
    assert first[["entropy", "scale", "distance", "agreement"]].notna().all(axis=None)
    assert table[table["layer"] > 1].notna().all(axis=None)


def test_a_twin_has_no_evolution_to_measure(tmp_path, series):
    twin = trained(tmp_path, alpha=0.0, beta=0.0)
    later = profile(twin.model, twin.task.processor, series).query("layer > 1")
    assert later[OF_EVOLUTION].isna().all(axis=None)
    assert later[OF_TWO_LAYERS].notna().all(axis=None)


def test_a_series_measures_the_same_in_a_padded_batch(run, series):
    inputs = run.task.processor(series)
    with torch.inference_mode(), recorded_steps(run.model) as batch:
        run.model(**collate([{"input_values": values} for values in inputs]))
    for case, values in enumerate(inputs):
        with torch.inference_mode(), recorded_steps(run.model) as alone:
            run.model(**collate([{"input_values": values}]))
        for padded, single in zip(batch, alone, strict=True):
            found, expected = profile_of_steps(padded, case), profile_of_steps(single)
            for name in MEASURES:
                assert_allclose(found[name], expected[name], rtol=1e-3, atol=1e-4, err_msg=name)


def test_a_network_without_attention_is_told(tmp_path, series):
    plain = trained(tmp_path, key_ratio=0.0, value_ratio=0.0)
    with one_sentence("no attention"):
        profile(plain.model, plain.task.processor, series)


def test_no_example_is_told(run):
    with one_sentence("no example to measure"):
        profile(run.model, run.task.processor, [])


def test_the_summary_averages_heads_and_tells_the_spread_over_series():
    rows = [
        {"network": "a", "series": series, "layer": 1, "head": head, "entropy": value}
        for series, values in enumerate([(1.0, 3.0), (4.0, 4.0)])
        for head, value in enumerate(values, start=1)
    ]
    table = pd.DataFrame(rows).reindex(columns=["network", "series", "layer", "head", *MEASURES])
    found = summary(table).loc[("a", 1)]
    assert found[("entropy", "mean")] == 3
    assert found[("entropy", "std")] == pytest.approx(np.sqrt(2))
    assert np.isnan(found[("scale", "mean")])
