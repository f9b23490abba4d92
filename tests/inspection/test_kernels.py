"""Kernels: the weights of the network, in the order of its layers, and what is said of them."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from evolving_attention.attention import EvolvingAttention
from evolving_attention.inspection import Kernel, kernel_table, kernels_of
from tests.small import one_sentence


def network(*layers):
    return torch.nn.ModuleList(EvolvingAttention(2, **options) for options in layers)


def kernel(weight, bias=None, centre=(1, 1)):
    return Kernel(2, np.asarray(weight, dtype=np.float32), bias, 0.5, 0.25, centre)


def delta(heads=2, size=3, centre=(1, 1)):
    weight = np.zeros((heads, heads, size, size), dtype=np.float32)
    for head in range(heads):
        weight[head, head, *centre] = 1.0
    return weight


def test_they_are_those_of_the_layers_that_convolve():
    layers = network({}, {"alpha": 0.3, "beta": 0.4}, {"alpha": 0.5}, {"beta": 0.6})
    found = kernels_of(layers)
    assert [each.layer for each in found] == [2, 4]
    assert_array_equal(found[0].weight_OIKK, layers[1].convolution.weight.detach())
    assert_array_equal(found[1].bias_O, layers[3].convolution.bias.detach())
    assert (found[0].alpha, found[0].beta) == (0.3, 0.4)


def test_learned_shares_are_told_as_learned():
    layers = network({"alpha": 0.3, "beta": 0.4, "learned_mixing": True})
    with torch.no_grad():
        layers[0].alpha.fill_(0.75)
    (found,) = kernels_of(layers)
    assert (found.alpha, found.beta) == pytest.approx((0.75, 0.4))


@pytest.mark.parametrize("window", ["bidirectional", "causal", "cross"])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_an_identity_start_is_the_identity_in_every_window(window, size):
    options = {
        "beta": 0.5,
        "learned_mixing": True,
        "activation": "identity",
        "initialization": "identity",
        "kernel_size": size,
        "window": window,
    }
    (found,) = kernels_of(network(options))
    assert found.bias_O is None
    figures = found.figures()
    assert figures["identity_distance"] == 0
    assert figures["identity_cosine"] == pytest.approx(1)
    assert figures["own_head"] == figures["centre"] == pytest.approx(1)


def test_figures_of_kernels_worked_out_by_hand():
    weight = delta()
    weight[0, 1, 0, 0] = 1.0
    figures = kernel(weight, np.array([-0.5, 2.0])).figures()
    assert figures["identity_distance"] == pytest.approx(np.sqrt(1 / 2))
    assert figures["identity_cosine"] == pytest.approx(2 / np.sqrt(6))
    assert figures["own_head"] == figures["centre"] == pytest.approx(2 / 3)
    assert (figures["bias_min"], figures["bias_max"]) == (-0.5, 2.0)
    assert kernel(2 * delta()).figures()["identity_distance"] == pytest.approx(1)
    assert kernel(2 * delta()).figures()["identity_cosine"] == pytest.approx(1)


def test_a_kernel_of_zeros_is_as_far_as_the_identity_is_long():
    figures = kernel(0 * delta()).figures()
    assert figures["identity_distance"] == pytest.approx(1)
    assert figures["identity_cosine"] == figures["own_head"] == figures["centre"] == 0


def test_the_table_has_a_row_for_each_layer():
    table = kernel_table(kernels_of(network({}, {"alpha": 0.3, "beta": 0.4}, {"beta": 0.6})))
    assert table["layer"].tolist() == [2, 3]
    assert_allclose(table["alpha"], [0.3, 0.0])
    assert_allclose(table["beta"], [0.4, 0.6])
    assert table.notna().all(axis=None)


def test_a_twin_has_none():
    with one_sentence("no kernels", "twin"):
        kernels_of(network({}, {"alpha": 0.5}))
