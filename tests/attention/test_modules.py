import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from evolving_attention.attention import (
    EvolvingAttention,
    MultiHeadCrossAttention,
    MultiHeadSelfAttention,
    RelativePositionLogits1d,
    evolving_attention,
    padding_mask,
)
from tests.attention.helpers import WINDOWS, plain_arguments, random_arguments

EXACT = {"rtol": 1e-10, "atol": 1e-12}


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def random_chain(H=2, depth=3, dtype=torch.float32, N=5, M=6):
    """Queries, keys and values of every layer, and the mask they share."""
    layers = [random_arguments(H=H, N=N, M=M, dtype=dtype) for _ in range(depth)]
    mask = layers[0]["mask"]
    mask[0, :, 2] = False
    return [tuple(plain_arguments(layer).values()) for layer in layers], mask


def run_chain(evolutions, inputs, mask=None):
    previous_map, outputs, maps = None, [], []
    for evolution, layer in zip(evolutions, inputs, strict=True):
        output, previous_map = evolution(*layer, previous_map, mask=mask)
        outputs.append(output)
        maps.append(previous_map)
    return torch.stack(outputs), torch.stack(maps)


# The parameters of an evolution


@pytest.mark.parametrize("H", [1, 4])
@pytest.mark.parametrize("K", [1, 3, 5])
def test_an_evolution_has_a_kernel_and_a_bias_a_head(H, K):
    shares = {"alpha": 0.5, "beta": 0.5}
    assert count(EvolvingAttention(H, kernel_size=K, **shares)) == K**2 * H**2 + H
    bias_free = EvolvingAttention(H, kernel_size=K, activation="identity", **shares)
    assert count(bias_free) == K**2 * H**2


def test_only_an_evolution_that_convolves_has_parameters():
    assert count(EvolvingAttention(4)) == 0
    assert count(EvolvingAttention(4, alpha=0.5)) == 0
    assert count(EvolvingAttention(4, beta=0.5)) == 9 * 16 + 4


def test_learned_shares_are_two_parameters_or_one_beside_an_identity_start():
    learned = {"alpha": 0.3, "beta": 0.6, "learned_mixing": True}
    evolution = EvolvingAttention(2, **learned)
    assert count(evolution) == 9 * 4 + 2 + 2
    assert (evolution.alpha.item(), evolution.beta.item()) == pytest.approx((0.3, 0.6))
    identity = EvolvingAttention(2, activation="identity", initialization="identity", **learned)
    assert count(identity) == 9 * 4 + 1
    assert (identity.alpha.item(), identity.beta) == (0.0, 0.6)


def test_names_in_the_state_dict_stay():
    evolution = EvolvingAttention(2, alpha=0.3, beta=0.6, learned_mixing=True)
    assert set(evolution.state_dict()) == {
        "alpha",
        "beta",
        "convolution.weight",
        "convolution.bias",
    }


def test_random_kernels_differ_by_seed_and_are_the_same_by_the_same_seed():
    kernels = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        kernels.append(EvolvingAttention(2, beta=0.5).convolution.weight)
    assert torch.equal(kernels[0], kernels[1])
    assert not torch.equal(kernels[0], kernels[2])
    assert kernels[0].unique().numel() == kernels[0].numel()


def test_a_state_dict_makes_another_module_the_same():
    options = {"alpha": 0.3, "beta": 0.6, "learned_mixing": True}
    torch.manual_seed(1)
    source, target = EvolvingAttention(2, **options), EvolvingAttention(2, **options)
    with torch.no_grad():
        source.alpha.fill_(0.9)
    inputs, mask = random_chain(depth=2)
    expected = run_chain([source] * 2, inputs, mask)
    assert not torch.equal(run_chain([target] * 2, inputs, mask)[0], expected[0])
    target.load_state_dict(source.state_dict())
    assert torch.equal(run_chain([target] * 2, inputs, mask)[0], expected[0])


