"""The CPU backend's normalisation of masked maps against the specification."""

import pytest
import torch
from torch.testing import assert_close

from evolving_attention.attention import EvolvingAttention, attention_backend, normalize_map
from evolving_attention.attention.kernels.banded import normalize

B, H, N, M = 3, 2, 70, 37
MASKS = {
    "keys": (B, 1, 1, M),
    "all": (B, H, N, M),
    "shared": (N, M),
    "rows": (B, 1, N, 1),
    "head": (1, H, 1, M),
}


def some(kind, dtype=torch.float64):
    torch.manual_seed(0)
    mask = torch.rand(MASKS[kind]) < 0.6
    mask[..., 2:3, :] = False  # a row that attends to nothing, or all
    return 5 * torch.randn(B, H, N, M, dtype=dtype) + 3, mask


def rows_and_gradient(map_BHNM, mask, backend):
    given = map_BHNM.clone().requires_grad_()
    rows = normalize_map(given, mask, backend=backend)
    weights = torch.linspace(-1, 2, rows.numel(), dtype=rows.dtype).view_as(rows).sin()
    return rows, torch.autograd.grad((rows * weights).sum(), given)[0]


@pytest.mark.parametrize("kind", MASKS)
def test_rows_and_gradients_are_the_specifications(kind):
    map_BHNM, mask = some(kind)
    expected, actual = (rows_and_gradient(map_BHNM, mask, name) for name in ("reference", "banded"))
    assert normalize(map_BHNM, mask, 1e-6) is not None
    assert_close(actual, expected, rtol=1e-11, atol=1e-12)


def test_single_precision_is_as_near_to_the_truth_as_the_specification():
    map_BHNM, mask = some("all")
    exact = rows_and_gradient(map_BHNM, mask, "reference")
    for name in ("reference", "banded"):
        single = rows_and_gradient(map_BHNM.float(), mask, name)
        assert_close([each.double() for each in single], list(exact), rtol=1e-5, atol=3e-6)


def test_threads_change_no_bit():
    map_BHNM, mask = some("all", torch.float32)
    map_BHNM, mask = map_BHNM.repeat(1, 1, 8, 4), mask.repeat(1, 1, 8, 4)
    expected, threads = rows_and_gradient(map_BHNM, mask, "banded"), torch.get_num_threads()
    try:
        torch.set_num_threads(2 * B)
        actual = rows_and_gradient(map_BHNM, mask, "banded")
    finally:
        torch.set_num_threads(threads)
    assert all(map(torch.equal, actual, expected))


def test_what_stands_at_masked_entries_does_not_matter():
    map_BHNM, mask = some("all")
    filled = map_BHNM.masked_fill(~mask, float("nan"))
    assert torch.equal(normalize(filled, mask, 1e-6), normalize(map_BHNM, mask, 1e-6))


def test_it_is_left_to_the_specification_where_it_cannot_help():
    map_BHNM, mask = some("all")
    assert normalize(map_BHNM, None, 1e-6) is None
    assert normalize(map_BHNM.half(), mask, 1e-6) is None
    assert normalize(map_BHNM[0], mask[0], 1e-6) is None
    assert normalize(map_BHNM[:0], mask[:0], 1e-6) is None
    with torch.autocast("cpu", torch.bfloat16):
        assert normalize(map_BHNM, mask, 1e-6) is None


def test_second_derivatives_are_refused():
    map_BHNM, mask = some("keys")
    map_BHNM.requires_grad_()
    (first,) = torch.autograd.grad(
        normalize(map_BHNM, mask, 1e-6).square().sum(), map_BHNM, retain_graph=True
    )
    assert first.isfinite().all()
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(
            normalize(map_BHNM, mask, 1e-6).square().sum(), map_BHNM, create_graph=True
        )


def test_batches_of_gradients_are_refused():
    map_BHNM, mask = some("keys")
    rows = normalize(map_BHNM.requires_grad_(), mask, 1e-6)
    with pytest.raises(RuntimeError, match="no batches of gradients"):
        torch.autograd.grad(rows, map_BHNM, torch.stack([rows, rows]), is_grads_batched=True)


def test_a_layer_takes_the_loops_of_the_backend_that_is_asked_for(monkeypatch):
    calls = []

    def noted(*arguments):
        calls.append(arguments)
        return normalize(*arguments)

    from evolving_attention.attention import backends

    banded = backends.BACKENDS["banded"]
    monkeypatch.setitem(
        backends.BACKENDS, "banded", backends.Backend(**{**vars(banded), "normalize": noted})
    )
    layer = EvolvingAttention(H, alpha=0.5, beta=0.5, normalize=True)
    states, previous = torch.randn(B, H, M, 4), torch.randn(B, H, M, M)
    mask = torch.rand(B, 1, 1, M) < 0.8
    results = []
    for name, count in (("reference", 0), ("banded", 1), ("auto", 2)):
        with attention_backend(name):
            results.append(layer(states, states, states, previous, mask=mask)[1])
        assert len(calls) == count
    assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)
