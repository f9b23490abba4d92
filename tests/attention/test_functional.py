import copy
import doctest
import importlib
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from evolving_attention.attention import (
    EvolvingAttention,
    causal_mask,
    evolve_map,
    evolving_attention,
    probabilities,
)
from evolving_attention.attention.backends import BACKENDS, Backend
from tests.attention.helpers import (
    ACTIVATIONS,
    WINDOWS,
    attend_by_entry,
    plain_arguments,
    random_arguments,
    with_gradients,
)

EXACT = {"rtol": 1e-10, "atol": 1e-12}

#: Those that take float64; the others have tests of their own.
EXACT_BACKENDS = [name for name in BACKENDS if name != "triton"]
OPTIONAL = ("previous_map", "bias", "mask", "map_bias")


def assert_agrees_with_the_loop(arguments, **options):
    expected = attend_by_entry(**arguments, **{k: v for k, v in options.items() if k != "backend"})
    actual = evolving_attention(**arguments, **options)
    given = sorted(arguments)
    for name, left, right in zip(("output", "map"), actual, expected, strict=True):
        assert_close(
            left,
            right,
            **EXACT,
            msg=lambda text, name=name: f"{name} of {given}, {options}: {text}",
        )


# The equations


@pytest.mark.parametrize("backend", EXACT_BACKENDS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("window", WINDOWS)
def test_output_and_map_are_those_of_a_loop_over_entries(window, kernel_size, activation, backend):
    arguments = random_arguments(B=1, N=5, M=6, K=kernel_size)
    arguments["mask"][..., 2, :] = False
    shares = [(0.3, 0.6), (torch.tensor(0.3), torch.tensor(0.6, dtype=torch.float64))]
    for left_out, (alpha, beta) in product(product([False, True], repeat=4), shares):
        missing = {name for name, out in zip(OPTIONAL, left_out, strict=True) if out}
        assert_agrees_with_the_loop(
            {name: tensor for name, tensor in arguments.items() if name not in missing},
            alpha=alpha,
            beta=beta,
            activation=activation,
            window=window,
            backend=backend,
        )


@pytest.mark.parametrize(("N", "M"), [(1, 1), (1, 5), (5, 1), (2, 7), (7, 2), (6, 6)])
@pytest.mark.parametrize("window", WINDOWS)
def test_any_numbers_of_queries_and_keys_agree_with_the_loop(window, N, M):
    arguments = random_arguments(N=N, M=M, K=5)
    assert_agrees_with_the_loop(arguments, alpha=0.5, beta=0.5, window=window)


@pytest.mark.parametrize(("alpha", "beta"), list(product([0.0, 0.4, 1.0], repeat=2)))
def test_any_shares_agree_with_the_loop(alpha, beta):
    arguments = random_arguments()
    for kind in (float, lambda share: torch.tensor(share, dtype=torch.float64)):
        assert_agrees_with_the_loop(arguments, alpha=kind(alpha), beta=kind(beta), scale=0.7)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(
    sizes=st.fixed_dictionaries(
        {
            "B": st.integers(1, 2),
            "H": st.integers(1, 3),
            "N": st.integers(1, 6),
            "M": st.integers(1, 6),
            "E": st.integers(1, 3),
            "V": st.integers(1, 3),
            "K": st.sampled_from([1, 3, 5]),
        }
    ),
    window=st.sampled_from(WINDOWS),
    activation=st.sampled_from(ACTIVATIONS),
    missing=st.sets(st.sampled_from([*OPTIONAL, "weight"])),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    mask_spans=st.tuples(*[st.booleans()] * 4),
    density=st.sampled_from([0.0, 0.2, 0.6, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_shapes_masks_and_windows_agree_with_the_loop(
    sizes, window, activation, missing, shares, mask_spans, density, seed
):
    torch.manual_seed(seed)
    arguments = random_arguments(**sizes)
    map_shape = arguments["previous_map"].shape
    mask_shape = [size if span else 1 for size, span in zip(map_shape, mask_spans, strict=True)]
    arguments["mask"] = torch.rand(mask_shape) < density
    if "weight" in missing:
        missing.add("bias")
    assert_agrees_with_the_loop(
        {name: tensor for name, tensor in arguments.items() if name not in missing},
        alpha=shares[0],
        beta=shares[1],
        window=window,
        activation=activation,
    )


# Gradients


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("window", WINDOWS)
def test_every_gradient_is_right_also_beside_empty_rows(window, activation):
    arguments = random_arguments(N=3, M=4)
    mask = arguments.pop("mask")
    mask[0, :, 1] = False
    mask[1] = False
    arguments["alpha"] = torch.tensor(0.3, dtype=torch.float64)
    arguments["beta"] = torch.tensor(0.6, dtype=torch.float64)
    names = tuple(arguments)

    def attend(*tensors):
        return evolving_attention(
            **dict(zip(names, tensors, strict=True)),
            mask=mask,
            window=window,
            activation=activation,
        )

    assert torch.autograd.gradcheck(attend, tuple(with_gradients(arguments).values()))


def test_gradients_of_a_broadcast_map_bias_are_right():
    arguments = plain_arguments(random_arguments(N=3, M=4))
    map_bias = torch.randn(2, 1, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda bias: evolving_attention(**arguments, map_bias=bias), (map_bias,)
    )


# Special cases


@pytest.mark.parametrize("masked", [False, True])
def test_without_shares_it_is_scaled_dot_product_attention(masked):
    arguments = random_arguments()
    plain = plain_arguments(arguments)
    mask = arguments["mask"] if masked else None
    expected = F.scaled_dot_product_attention(*plain.values(), attn_mask=mask)
    output, _ = evolving_attention(**plain, mask=mask)
    assert_close(output, expected, **EXACT)
    output, _ = evolving_attention(**plain, mask=mask, scale=0.2)
    expected = F.scaled_dot_product_attention(*plain.values(), attn_mask=mask, scale=0.2)
    assert_close(output, expected, **EXACT)


@pytest.mark.parametrize("zero", [0.0, torch.tensor(0.0)], ids=["float", "tensor"])
def test_shares_of_zero_leave_the_map_as_it_was_to_the_bit(zero):
    arguments = {name: each.float() for name, each in random_arguments().items() if name != "mask"}
    plain_output, plain_map = evolving_attention(
        **plain_arguments(arguments), map_bias=arguments["map_bias"]
    )
    output, own_map = evolving_attention(**arguments, alpha=zero, beta=zero)
    assert torch.equal(own_map, plain_map)
    assert torch.equal(output, plain_output)


def test_without_a_share_of_the_convolution_it_is_a_residual_between_maps():
    arguments = random_arguments()
    query, key, _ = plain_arguments(arguments).values()
    logits = torch.einsum("bhne,bhme->bhnm", query, key) / 3**0.5
    expected = 0.3 * arguments["previous_map"] + 0.7 * logits
    for extra in ({}, {"weight": arguments["weight"], "bias": arguments["bias"]}):
        _, own_map = evolving_attention(
            **plain_arguments(arguments),
            previous_map=arguments["previous_map"],
            **extra,
            alpha=0.3,
            beta=0.0,
        )
        assert_close(own_map, expected, **EXACT)


def test_alpha_counts_for_nothing_without_a_previous_map():
    arguments = random_arguments()
    del arguments["previous_map"]
    _, own_map = evolving_attention(**arguments, alpha=0.9, beta=0.5)
    _, expected = evolving_attention(**arguments, alpha=0.0, beta=0.5)
    assert torch.equal(own_map, expected)


@pytest.mark.parametrize("window", WINDOWS)
def test_a_kernel_of_one_makes_talking_heads_on_the_logits(window):
    arguments = random_arguments(H=3, K=1)
    query, key, value = plain_arguments(arguments).values()
    weight, bias = arguments["weight"], arguments["bias"]
    logits = torch.einsum("bhne,bhme->bhnm", query, key) / 3**0.5
    talked = torch.einsum("gh,bhnm->bgnm", weight[:, :, 0, 0], logits) + bias[:, None, None]
    output, own_map = evolving_attention(
        query,
        key,
        value,
        arguments["previous_map"],
        weight,
        bias,
        alpha=0.0,
        beta=1.0,
        activation="identity",
        window=window,
    )
    assert_close(own_map, talked, **EXACT)
    assert_close(output, talked.softmax(-1) @ value, **EXACT)


@pytest.mark.parametrize("backend", ["auto", *EXACT_BACKENDS])
def test_row_by_row_with_two_rows_kept_is_the_full_pass(backend):
    length, layers, alpha, beta = 7, 3, 0.3, 0.6
    chain = [random_arguments(N=length, M=length) for _ in range(layers)]
    options = {"alpha": alpha, "beta": beta, "window": "causal"}
    full_maps, previous_map = [], None
    for layer in chain:
        _, previous_map = evolving_attention(
            **plain_arguments(layer),
            previous_map=previous_map,
            weight=layer["weight"],
            bias=layer["bias"],
            mask=causal_mask(length),
            backend=backend,
            **options,
        )
        full_maps.append(previous_map)

    kept = [torch.zeros(2, 2, 0, 0, dtype=torch.float64) for _ in chain]
    for i in range(length):
        previous_row = None
        for depth, layer in enumerate(chain):
            query, key, _ = plain_arguments(layer).values()
            logits = query[:, :, i : i + 1] @ key[:, :, : i + 1].mT / 3**0.5
            mixed_row = evolve_map(logits, previous_row, alpha=alpha)
            rows_above = F.pad(kept[depth], (0, i + 1 - kept[depth].shape[-1]))
            mixed = torch.cat((rows_above, mixed_row), dim=-2)
            evolved = evolve_map(mixed, None, layer["weight"], layer["bias"], **options)
            previous_row, kept[depth] = evolved[:, :, -1:], mixed[:, :, -2:]
            assert_close(previous_row, full_maps[depth][:, :, i : i + 1, : i + 1], **EXACT)


# Masks


@pytest.mark.parametrize("size", [1.0, 1e4])
@pytest.mark.parametrize("window", WINDOWS)
def test_a_query_with_nothing_to_attend_to_gets_zeros_and_finite_gradients(window, size):
    arguments = random_arguments(dtype=torch.float32)
    arguments["previous_map"] *= size
    arguments["map_bias"] *= size
    arguments["mask"][0, :, 1:3] = False
    arguments["mask"][1, 0] = False
    arguments = with_gradients(arguments)
    output, own_map = evolving_attention(**arguments, alpha=0.5, beta=0.5, window=window)
    empty = ~arguments["mask"].any(-1)
    assert (output[empty] == 0).all()
    assert (output[~empty] != 0).all()
    with torch.autograd.set_detect_anomaly(True):  # not even on the way
        (output.square().sum() + own_map.square().sum()).backward()
    for name, tensor in arguments.items():
        assert tensor.grad is None or tensor.grad.isfinite().all(), name
    assert (arguments["query_BHNE"].grad[empty] == 0).all()


@pytest.mark.parametrize("convolved", [False, True])
def test_the_map_is_exactly_zero_where_masked_and_only_there(convolved):
    arguments = random_arguments()
    mask = arguments["mask"]
    if not convolved:
        del arguments["weight"], arguments["bias"]
    _, own_map = evolving_attention(
        **arguments, alpha=0.5, beta=0.5, activation="leaky_relu", window="causal"
    )
    assert ((own_map == 0) == ~mask).all()


def test_what_a_previous_map_holds_where_masked_is_never_read():
    arguments = random_arguments()
    options = {"alpha": 0.5, "beta": 0.5}
    expected = evolving_attention(**arguments, **options)
    arguments["previous_map"] = arguments["previous_map"].masked_fill(~arguments["mask"], 1e30)
    for actual, wanted in zip(evolving_attention(**arguments, **options), expected, strict=True):
        assert torch.equal(actual, wanted)


@pytest.mark.parametrize(
    "shape",
    [
        *[(), (1,), (6,), (1, 6), (5, 1), (5, 6), (2, 1, 1), (2, 5, 6)],
        *product((1, 2), (1, 2), (1, 5), (1, 6)),
    ],
    ids=str,
)
def test_a_mask_of_any_broadcastable_shape_agrees_with_the_whole_mask(shape):
    arguments = random_arguments(B=2, H=2, N=5, M=6)
    for mask in (torch.rand(shape) < 0.5, torch.ones(shape).bool(), torch.zeros(shape).bool()):
        small = with_gradients(arguments | {"mask": mask})
        whole = with_gradients(arguments | {"mask": mask.expand(2, 2, 5, 6)})
        actual, expected = (
            evolving_attention(**each, alpha=0.5, beta=0.5) for each in (small, whole)
        )
        assert_close(actual, expected, **EXACT)
        actual[0].sum().backward()
        expected[0].sum().backward()
        for name in ("query_BHNE", "previous_map", "weight", "bias", "map_bias"):
            assert_close(small[name].grad, whole[name].grad, **EXACT)


@pytest.mark.parametrize(
    "shape", [(), (6,), (5, 1), (2, 1, 6), (1, 2, 1, 1), (2, 1, 5, 1)], ids=str
)
def test_a_map_bias_of_any_broadcastable_shape_agrees_with_the_whole_one(shape):
    arguments = random_arguments(B=2, H=2, N=5, M=6)
    map_bias = torch.randn(shape, dtype=torch.float64)
    actual, expected = (
        evolving_attention(**arguments | {"map_bias": each}, alpha=0.5, beta=0.5)
        for each in (map_bias, map_bias.expand(2, 2, 5, 6))
    )
    assert_close(actual, expected, **EXACT)


def test_probabilities_sum_to_one_or_to_nothing():
    mask = random_arguments()["mask"]
    mask[0, 0, 1] = False
    for size in (1.0, 1e4, 1e38):
        own_map = (torch.randn(2, 2, 5, 6).sign() * size).requires_grad_()
        shares = probabilities(own_map, mask)
        assert_close(shares.sum(-1), mask.any(-1).float())
        assert (shares[~mask] == 0).all()
        shares.square().sum().backward()
        assert own_map.grad.isfinite().all()


# Memory layouts


def transposed(tensor):
    return tensor.movedim(0, -1).contiguous().movedim(-1, 0)


def sliced(tensor):
    return torch.stack((tensor, torch.zeros_like(tensor)), dim=-1)[..., 0]


def expanded(tensor):
    return tensor[:1].clone().expand(tensor.shape)


@pytest.mark.parametrize("layout", [transposed, sliced, expanded])
def test_inputs_of_any_layout_agree_with_contiguous_ones(layout):
    arguments = {name: layout(tensor) for name, tensor in random_arguments().items()}
    arguments["query_BHNE"], arguments["weight"] = (
        arguments[name].detach().requires_grad_() for name in ("query_BHNE", "weight")
    )
    assert not arguments["previous_map"].is_contiguous()
    contiguous = with_gradients({name: tensor.contiguous() for name, tensor in arguments.items()})
    actual = evolving_attention(**arguments, alpha=0.5, beta=0.5)
    expected = evolving_attention(**contiguous, alpha=0.5, beta=0.5)
    assert_close(actual, expected, **EXACT)
    for output, own_map in (actual, expected):
        (output.square().sum() + own_map.square().sum()).backward()
    for name in ("query_BHNE", "weight"):
        assert_close(arguments[name].grad, contiguous[name].grad, **EXACT)


def test_inputs_are_left_as_they_were():
    arguments = random_arguments()
    before = copy.deepcopy(arguments)
    evolving_attention(**arguments, alpha=0.5, beta=0.5)
    for name, tensor in arguments.items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("convolved", [False, True])
def test_making_a_map_leaves_the_logits_and_the_previous_map_as_they_were(convolved):
    arguments = random_arguments()
    logits, mask = torch.randn(2, 2, 5, 6), arguments["mask"]
    kernel = arguments["weight"].float() if convolved else None
    for previous_map in (None, torch.randn(2, 2, 5, 6)):
        before = copy.deepcopy((logits, previous_map))
        probabilities(evolve_map(logits, previous_map, kernel, beta=0.5, mask=mask), mask)
        assert_close((logits, previous_map), before, rtol=0.0, atol=0.0)


# Dropout


def test_dropout_does_nothing_outside_training():
    arguments = random_arguments()
    expected = evolving_attention(**arguments, alpha=0.5, beta=0.5)
    actual = evolving_attention(**arguments, alpha=0.5, beta=0.5, dropout=0.5, training=False)
    for left, right in zip(actual, expected, strict=True):
        assert torch.equal(left, right)


def test_dropout_in_training_drops_probabilities_and_scales_the_others():
    arguments = random_arguments(N=20, M=30)
    arguments["value_BHMV"] = torch.eye(30, dtype=torch.float64).expand(2, 2, 30, 30)
    kept, own_map = evolving_attention(**arguments, alpha=0.5, beta=0.5)
    dropped, same_map = evolving_attention(
        **arguments, alpha=0.5, beta=0.5, dropout=0.25, training=True
    )
    assert torch.equal(own_map, same_map)
    gone = (dropped == 0) & (kept != 0)
    assert_close(dropped, (kept / 0.75).masked_fill(gone, 0.0), **EXACT)
    assert 0.2 < gone.sum() / (kept != 0).sum() < 0.3


def test_dropout_with_the_same_seed_is_the_same():
    arguments = random_arguments()
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(evolving_attention(**arguments, dropout=0.5, training=True)[0])
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_dropout_of_everything_leaves_zeros():
    output, _ = evolving_attention(**random_arguments(), dropout=1.0, training=True)
    assert (output == 0).all()


# Backends and documentation


def test_a_backend_is_called_by_its_name_and_auto_is_one_of_them(monkeypatch):
    called = []
    for name in [*BACKENDS, "ours"]:
        backend = Backend(lambda *_, name=name, **__: called.append(name))
        monkeypatch.setitem(BACKENDS, name, backend)
    plain = plain_arguments(random_arguments())
    for backend in ("ours", "reference", "auto"):
        evolving_attention(**plain, backend=backend)
    EvolvingAttention(2, backend="ours")(*plain.values())
    assert called[:2] == ["ours", "reference"]
    assert called[2] in BACKENDS.keys() - {"ours"}
    assert called[3:] == ["ours"]


def test_the_examples_of_the_docstrings_hold():
    module = importlib.import_module("evolving_attention.attention.functional")
    failed, attempted = doctest.testmod(module)
    assert (failed, attempted > 0) == (0, True)