@pytest.mark.parametrize(
    "options", [{}, {"activation": "identity", "initialization": "identity"}], ids=str
)
def test_reset_parameters_restores_the_start(options):
    evolution = EvolvingAttention(2, alpha=0.3, beta=0.6, learned_mixing=True, **options)
    start = {name: value.clone() for name, value in evolution.state_dict().items()}
    with torch.no_grad():
        for parameter in evolution.parameters():
            parameter.fill_(7.0)
    evolution.reset_parameters()
    after = evolution.state_dict()
    for name in start.keys() & {"alpha", "beta"}:
        assert torch.equal(after[name], start[name])
    if options:
        assert torch.equal(after["convolution.weight"], start["convolution.weight"])
    else:
        bound = (9 * 2) ** -0.5
        assert after["convolution.weight"].abs().max() <= bound
        assert after["convolution.bias"].abs().max() <= bound


@pytest.mark.parametrize("window", WINDOWS)
def test_a_module_computes_the_function_with_its_own_parameters(window):
    evolution = EvolvingAttention(
        2, alpha=0.3, beta=0.6, kernel_size=5, activation="leaky_relu", window=window
    ).double()
    arguments = random_arguments()
    del arguments["weight"], arguments["bias"]
    plain, previous_map = tuple(plain_arguments(arguments).values()), arguments["previous_map"]
    extra = {name: arguments[name] for name in ("mask", "map_bias")} | {"scale": 0.4}
    actual = evolution(*plain, previous_map, **extra)
    expected = evolving_attention(
        *plain,
        previous_map,
        evolution.convolution.weight,
        evolution.convolution.bias,
        alpha=0.3,
        beta=0.6,
        activation="leaky_relu",
        window=window,
        **extra,
    )
    assert torch.equal(actual[0], expected[0])
    assert torch.equal(actual[1], expected[1])


def test_dropout_follows_the_mode_of_the_module():
    evolution = EvolvingAttention(2, dropout=0.5)
    inputs = random_chain(depth=1)[0][0]
    trained = evolution.train()(*inputs)[0]
    evaluated = evolution.eval()(*inputs)[0]
    assert not torch.equal(trained, evaluated)
    assert torch.equal(evaluated, EvolvingAttention(2)(*inputs)[0])


@pytest.mark.parametrize("window", WINDOWS)
def test_learned_shares_and_kernels_get_gradients(window):
    evolutions = [
        EvolvingAttention(2, alpha=0.3, beta=0.6, window=window, learned_mixing=True)
        for _ in range(3)
    ]
    inputs, mask = random_chain()
    outputs, _ = run_chain(evolutions, inputs, mask)
    outputs.square().sum().backward()
    assert evolutions[0].alpha.grad is None, "the first layer has no map before it"
    for evolution in evolutions[1:]:
        for name, parameter in evolution.named_parameters():
            assert parameter.grad.abs().max() > 0, name
            assert parameter.grad.isfinite().all(), name


def test_a_printed_module_shows_what_sets_it_apart():
    printed = repr(EvolvingAttention(2, alpha=0.3, beta=0.6, window="causal"))
    for part in ("alpha=0.3", "beta=0.6", "'relu'", "'causal'"):
        assert part in printed
    assert "learned" in repr(EvolvingAttention(2, learned_mixing=True))


# A start as the twin

IDENTITY = {"activation": "identity", "initialization": "identity"}


