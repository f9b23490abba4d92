import copy
import io
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.testing import assert_close

from evolving_attention.attention import EvolvingAttention
from evolving_attention.models import AugmentedConv1d
from evolving_attention.models.augmented_convolution import (
    BranchDropout,
    CausalConv1d,
    attention_channels,
)
from tests.models.helpers import EXACT, one_sentence, padded, series_of

C, H, N = 16, 2, 9


# The convolution over steps


def torchs_convolution(ours, kernel_size, dilation):
    """torch's weight-normed convolution with the weights of ours."""
    theirs = weight_norm(nn.Conv1d(6, 5, kernel_size, dilation=dilation).double())
    theirs.parametrizations.weight.original0 = nn.Parameter(ours.magnitude.detach().clone())
    theirs.parametrizations.weight.original1 = nn.Parameter(ours.direction.detach().clone())
    theirs.bias = nn.Parameter(ours.bias.detach().clone())
    return theirs


@pytest.mark.parametrize("dilation", [1, 2, 4])
@pytest.mark.parametrize("kernel_size", [1, 2, 3, 5])
def test_the_convolution_is_torchs_weight_normed_one_padded_on_the_left(kernel_size, dilation):
    ours = CausalConv1d(6, 5, kernel_size, dilation).double()
    with torch.no_grad():
        ours.magnitude.uniform_(0.5, 2.0)
    theirs = torchs_convolution(ours, kernel_size, dilation)
    hidden = torch.randn(2, N, 6, dtype=torch.float64, requires_grad=True)
    same = hidden.detach().clone().requires_grad_()
    actual = ours(hidden)
    reach = (kernel_size - 1) * dilation
    expected = theirs(F.pad(same.transpose(1, 2), (reach, 0))).transpose(1, 2)
    assert actual.shape == (2, N, 5)
    assert_close(actual, expected, **EXACT)
    actual.pow(3).sum().backward()
    expected.pow(3).sum().backward()
    assert_close(hidden.grad, same.grad, **EXACT)
    assert_close(ours.bias.grad, theirs.bias.grad, **EXACT)
    assert_close(ours.magnitude.grad, theirs.parametrizations.weight.original0.grad, **EXACT)
    assert_close(ours.direction.grad, theirs.parametrizations.weight.original1.grad, **EXACT)


@pytest.mark.parametrize("step", [0, 4, N - 1])
@pytest.mark.parametrize("dilation", [1, 3])
def test_a_step_changes_itself_and_the_steps_a_dilation_later_and_nothing_else(dilation, step):
    convolution = CausalConv1d(6, 5, 3, dilation).double()
    hidden = torch.randn(1, N, 6, dtype=torch.float64)
    changed = hidden.clone()
    changed[0, step] += 1
    moved = (convolution(changed) - convolution(hidden)).abs().amax((0, 2)) > 1e-9
    reached = [index for index in (step, step + dilation, step + 2 * dilation) if index < N]
    assert moved.nonzero().flatten().tolist() == reached


def test_the_convolution_starts_as_torchs_does():
    torch.manual_seed(3)
    convolution = CausalConv1d(6, 50, 3, 1)
    torch.manual_seed(3)
    plain = nn.Conv1d(6, 50, 3)
    assert torch.equal(convolution.direction, plain.weight)
    assert torch.equal(convolution.bias, plain.bias)
    padded_hidden = torch.randn(1, 6, N)
    expected = plain(F.pad(padded_hidden, (2, 0))).transpose(1, 2)
    assert_close(convolution(padded_hidden.transpose(1, 2)), expected)


def test_the_length_of_a_direction_does_not_matter():
    convolution = CausalConv1d(6, 5, 3, 1)
    hidden = torch.randn(1, N, 6)
    expected = convolution(hidden)
    with torch.no_grad():
        convolution.direction.mul_(7.0)
    assert_close(convolution(hidden), expected)


