"""Maps that every layer hands on with mean 0 and variance 1 in each row."""

import pytest
import torch
from torch.testing import assert_close

from evolving_attention.attention import (
    EvolvingAttention,
    causal_mask,
    evolving_attention,
    normalize_map,
    padding_mask,
)

B, H, N, E = 2, 3, 7, 4


def tensors(*shapes, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]


def mask_of(lengths):
    return padding_mask(torch.arange(N) < torch.tensor(lengths)[:, None])


def test_rows_have_mean_0_and_variance_1():
    (map_BHNM,) = tensors((B, H, N, N))
    rows = normalize_map(5 * map_BHNM + 3)
    assert_close(rows.mean(-1), torch.zeros(B, H, N, dtype=torch.float64))
    assert_close(
        rows.var(-1, correction=0), torch.ones(B, H, N, dtype=torch.float64), rtol=1e-5, atol=0
    )


def test_a_mask_that_forbids_nothing_changes_nothing():
    (map_BHNM,) = tensors((B, H, N, N))
    everything = torch.ones(B, 1, N, N, dtype=torch.bool)
    assert_close(normalize_map(map_BHNM, everything), normalize_map(map_BHNM))


def test_masked_entries_are_0_and_count_for_nothing():
    (map_BHNM,) = tensors((B, H, N, N))
    mask = mask_of([N, 4])
    rows = normalize_map(map_BHNM.masked_fill(~mask, 1e9), mask)
    assert (rows.masked_select(~mask) == 0).all()
    assert_close(rows[1, :, :4, :4], normalize_map(map_BHNM[1:, :, :4, :4])[0])


def test_a_mask_that_is_one_for_all_keys_counts_them_all():
    (map_BHNM,) = tensors((B, H, N, N))
    rows = torch.ones(B, 1, N, 1, dtype=torch.bool)
    rows[:, :, 4:] = False
    expected = normalize_map(map_BHNM, rows.expand(B, 1, N, N))
    assert_close(normalize_map(map_BHNM, rows), expected)
    assert_close(expected[:, :, :4], normalize_map(map_BHNM)[:, :, :4])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once_with_a_mask_as_without(dtype):
    map_BHNM = (1000 * tensors((B, H, N, N), dtype=torch.float32)[0]).to(dtype)
    everything = torch.ones(B, 1, N, N, dtype=torch.bool)
    expected = normalize_map(map_BHNM.float()).to(dtype)
    for rows in (normalize_map(map_BHNM), normalize_map(map_BHNM, everything)):
        assert rows.dtype is dtype
        assert_close(rows, expected)


def test_a_row_of_equal_entries_and_one_with_nothing_to_attend_become_0_with_finite_gradients():
    map_BHNM = torch.full((1, 1, 2, 3), 4.0, requires_grad=True)
    mask = torch.tensor([[True, True, True], [False, False, False]])
    rows = normalize_map(map_BHNM, mask)
    assert_close(rows, torch.zeros(1, 1, 2, 3))
    rows.sum().backward()
    assert map_BHNM.grad.isfinite().all()


def test_the_scale_of_the_previous_map_and_what_is_added_to_its_rows_do_not_matter():
    layer = EvolvingAttention(H, alpha=0.5, beta=0.5, normalize=True).double()
    query, key, value, previous = tensors(*3 * [(B, H, N, E)], (B, H, N, N))
    output, own = layer(query, key, value, previous)
    same, same_map = layer(query, key, value, 100 * previous + 7)
    assert_close(output, same, rtol=1e-4, atol=1e-6)
    assert_close(own, same_map, rtol=1e-4, atol=1e-6)


def test_the_layer_computes_the_one_function_with_the_normalized_map():
    layer = EvolvingAttention(H, alpha=0.5, beta=0.5, normalize=True).double()
    query, key, value, previous = tensors(*3 * [(B, H, N, E)], (B, H, N, N))
    mask = mask_of([N, 5])
    expected = evolving_attention(
        query,
        key,
        value,
        normalize_map(previous, mask, backend="auto"),
        layer.convolution.weight,
        layer.convolution.bias,
        alpha=0.5,
        beta=0.5,
        mask=mask,
    )
    for own, other in zip(layer(query, key, value, previous, mask=mask), expected, strict=True):
        assert torch.equal(own, other)


def test_a_backend_that_does_not_exist_is_refused():
    (map_BHNM,) = tensors((B, H, N, N))
    with pytest.raises(ValueError, match=r"^backend must be one of .*, got 'fast'\.$"):
        normalize_map(map_BHNM, backend="fast")


@pytest.mark.parametrize("changed", range(1, N))
def test_nothing_passes_to_earlier_queries_of_a_causal_chain(changed):
    layer = EvolvingAttention(H, alpha=0.5, beta=0.5, normalize=True, window="causal").double()
    first = EvolvingAttention(H).double()
    query, key, value = tensors(*3 * [(B, H, N, E)])

    def run(query, key, value):
        _, previous = first(query, key, value, mask=causal_mask(N))
        return layer(query, key, value, previous, mask=causal_mask(N))[0]

    before = run(query, key, value)
    others = [each.clone() for each in (query, key, value)]
    for each in others:
        each[:, :, changed] += 1.0
    assert torch.equal(run(*others)[:, :, :changed], before[:, :, :changed])


def test_the_twin_and_the_identity_start_are_as_without():
    query, key, value, previous = tensors(*3 * [(B, H, N, E)], (B, H, N, N))
    plain = EvolvingAttention(H)(query, key, value)[0]
    twin = EvolvingAttention(H, normalize=True)
    start = EvolvingAttention(
        H,
        alpha=0.5,
        beta=1.0,
        activation="identity",
        learned_mixing=True,
        initialization="identity",
        normalize=True,
    ).double()
    assert torch.equal(twin(query, key, value, previous)[0], plain)
    assert torch.equal(start(query, key, value, previous)[0], plain)
    start(query, key, value, previous)[0].square().sum().backward()
    assert all(each.grad.abs().sum() > 0 for each in start.parameters())


@pytest.mark.parametrize("backend", ["reference", "auto"])
@pytest.mark.parametrize(
    ("mask", "error"),
    [
        (torch.ones(1, 1, N - 1, N).bool(), ValueError),
        (torch.ones(B + 1, 1, 1, N).bool(), ValueError),
        (torch.ones(N, N).long(), TypeError),
    ],
    ids=["of fewer rows", "of more samples", "of integers"],
)
def test_a_mask_that_does_not_fit_the_map_is_refused(mask, error, backend):
    (map_BHNM,) = tensors((B, H, N, N))
    with pytest.raises(error, match=r"^mask must"):
        normalize_map(map_BHNM, mask, backend=backend)
