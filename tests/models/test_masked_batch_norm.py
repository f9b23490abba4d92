import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from evolving_attention.models.masked_batch_norm import MaskedBatchNorm

EXACT = {"rtol": 1e-10, "atol": 1e-12}
D = 4


def pair(dtype=torch.float64):
    """A masked batch norm, and torch's own with the same numbers."""
    masked, torchs = MaskedBatchNorm(D).to(dtype), nn.BatchNorm1d(D).to(dtype)
    with torch.no_grad():
        masked.weight.uniform_(0.5, 1.5)
        masked.bias.normal_()
        masked.running_mean.normal_()
        masked.running_var.uniform_(0.5, 2.0)
    torchs.load_state_dict(masked.state_dict())
    return masked, torchs


def ragged(dtype=torch.float64):
    hidden = 3 * torch.randn(3, 5, D, dtype=dtype) + 2
    return hidden.requires_grad_(), torch.arange(5)[None] < torch.tensor([5, 1, 3])[:, None]


def buffers(norm):
    return {name: buffer.clone() for name, buffer in norm.named_buffers()}


def test_the_state_dict_is_that_of_torchs_batch_norm():
    masked, torchs = MaskedBatchNorm(D), nn.BatchNorm1d(D)
    assert {name: each.shape for name, each in masked.state_dict().items()} == {
        name: each.shape for name, each in torchs.state_dict().items()
    }
    masked.load_state_dict(torchs.state_dict())


@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
def test_a_padded_batch_is_normalised_as_torch_normalises_its_real_steps_alone(training):
    masked, torchs = (norm.train(training) for norm in pair())
    hidden, mask = ragged()
    for _ in range(2):
        actual = masked(hidden, mask)[mask]
        packed = hidden.detach()[mask].requires_grad_()
        expected = torchs(packed)
        assert_close(actual, expected, **EXACT)
    weights = torch.randn_like(expected)
    (actual * weights).sum().backward()
    (expected * weights).sum().backward()
    assert_close(hidden.grad[mask], packed.grad, **EXACT)
    assert_close(masked.weight.grad, torchs.weight.grad, **EXACT)
    assert_close(masked.bias.grad, torchs.bias.grad, **EXACT)
    assert (hidden.grad[~mask] == 0).all()
    assert_close(buffers(masked), buffers(torchs), **EXACT)
    assert masked.num_batches_tracked == (2 if training else 0)


@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
def test_without_a_mask_it_is_torchs_batch_norm(training):
    masked, torchs = (norm.train(training) for norm in pair())
    hidden, _ = ragged()
    same = hidden.detach().clone().requires_grad_()
    actual, expected = masked(hidden), torchs(same.transpose(1, 2)).transpose(1, 2)
    assert_close(actual, expected, **EXACT)
    assert_close(buffers(masked), buffers(torchs), **EXACT)
    actual.pow(3).sum().backward()
    expected.pow(3).sum().backward()
    assert_close(hidden.grad, same.grad, **EXACT)


def test_no_mask_and_a_mask_of_ones_are_the_same():
    masked, other = pair()[0], MaskedBatchNorm(D).double()
    other.load_state_dict(masked.state_dict())
    hidden, mask = ragged()
    assert_close(masked(hidden), other(hidden, torch.ones_like(mask)), **EXACT)
    assert_close(buffers(masked), buffers(other), **EXACT)


@pytest.mark.parametrize("filling", [0.0, 1e6, 1e30])
def test_what_stands_at_padded_steps_changes_neither_output_nor_statistics(filling):
    masked, torchs = pair(torch.float32)
    hidden, mask = ragged(torch.float32)
    filled = hidden.detach().masked_fill(~mask[..., None], filling)
    assert_close(masked(filled, mask)[mask], torchs(hidden[mask]))
    assert_close(buffers(masked), buffers(torchs))


def test_appending_padded_steps_changes_nothing():
    masked, other = pair()[0], MaskedBatchNorm(D).double()
    other.load_state_dict(masked.state_dict())
    hidden, mask = ragged()
    more = torch.cat([hidden, torch.randn(3, 4, D, dtype=torch.float64)], 1)
    more_mask = torch.cat([mask, torch.zeros(3, 4, dtype=torch.bool)], 1)
    assert_close(other(more, more_mask)[more_mask], masked(hidden, mask)[mask], **EXACT)
    assert_close(buffers(other), buffers(masked), **EXACT)


def test_evaluation_leaves_the_statistics_alone():
    masked = pair()[0].eval()
    before = buffers(masked)
    masked(*ragged())
    assert_close(buffers(masked), before, rtol=0, atol=0)


