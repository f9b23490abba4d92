import pytest
import torch
from torch.testing import assert_close

from evolving_attention.models.pooling import POOLINGS, Pooling

POOLED = [kind for kind in POOLINGS if kind != "flatten"]
LENGTHS = (5, 1, 3)
D = 4


def pooling_and_batch(kind, dtype=torch.float64):
    hidden = torch.randn(3, 5, D, dtype=dtype)
    mask = torch.arange(5)[None] < torch.tensor(LENGTHS)[:, None]
    return Pooling(kind, D).to(dtype), hidden, mask


def pool_one(pooling, real):
    """Pool the real positions of one sequence, in plain words."""
    if pooling.kind == "mean":
        return sum(real) / len(real)
    if pooling.kind == "max":
        return torch.stack([max(column) for column in real.T])
    scores = [(vector @ pooling.score.weight[0] + pooling.score.bias[0]).exp() for vector in real]
    return sum(score * vector for score, vector in zip(scores, real, strict=True)) / sum(scores)


@pytest.mark.parametrize("kind", POOLED)
def test_pooling_reads_the_real_positions_one_sequence_at_a_time(kind):
    pooling, hidden, mask = pooling_and_batch(kind)
    expected = [
        pool_one(pooling, each[:length]) for each, length in zip(hidden, LENGTHS, strict=True)
    ]
    assert_close(pooling(hidden, mask), torch.stack(expected))


def test_flatten_lays_positions_side_by_side_and_leaves_zeros_for_padding():
    pooling, hidden, mask = pooling_and_batch("flatten")
    flat = pooling(hidden, mask)
    assert flat.shape == (3, 5 * D)
    for row, each, length in zip(flat, hidden, LENGTHS, strict=True):
        assert torch.equal(row[: length * D], torch.cat([*each[:length]]))
        assert (row[length * D :] == 0).all()


@pytest.mark.parametrize("filling", [-1e30, 1e30, torch.inf, torch.nan])
@pytest.mark.parametrize("kind", POOLINGS)
def test_what_stands_at_padded_positions_does_not_matter(kind, filling):
    pooling, hidden, mask = pooling_and_batch(kind)
    filled = hidden.masked_fill(~mask[..., None], filling).requires_grad_()
    pooled = pooling(filled, mask)
    assert torch.equal(pooled, pooling(hidden, mask))
    pooled.square().sum().backward()
    assert (filled.grad[~mask] == 0).all()
    assert filled.grad[mask].abs().sum() > 0


@pytest.mark.parametrize("kind", POOLED)
def test_appending_padding_changes_nothing(kind):
    pooling, hidden, mask = pooling_and_batch(kind)
    more = torch.cat([hidden, torch.randn(3, 4, D, dtype=torch.float64)], 1)
    more_mask = torch.cat([mask, torch.zeros(3, 4, dtype=torch.bool)], 1)
    assert_close(pooling(more, more_mask), pooling(hidden, mask))


@pytest.mark.parametrize("kind", POOLINGS)
def test_without_a_mask_every_position_is_real(kind):
    pooling, hidden, mask = pooling_and_batch(kind)
    assert torch.equal(pooling(hidden), pooling(hidden, torch.ones_like(mask)))
    assert not torch.allclose(pooling(hidden), pooling(hidden, mask))


@pytest.mark.parametrize("kind", POOLED)
def test_negative_values_survive_pooling(kind):
    pooling, hidden, mask = pooling_and_batch(kind)
    assert (pooling(-hidden.abs() - 1, mask) <= -1).all()


@pytest.mark.parametrize("kind", POOLED)
def test_a_single_real_position_is_its_own_pool(kind):
    pooling, hidden, mask = pooling_and_batch(kind)
    assert_close(pooling(hidden, mask)[1], hidden[1, 0])


@pytest.mark.parametrize("kind", POOLINGS)
def test_a_sequence_without_a_real_position_pools_to_something_finite(kind):
    pooling, hidden, mask = pooling_and_batch(kind, torch.float32)
    mask[1] = False
    pooled = pooling(hidden, mask)
    # A head adds D of them: the largest number of the type is finite in name only.
    assert pooled.sum(1).isfinite().all()


def test_attention_weighs_positions_by_its_score():
    pooling, hidden, mask = pooling_and_batch("attention")
    with torch.no_grad():
        pooling.score.weight.zero_()
    mean, _, _ = pooling_and_batch("mean")
    assert_close(pooling(hidden, mask), mean(hidden, mask))
    with torch.no_grad():
        pooling.score.weight[0, 0] = 1e4
    highest = hidden[0, hidden[0, :, 0].argmax()]
    assert_close(pooling(hidden, mask)[0], highest)


@pytest.mark.parametrize("kind", POOLINGS)
def test_only_attention_has_parameters(kind):
    names = [name for name, _ in Pooling(kind, D).named_parameters()]
    assert names == (["score.weight", "score.bias"] if kind == "attention" else [])


def test_the_score_of_attention_gets_a_gradient():
    pooling, hidden, mask = pooling_and_batch("attention")
    pooling(hidden, mask).square().sum().backward()
    assert pooling.score.weight.grad.abs().min() > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("kind", POOLINGS)
def test_half_precision_stays_near_the_truth(kind, dtype):
    pooling, hidden, mask = pooling_and_batch(kind)
    expected = pooling(hidden, mask)
    actual = pooling.to(dtype)(hidden.to(dtype), mask)
    assert actual.dtype is dtype
    assert_close(actual.double(), expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("kind", POOLINGS)
def test_autocast_stays_near_the_truth(kind, dtype):
    pooling, hidden, mask = pooling_and_batch(kind, torch.float32)
    expected = pooling(hidden, mask)
    with torch.autocast("cpu", dtype):
        actual = pooling(hidden, mask)
    assert_close(actual.float(), expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("kind", POOLINGS)
def test_inputs_are_left_as_they_were(kind):
    pooling, hidden, mask = pooling_and_batch(kind)
    copies = hidden.clone(), mask.clone()
    pooling(hidden, mask)
    assert torch.equal(hidden, copies[0])
    assert torch.equal(mask, copies[1])


@pytest.mark.parametrize("kind", POOLINGS)
def test_a_printed_module_shows_its_kind(kind):
    assert kind in repr(Pooling(kind, D))