def pickled(module):
    return pickle.loads(pickle.dumps(module))


def saved(module):
    stream = io.BytesIO()
    torch.save(module, stream)
    stream.seek(0)
    return torch.load(stream, weights_only=False)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, pickled, saved])
def test_a_copy_computes_the_same_and_owns_its_weights(duplicate):
    convolution = CausalConv1d(6, 5, 3, 2)
    hidden = torch.randn(1, N, 6)
    twin = duplicate(convolution)
    assert torch.equal(twin(hidden), convolution(hidden))
    with torch.no_grad():
        twin.magnitude.zero_()
    assert not torch.equal(twin(hidden), convolution(hidden))


# The two branches


def layer(key_ratio=0.25, value_ratio=0.5, heads=H, alpha=0.0, beta=0.0, **options):
    return AugmentedConv1d(
        C,
        heads,
        key_ratio=key_ratio,
        value_ratio=value_ratio,
        max_length=12,
        evolution=EvolvingAttention(heads, alpha=alpha, beta=beta),
        **options,
    ).double()


def batch():
    return torch.randn(3, N, C, dtype=torch.float64)


@pytest.mark.parametrize("dilation", [1, 2])
def test_without_attention_it_is_the_pure_convolution_and_has_no_map(dilation):
    pure = layer(0, 0, dilation=dilation)
    hidden = batch()
    output, own_map = pure(hidden)
    assert own_map is None
    assert torch.equal(output, pure.convolution(hidden))
    assert output.shape == hidden.shape
    assert {name.split(".")[0] for name in pure.state_dict()} == {"convolution"}


def test_with_all_channels_attended_it_is_attention_alone():
    alone = layer(1, 1, alpha=0.5, beta=0.5)
    hidden, previous_map = batch(), torch.randn(3, H, N, N, dtype=torch.float64)
    output, own_map = alone(hidden, previous_map)
    expected = alone.attention(hidden, previous_map)
    assert torch.equal(output, expected[0])
    assert torch.equal(own_map, expected[1])
    assert output.shape == hidden.shape
    assert {name.split(".")[0] for name in alone.state_dict()} == {"attention"}