def test_a_single_real_step_becomes_the_bias_with_finite_statistics():
    masked, _ = pair()
    hidden, mask = ragged()
    mask = torch.zeros_like(mask)
    mask[1, 0] = True
    mean = masked.running_mean.clone()
    output = masked(hidden, mask)
    assert_close(output[1, 0], masked.bias.detach(), **EXACT)
    output[mask].sum().backward()
    assert hidden.grad.isfinite().all()
    assert_close(masked.running_mean, 0.9 * mean + 0.1 * hidden[1, 0].detach(), **EXACT)
    assert masked.running_var.isfinite().all()
    assert (masked.running_var > 0).all()


def test_a_large_mean_does_not_drown_a_small_variance():
    masked, _ = pair(torch.float32)
    hidden = torch.randn(8, 32, D) + 1e4
    expected = pair()[1].train()
    expected.load_state_dict(masked.state_dict())
    actual = masked(hidden)
    wanted = expected(hidden.double().transpose(1, 2)).transpose(1, 2)
    assert_close(actual.double(), wanted, rtol=0, atol=1e-2)


@pytest.mark.parametrize("is_padded", [True, False], ids=["padded", "no mask"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
def test_under_bfloat16_autocast_statistics_are_taken_in_float32(training, is_padded):
    masked, torchs = (norm.train(training) for norm in pair(torch.float32))
    hidden, mask = ragged(torch.float32)
    rounded = hidden.detach().bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        actual = masked(rounded, mask if is_padded else None)
    mask = mask if is_padded else torch.ones_like(mask)
    assert_close(actual[mask], torchs(rounded[mask].float()))
    assert_close(buffers(masked), buffers(torchs))
    assert masked.running_mean.dtype is masked.running_var.dtype is torch.float32


def test_a_series_at_a_time_statistics_follow_the_momentum():
    masked, torchs = MaskedBatchNorm(D, momentum=0.3), nn.BatchNorm1d(D, momentum=0.3)
    for _ in range(3):
        hidden, mask = ragged(torch.float32)
        assert_close(masked(hidden, mask)[mask], torchs(hidden[mask]))
    assert_close(buffers(masked), buffers(torchs))


def test_a_single_step_without_a_mask_becomes_the_bias_too():
    masked, _ = pair()
    hidden = torch.randn(1, 1, D, dtype=torch.float64)
    assert_close(masked(hidden)[0, 0], masked.bias, **EXACT)
    assert masked.num_batches_tracked == 1


def test_a_batch_without_a_real_step_leaves_everything_finite():
    masked, _ = pair()
    hidden, mask = ragged()
    output = masked(hidden, torch.zeros_like(mask))
    output.sum().backward()
    for tensor in (output, hidden.grad, *buffers(masked).values()):
        assert tensor.isfinite().all()


@pytest.mark.parametrize("is_padded", [True, False], ids=["padded", "no mask"])
def test_two_batches_may_pass_before_the_gradients_of_either(is_padded):
    masked, torchs = pair()
    batches = [ragged() for _ in range(2)]
    actual, expected = 0, 0
    for hidden, mask in batches:
        given = mask if is_padded else torch.ones_like(mask)
        actual = actual + masked(hidden, mask if is_padded else None)[given].pow(3).sum()
        expected = expected + torchs(hidden[given]).pow(3).sum()
    leaves = [hidden for hidden, _ in batches]
    assert_close(torch.autograd.grad(actual, leaves), torch.autograd.grad(expected, leaves))
    assert_close(buffers(masked), buffers(torchs), **EXACT)


@pytest.mark.parametrize("is_padded", [True, False], ids=["padded", "no mask"])
@pytest.mark.parametrize("use_reentrant", [True, False], ids=["reentrant", "not reentrant"])
def test_gradient_checkpointing_counts_a_batch_once(use_reentrant, is_padded):
    plain, _ = pair()
    checkpointed = MaskedBatchNorm(D).double()
    checkpointed.load_state_dict(plain.state_dict())
    gradients = []
    for _ in range(2):
        hidden, mask = ragged()
        same = hidden.detach().clone().requires_grad_()
        given = mask if is_padded else None
        output = checkpoint(checkpointed, same, given, use_reentrant=use_reentrant)
        for tensor in (plain(hidden, given), output):
            tensor[mask].pow(3).sum().backward()
        gradients = [hidden.grad, same.grad]
    assert torch.equal(*gradients)
    assert plain.num_batches_tracked == checkpointed.num_batches_tracked == 2
    assert_close(buffers(checkpointed), buffers(plain), rtol=0, atol=0)
    assert torch.equal(plain.weight.grad, checkpointed.weight.grad)
