import doctest
from itertools import pairwise

import pytest
import torch
from torch.testing import assert_close

from evolving_attention.attention import (
    EvolvingAttention,
    append_rows,
    causal_mask,
    evolving_attention,
    evolving_attention_rows,
    incremental,
    last_mixed_rows,
)
from tests.attention.helpers import ACTIVATIONS, plain_arguments, random_arguments

EXACT = {"rtol": 1e-10, "atol": 1e-12}
CUTS = [(1, 2, 3, 4, 5, 6), (4, 5, 6), (1, 4, 6), (3, 6), (6,)]


def whole(window, K=3):
    """Arguments of a full pass over 6 queries; a padded one, and in a causal one no later keys."""
    arguments = random_arguments(N=6, M=6 if window == "causal" else 4, K=K)
    arguments["mask"][0, :, :2] = False
    if window == "causal":
        arguments["mask"] &= causal_mask(6)
    return arguments


def cut(arguments, window, start, stop):
    """The arguments of queries ``start`` to ``stop`` when no later key exists."""
    keys = slice(None, stop if window == "causal" else None)
    part = {"weight": arguments["weight"], "bias": arguments["bias"]}
    part["query_BHNE"] = arguments["query_BHNE"][:, :, start:stop]
    for name in ("key_BHME", "value_BHMV"):
        part[name] = arguments[name][:, :, keys]
    for name in ("previous_map", "mask", "map_bias"):
        part[name] = arguments[name][:, :, start:stop, keys]
    return part


@pytest.mark.parametrize("cuts", CUTS)
@pytest.mark.parametrize("keep", [None, "reach"])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("window", ["causal", "cross"])
def test_a_sequence_cut_anywhere_gives_what_the_full_pass_gives(window, kernel_size, keep, cuts):
    arguments = whole(window, kernel_size)
    options = {"alpha": 0.3, "beta": 0.6, "window": window}
    output, full_map = evolving_attention(**arguments, **options)
    rows = None
    for start, stop in pairwise((0, *cuts)):
        part = cut(arguments, window, start, stop)
        got, map_rows, mixed = evolving_attention_rows(**part, rows_before=rows, **options)
        rows = append_rows(rows, mixed, keep=keep and kernel_size - 1)
        assert_close(got, output[:, :, start:stop], **EXACT)
        assert_close(map_rows, full_map[:, :, start:stop, : map_rows.shape[-1]], **EXACT)
        assert not full_map[:, :, start:stop, map_rows.shape[-1] :].any()
    assert rows.shape[-2] == (6 if keep is None else min(6, kernel_size - 1))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("normalize", [False, True])
def test_a_module_continues_as_the_function(activation, normalize):
    arguments = whole("causal")
    inputs = {name: arguments[name] for name in (*plain_arguments(arguments), "previous_map")}
    module = EvolvingAttention(
        2, alpha=0.3, beta=0.6, window="causal", activation=activation, normalize=normalize
    ).double()
    output, _ = module(**inputs, mask=arguments["mask"])
    rows = None
    for start, stop in pairwise((0, 3, 4, 5, 6)):
        part = cut(arguments, "causal", start, stop)
        inputs = {name: part[name] for name in inputs}
        got, _, mixed = module.forward_rows(**inputs, mask=part["mask"], rows_before=rows)
        rows = append_rows(rows, mixed, keep=module.reach)
        assert_close(got, output[:, :, start:stop], **EXACT)


@pytest.mark.parametrize("count", [None, 0, 2, 9])
def test_the_last_mixed_rows_are_those_of_all_queries(count):
    arguments = whole("causal")
    given = {name: arguments[name] for name in ("query_BHNE", "key_BHME", "previous_map")}
    given["map_bias"] = arguments["map_bias"][:, :, :1]  # the same for all rows
    given |= {"mask": arguments["mask"], "alpha": 0.3}
    _, _, mixed = evolving_attention_rows(**given, value_BHMV=arguments["value_BHMV"])
    kept = last_mixed_rows(**given, count=count)
    assert_close(kept, mixed[:, :, 6 - min(6 if count is None else count, 6) :], **EXACT)


def test_the_last_rows_matter_and_older_ones_do_not():
    arguments = cut(whole("causal"), "causal", 4, 6)
    rows = torch.randn(2, 2, 4, 4, dtype=torch.float64)
    options = {"alpha": 0.3, "beta": 0.6, "activation": "identity"}
    expected = evolving_attention_rows(**arguments, rows_before=rows, **options)[1]
    older, last = rows.clone(), rows.clone()
    older[:, :, 0] += 1
    last[:, :, -1] += 1
    assert torch.equal(
        evolving_attention_rows(**arguments, rows_before=older, **options)[1], expected
    )
    changed = evolving_attention_rows(**arguments, rows_before=last, **options)[1]
    assert not torch.equal(changed, expected)


def test_gradients_pass_through_the_rows():
    arguments = whole("cross")
    for name in ("query_BHNE", "weight"):
        arguments[name].requires_grad_()
    options = {"alpha": 0.3, "beta": 0.6, "window": "cross"}
    evolving_attention(**arguments, **options)[0].sum().backward()
    expected = [arguments[name].grad.clone() for name in ("query_BHNE", "weight")]
    for name in ("query_BHNE", "weight"):
        arguments[name].grad = None
    _, _, rows = evolving_attention_rows(**(first := cut(arguments, "cross", 0, 3)), **options)
    second = cut(arguments, "cross", 3, 6)
    total = evolving_attention_rows(**first, **options)[0].sum()
    total = total + evolving_attention_rows(**second, rows_before=rows, **options)[0].sum()
    total.backward()
    actual = [arguments[name].grad for name in ("query_BHNE", "weight")]
    assert_close(actual, expected, **EXACT)


@pytest.mark.parametrize("shape", [(2, 3, 2, 4), (1, 2, 2, 4), (2, 2, 2, 7), (2, 2, 4)])
def test_rows_of_another_shape_are_told(shape):
    part = cut(whole("causal"), "causal", 4, 6)
    with pytest.raises(ValueError, match="rows_before must have the shape"):
        evolving_attention_rows(**part, rows_before=torch.zeros(shape, dtype=torch.float64))


def test_a_window_that_looks_ahead_is_refused():
    with pytest.raises(ValueError, match="window must be one of 'causal', 'cross'"):
        evolving_attention_rows(**cut(whole("causal"), "causal", 4, 6), window="bidirectional")


def test_the_example_runs():
    assert doctest.testmod(incremental).failed == 0