def test_the_convolution_comes_first_along_the_channels_and_attention_last():
    both = layer(0.25, 0.25)
    hidden = batch()
    output, own_map = both(hidden)
    assert torch.equal(output[..., :12], both.convolution(hidden))
    assert torch.equal(output[..., 12:], both.attention(hidden)[0])
    assert own_map.shape == (3, H, N, N)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_keeps_time_and_channels_apart(heads):
    """Every head, step by step, is where a loop over heads puts it."""
    both = layer(0.5, 0.25, heads)
    hidden = batch()
    output, own_map = both(hidden)
    dk, dv = C // 2 // heads, C // 4 // heads
    weight, bias = both.attention.query_key_value.parameters()
    vectors = both.attention.relative_position.distance.weight
    table = torch.stack([vectors[11 - i : 11 - i + N] for i in range(N)])  # distances j - i
    for h in range(heads):
        rows = {
            "query": slice(h * dk, (h + 1) * dk),
            "key": slice(C // 2 + h * dk, C // 2 + (h + 1) * dk),
            "value": slice(C + h * dv, C + (h + 1) * dv),
        }
        query, key, value = (hidden @ weight[own].T + bias[own] for own in rows.values())
        logits = torch.einsum("bie,bje->bij", query, key)
        logits = (logits + torch.einsum("bie,ije->bij", query, table)) / dk**0.5
        channels = slice(C - C // 4 + h * dv, C - C // 4 + (h + 1) * dv)
        assert_close(own_map[:, h], logits, **EXACT)
        assert_close(output[..., channels], logits.softmax(-1) @ value, **EXACT)


def test_attention_looks_both_ways_and_the_convolution_only_back():
    both = layer()
    hidden = batch()
    changed = hidden.clone()
    changed[:, -1] += 1
    moved = (both(changed)[0] - both(hidden)[0]).abs()
    assert (moved[:, :-1, : C // 2] == 0).all()
    assert (moved[:, :-1, C // 2 :].amax(-1) > 0).all()


def test_the_previous_map_and_its_convolution_change_the_output():
    both = layer(alpha=0.5, beta=0.5)
    hidden = batch()
    first = torch.randn(3, H, N, N, dtype=torch.float64)
    assert not torch.allclose(both(hidden, first)[0], both(hidden, -first)[0])
    twin = layer()
    twin.load_state_dict(both.state_dict(), strict=False)
    assert torch.equal(twin(hidden, first)[0], twin(hidden, -first)[0])


def test_the_map_handed_on_is_neither_dropped_out_nor_squashed():
    both = layer()
    both.attention.evolution.dropout = 0.5
    hidden = batch()
    evaluated, logits = both.eval()(hidden)
    trained, own_map = both.train()(hidden)
    assert not torch.equal(trained, evaluated), "the probabilities are dropped out"
    assert torch.equal(own_map, logits)
    assert (own_map < -1).any()


@pytest.mark.parametrize("filling", [0.0, 1e30, torch.nan])
@pytest.mark.parametrize(("key_ratio", "value_ratio"), [(0, 0), (0.25, 0.5), (1, 1)])
def test_a_series_alone_and_in_a_padded_batch_give_the_same(key_ratio, value_ratio, filling):
    both = layer(key_ratio, value_ratio, alpha=0.5, beta=0.5, dilation=2)
    series = series_of((8, 1, 5), C)
    hidden, mask = padded(series, steps=N, filling=filling)
    previous_map = torch.randn(3, H, N, N, dtype=torch.float64)
    pairs = mask.bool()[:, None, :, None] & mask.bool()[:, None, None, :]
    output, own_map = both(hidden, previous_map.masked_fill(~pairs, filling), mask.bool())
    assert own_map is None or (own_map.masked_select(~pairs) == 0).all()
    for index, each in enumerate(series):
        n = len(each)
        alone, map_alone = both(each[None], previous_map[[index], :, :n, :n])
        assert_close(output[index, :n], alone[0], **EXACT)
        if map_alone is not None:
            assert_close(own_map[index, :, :n, :n], map_alone[0], **EXACT)


@pytest.mark.parametrize("place", [0, 3])
def test_a_padded_step_before_real_ones_is_read_by_neither_branch(place):
    both = layer(alpha=0.5, beta=0.5)
    hidden, mask = batch(), torch.ones(3, N, dtype=torch.bool)
    mask[:, place] = False
    outputs = []
    for filling in (0.0, 5.0):
        hidden[:, place] = filling
        output, own_map = both(hidden, None, mask)
        outputs.append((output[mask], own_map))
    assert_close(outputs[0], outputs[1], rtol=0, atol=0)


def test_padded_steps_get_no_gradient():
    both = layer(alpha=0.5, beta=0.5)
    hidden, mask = padded(series_of((8, 5), C), steps=N, filling=3.0)
    hidden.requires_grad_()
    output, own_map = both(hidden, None, mask.bool())
    (output[mask.bool()].square().sum() + own_map.square().sum()).backward()
    assert (hidden.grad[~mask.bool()] == 0).all()
    assert (hidden.grad[mask.bool()].abs().sum(-1) > 0).all()


def test_inputs_are_left_as_they_were():
    both = layer(alpha=0.5, beta=0.5)
    hidden, mask = padded(series_of((8, 5), C), filling=3.0)
    inputs = [hidden, torch.randn(2, H, 8, 8, dtype=torch.float64), mask.bool()]
    copies = [each.clone() for each in inputs]
    both(*inputs)
    for each, kept in zip(inputs, copies, strict=True):
        assert torch.equal(each, kept)


def test_relative_positions_are_parameters_and_get_gradients():
    both = layer()
    table = both.attention.relative_position.distance.weight
    assert isinstance(table, nn.Parameter)
    assert table.shape == (2 * 12 - 1, 2)
    both(batch())[0].square().sum().backward()
    assert (table.grad[12 - N : 12 + N - 1].abs().sum(1) > 0).all()


# Ratios


@pytest.mark.parametrize("name", ["key_ratio", "value_ratio"])
@pytest.mark.parametrize("ratio", [0.3, 1 / 16, -0.25, 1.5, float("nan")])
def test_a_ratio_the_heads_do_not_divide_is_refused_with_one_that_they_do(name, ratio):
    with pytest.raises(
        ValueError, match=rf"{name}={ratio} of 16 channels.*2 heads.*0\.125"
    ) as error:
        layer(**{name: ratio})
    assert one_sentence(error)


@pytest.mark.parametrize(("key_ratio", "value_ratio"), [(0, 0.5), (0.5, 0)])
def test_keys_without_values_and_values_without_keys_are_refused(key_ratio, value_ratio):
    with pytest.raises(ValueError, match=r"key_ratio.*value_ratio.*both") as error:
        layer(key_ratio, value_ratio)
    assert one_sentence(error)


@pytest.mark.parametrize(
    ("channels", "ratio", "heads", "size"),
    [(16, 0.25, 2, 4), (16, 1, 16, 16), (128, 0.125, 8, 16), (10, 0.6, 3, 6), (16, 0, 8, 0)],
)
def test_a_ratio_is_a_share_of_the_channels(channels, ratio, heads, size):
    assert attention_channels(channels, ratio, heads, "key_ratio") == size


def test_without_an_evolution_attention_is_plain():
    plain = AugmentedConv1d(C, H).double()
    hidden, first = batch(), torch.randn(3, H, N, N, dtype=torch.float64)
    assert torch.equal(plain(hidden, first)[0], plain(hidden)[0])
    assert not any("evolution" in name for name in plain.state_dict())


# Dropping the attention branch


def test_dropped_samples_go_without_the_branch_and_the_rest_is_scaled():
    branch = torch.randn(2000, 3, 4)
    kept = BranchDropout(0.25)(branch) / branch
    assert torch.isclose(kept, torch.tensor(4 / 3)).logical_or(kept == 0).all()
    assert_close(kept.amax((1, 2)), kept.amin((1, 2)))  # whole samples
    assert (kept[:, 0, 0] == 0).float().mean() == pytest.approx(0.25, abs=0.04)


def test_nothing_is_dropped_or_drawn_in_evaluation_or_with_a_chance_of_0():
    branch, state = torch.randn(5, 3, 4), torch.get_rng_state()
    assert BranchDropout(0.9).eval()(branch) is branch
    assert BranchDropout(0.0)(branch) is branch
    assert torch.equal(torch.get_rng_state(), state)


def test_branch_dropout_leaves_the_convolution_and_the_map_alone():
    torch.manual_seed(0)
    layer = AugmentedConv1d(C, H, key_ratio=0.5, value_ratio=0.25, branch_dropout=0.5).train()
    hidden = torch.randn(64, N, C)
    (dropped, dropped_map), (whole, whole_map) = layer(hidden), layer.eval()(hidden)
    convolved = C - C // 4
    assert torch.equal(dropped[..., :convolved], whole[..., :convolved])
    assert torch.equal(dropped_map, whole_map)
    gone = (dropped[..., convolved:] == 0).all(-1).all(-1)
    assert 0 < gone.sum() < 64
    assert_close(dropped[~gone][..., convolved:], 2 * whole[~gone][..., convolved:])


def test_attention_alone_is_never_dropped():
    layer = AugmentedConv1d(C, H, key_ratio=1.0, value_ratio=1.0, branch_dropout=0.9).train()
    hidden = torch.randn(8, N, C)
    assert torch.equal(layer(hidden)[0], layer(hidden)[0])