def identity_chain(window, beta, depth=3, H=2):
    options = {"beta": beta, "window": window, **IDENTITY}
    evolving = [
        EvolvingAttention(H, alpha=0.5, learned_mixing=True, **options) for _ in range(depth - 1)
    ]
    return [EvolvingAttention(H), *evolving]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("beta", [0.1, 0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("window", WINDOWS)
def test_a_chain_that_starts_as_the_identity_computes_what_its_twin_computes(window, beta, dtype):
    inputs, mask = random_chain(H=4, dtype=dtype, N=12, M=17)
    chain = [each.to(dtype) for each in identity_chain(window, beta, H=4)]
    outputs, maps = run_chain(chain, inputs, mask)
    twin_outputs, twin_maps = run_chain([EvolvingAttention(4)] * 3, inputs, mask)
    assert torch.equal(maps, twin_maps)
    assert torch.equal(outputs, twin_outputs)


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("window", WINDOWS)
def test_an_identity_kernel_reads_the_entry_it_writes(window, kernel_size):
    evolution = EvolvingAttention(
        2, beta=1.0, kernel_size=kernel_size, window=window, **IDENTITY
    ).double()
    inputs, mask = random_chain(depth=1, dtype=torch.float64)
    _, own_map = evolution(*inputs[0], mask=mask)
    _, plain_map = EvolvingAttention(2)(*inputs[0], mask=mask)
    assert torch.equal(own_map, plain_map)


@pytest.mark.parametrize("window", WINDOWS)
def test_every_new_entry_gets_a_gradient_at_the_first_step_from_an_identity_start(window):
    inputs, mask = random_chain()
    chain = identity_chain(window, beta=0.5)
    outputs, _ = run_chain(chain, inputs, mask)
    outputs.square().sum().backward()
    parameters = [(i, *each) for i, layer in enumerate(chain) for each in layer.named_parameters()]
    assert [name for _, name, _ in parameters] == ["alpha", "convolution.weight"] * 2
    for index, name, parameter in parameters:
        assert (parameter.grad != 0).all(), (index, name)
        assert parameter.grad.isfinite().all(), (index, name)


def test_an_identity_start_leaves_its_twin_with_the_first_step():
    inputs, mask = random_chain()
    chain = identity_chain("bidirectional", beta=0.5)
    optimizer = torch.optim.SGD([p for each in chain for p in each.parameters()], lr=0.1)
    before, _ = run_chain(chain, inputs, mask)
    before.square().sum().backward()
    optimizer.step()
    after, _ = run_chain(chain, inputs, mask)
    assert after.square().sum() < before.square().sum()


def test_modules_built_on_the_meta_device_start_where_reset_puts_them():
    expected = EvolvingAttention(2, beta=0.5, **IDENTITY)
    with torch.device("meta"):
        evolution = EvolvingAttention(2, beta=0.5, **IDENTITY)
    evolution.to_empty(device="cpu").reset_parameters()
    assert torch.equal(evolution.convolution.weight, expected.convolution.weight)


# Multi-head attention, restated


def split_heads(states, H):
    return torch.stack(states.chunk(H, dim=-1), dim=1)


def restate(layer, query, key, value, previous_map, mask, alpha, beta):
    """Multi-head evolving attention in plain PyTorch, with the weights of a layer."""
    H = layer.num_heads
    query, key, value = (split_heads(each, H) for each in (query, key, value))
    logits = torch.einsum("bhne,bhme->bhnm", query, key)
    if layer.relative_position is not None:
        table = layer.relative_position.distance.weight
        farthest, N = len(table) // 2, query.shape[2]
        distance = torch.arange(N)[None, :] - torch.arange(N)[:, None]
        vectors = table[distance.clamp(-farthest, farthest) + farthest]
        logits = logits + torch.einsum("bhne,nme->bhnm", query, vectors)
    logits = logits / query.shape[-1] ** 0.5
    mixed = (alpha * previous_map + (1 - alpha) * logits) * mask
    convolution = layer.evolution.convolution
    evolved = F.conv2d(mixed, convolution.weight, convolution.bias, padding=1).relu()
    own_map = (beta * evolved + (1 - beta) * mixed) * mask
    shares = own_map.masked_fill(~mask, -1e9).softmax(-1)
    heads = torch.einsum("bhnm,bhmv->bhnv", shares, value)
    return layer.output(torch.cat(heads.unbind(1), dim=-1)), own_map


SIZES = [
    ({}, 8),
    ({"key_size": 4}, 8),
    ({"value_size": 12}, 12),
    ({"key_size": 12, "value_size": 4, "output_size": 5}, 5),
    ({"output_size": 8}, 8),
]


@pytest.mark.parametrize("positions", [None, 3, 20])
@pytest.mark.parametrize(("sizes", "width"), SIZES, ids=str)
def test_self_attention_is_its_plain_restatement(sizes, width, positions):
    head_size = sizes.get("key_size", 8) // 2
    layer = MultiHeadSelfAttention(
        8,
        2,
        **sizes,
        evolution=EvolvingAttention(2, alpha=0.3, beta=0.6),
        relative_position=positions and RelativePositionLogits1d(head_size, positions),
    ).double()
    hidden = torch.randn(2, 6, 8, dtype=torch.float64)
    previous_map = torch.randn(2, 2, 6, 6, dtype=torch.float64)
    mask = padding_mask(torch.ones(2, 6)) & (torch.rand(2, 1, 6, 6) < 0.5) | torch.eye(6).bool()
    E, V = layer.key_size, layer.value_size
    projected = F.linear(hidden, layer.query_key_value.weight, layer.query_key_value.bias)
    expected = restate(
        layer,
        projected[..., :E],
        projected[..., E : 2 * E],
        projected[..., 2 * E :],
        previous_map,
        mask,
        alpha=0.3,
        beta=0.6,
    )
    actual = layer(hidden, previous_map, mask=mask)
    assert projected.shape[-1] == 2 * E + V
    assert actual[0].shape == (2, 6, width)
    assert_close(actual, expected, **EXACT)


@pytest.mark.parametrize(("sizes", "width"), SIZES, ids=str)
def test_cross_attention_is_its_plain_restatement(sizes, width):
    layer = MultiHeadCrossAttention(
        8, 7, 2, **sizes, evolution=EvolvingAttention(2, alpha=0.3, beta=0.6)
    ).double()
    hidden = torch.randn(2, 4, 8, dtype=torch.float64)
    memory = torch.randn(2, 6, 7, dtype=torch.float64)
    previous_map = torch.randn(2, 2, 4, 6, dtype=torch.float64)
    mask = (torch.rand(2, 1, 4, 6) < 0.5) | (torch.arange(6) == 0)
    key_value = F.linear(memory, layer.key_value.weight, layer.key_value.bias)
    expected = restate(
        layer,
        F.linear(hidden, layer.query.weight, layer.query.bias),
        key_value[..., : layer.key_size],
        key_value[..., layer.key_size :],
        previous_map,
        mask,
        alpha=0.3,
        beta=0.6,
    )
    actual = layer(hidden, memory, previous_map, mask=mask)
    assert actual[0].shape == (2, 4, width)
    assert actual[1].shape == (2, 2, 4, 6)
    assert_close(actual, expected, **EXACT)


def test_without_an_evolution_self_attention_is_torchs_own():
    layer = MultiHeadSelfAttention(8, 2, output_size=8)
    torchs = nn.MultiheadAttention(8, 2, batch_first=True)
    torchs.in_proj_weight, torchs.in_proj_bias = layer.query_key_value.parameters()
    torchs.out_proj = layer.output
    hidden = torch.randn(2, 5, 8)
    assert_close(layer(hidden)[0], torchs(hidden, hidden, hidden)[0])


def test_without_an_output_size_there_is_no_projection():
    with_one = MultiHeadSelfAttention(8, 2, output_size=8)
    without = MultiHeadSelfAttention(8, 2)
    assert count(with_one) - count(without) == 8 * 8 + 8
    assert count(without) == 8 * 24 + 24


@pytest.mark.parametrize("length", [1, 2, 4, 5, 11])
def test_one_layer_takes_sequences_of_every_length(length):
    layer = MultiHeadSelfAttention(8, 2, relative_position=RelativePositionLogits1d(4, 4))
    output, own_map = layer(torch.randn(3, length, 8))
    assert (output.shape, own_map.shape) == ((3, length, 8), (3, 2, length, length))
    assert output.isfinite().all()


@pytest.mark.parametrize("name", ["key_size", "value_size"])
@pytest.mark.parametrize("size", [1, 5, 0, -2])
def test_a_width_that_heads_cannot_share_is_refused(name, size):
    with pytest.raises(ValueError, match=f"{name} must be a positive multiple of the 2 heads"):
        MultiHeadSelfAttention(8, 2, **{name: size})
    with pytest.raises(ValueError, match=f"{name} must be a positive multiple of the 2 heads"):
        MultiHeadCrossAttention(8, 8, 2, **{name: size})


def test_an_evolution_of_other_heads_is_refused():
    layer = MultiHeadSelfAttention(8, 2, evolution=EvolvingAttention(4, beta=0.5))
    with pytest.raises(ValueError, match="H = 2"):
        layer(torch.randn(1, 3, 8))
