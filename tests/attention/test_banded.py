"""The CPU backend against the reference: outputs and all gradients."""

from functools import partial
from itertools import product

import pytest
import torch
from peak_memory import peak_allocated
from torch.testing import assert_close

from evolving_attention.attention import attention_backend, evolving_attention, explain_backend
from evolving_attention.attention.kernels.banded import arguments as plans
from evolving_attention.attention.kernels.banded import threads
from tests.attention.helpers import (
    ACTIVATIONS,
    WINDOWS,
    plain_arguments,
    random_arguments,
    with_gradients,
)

EXACT = {"rtol": 1e-11, "atol": 1e-12}
SHARES = {"alpha": torch.tensor(0.3), "beta": torch.tensor(0.6)}


def layer(missing=(), **sizes):
    """Random arguments with learned shares, some left out, rows with nothing to attend to."""
    arguments = random_arguments(**sizes)
    arguments["mask"][..., 1:2, :] = False
    dtype = arguments["query_BHNE"].dtype
    arguments |= {name: share.to(dtype) for name, share in SHARES.items()}
    return {name: each for name, each in arguments.items() if name not in missing}


def results(arguments, backend, use=("output", "map"), **options):
    """Output, map and gradients, of sums weighted alike for all backends."""
    given = with_gradients(arguments)
    outputs = dict(
        zip(("output", "map"), evolving_attention(**given, **options, backend=backend), strict=True)
    )
    generator = torch.Generator().manual_seed(1)
    weighted = [
        (outputs[name] * torch.randn(outputs[name].shape, generator=generator).to(outputs[name]))
        for name in use
    ]
    torch.stack([each.sum() for each in weighted]).sum().backward()
    gradients = {f"gradient of {name}": tensor.grad for name, tensor in given.items()}
    return {name: each.detach() for name, each in outputs.items()} | gradients


def assert_agrees(arguments, tolerance=EXACT, **options):
    expected = results(arguments, "reference", **options)
    actual = results(arguments, "banded", **options)
    for name, wanted in expected.items():
        if wanted is None:  # no gradient is as good as one of zeros
            assert actual[name] is None or not actual[name].any(), name
            continue
        assert_close(
            actual[name],
            wanted,
            **tolerance,
            msg=lambda text, name=name: f"{name} of {sorted(arguments)}, {options}: {text}",
        )


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("window", WINDOWS)
def test_outputs_and_every_gradient_are_the_references(window, kernel_size, activation):
    optional = ("previous_map", "bias", "mask", "map_bias")
    for count, left_out in enumerate(product([False, True], repeat=4)):
        missing = {name for name, out in zip(optional, left_out, strict=True) if out}
        sizes = {"H": 2 + count % 4, "N": 7 + count, "M": 40 - 2 * count, "E": 3, "V": 5}
        arguments = layer(missing, **sizes, K=kernel_size)
        assert_agrees(arguments, window=window, activation=activation)


def test_without_a_convolution_it_agrees_too():
    for missing in ([], ["previous_map"], ["mask", "map_bias"]):
        assert_agrees(layer(["weight", "bias", *missing], N=20, M=33), scale=0.7)


@pytest.mark.parametrize("lengths", [(1, 1), (1, 50), (50, 1), (16, 16), (15, 17), (64, 48)])
@pytest.mark.parametrize("window", WINDOWS)
def test_any_lengths_agree_also_in_several_bands(window, lengths, monkeypatch):
    N, M = lengths
    for fewest in (4, 32):
        monkeypatch.setattr(plans, "BAND", 1)
        monkeypatch.setattr(plans, "FEWEST_ROWS", fewest)
        plans.plan_for.cache_clear()
        assert_agrees(layer(N=N, M=M), window=window)
    plans.plan_for.cache_clear()


@pytest.mark.parametrize(("alpha", "beta"), list(product([0.0, 0.4, 1.0], repeat=2)))
def test_any_shares_agree_fixed_or_learned(alpha, beta):
    arguments = layer(["alpha", "beta"], N=9, M=10)
    assert_agrees(arguments, alpha=alpha, beta=beta)
    learned = {"alpha": torch.tensor(alpha), "beta": torch.tensor(beta)}
    assert_agrees(arguments | {name: share.double() for name, share in learned.items()})


@pytest.mark.parametrize("use", [["output"], ["map"]])
def test_a_result_that_nobody_uses_gives_no_gradient(use):
    assert_agrees(layer(N=9, M=10), use=use)


@pytest.mark.parametrize("threaded", [2, 5])
def test_threads_agree_with_one_another_and_with_the_reference(threaded, monkeypatch):
    monkeypatch.setattr(threads, "WORTH_A_THREAD", 1)
    monkeypatch.setattr(threads, "FEWEST_ROWS", 3)
    monkeypatch.setattr(threads.torch, "get_num_threads", lambda: threaded)
    chunks, parts = threads.chunks_of(2, 13, 10**6)
    assert len(chunks) == 2 * parts
    assert parts == -(-threaded // 2)
    for window in WINDOWS:
        arguments = layer(N=13, M=20)
        assert_agrees(arguments, window=window)
        first, second = (results(arguments, "banded", window=window) for _ in range(2))
        for name, tensor in first.items():
            assert tensor is second[name] is None or torch.equal(tensor, second[name]), name


def test_gradcheck_passes_beside_empty_rows():
    arguments = layer(H=2, N=3, M=4)
    mask = arguments.pop("mask")
    names = tuple(arguments)

    def attend(*tensors):
        given = dict(zip(names, tensors, strict=True))
        return evolving_attention(**given, mask=mask, activation="leaky_relu", backend="banded")

    assert torch.autograd.gradcheck(attend, tuple(with_gradients(arguments).values()))


@pytest.mark.parametrize("shape", [(), (1,), (33,), (20, 1), (2, 1, 33), (2, 1, 20, 33)], ids=str)
def test_masks_and_biases_that_broadcast_agree(shape):
    arguments = layer(B=2, H=2, N=20, M=33)
    arguments["mask"] = torch.rand(shape) < 0.7
    arguments["map_bias"] = torch.randn(shape, dtype=torch.float64)
    assert_agrees(arguments)


def test_inputs_of_any_layout_agree():
    def strided(tensor):
        return tensor.movedim(0, -1).contiguous().movedim(-1, 0)

    arguments = layer(N=20, M=33)
    laid_out = {name: strided(each) if each.dim() else each for name, each in arguments.items()}
    assert not laid_out["previous_map"].is_contiguous()
    for name, tensor in results(arguments, "banded").items():
        if tensor is not None:
            assert_close(results(laid_out, "banded")[name], tensor, **EXACT)


def test_float32_is_as_near_to_float64_as_the_references_float32():
    exact = layer(["mask"], B=3, H=4, N=40, M=50, E=4, V=4)
    rounded = {name: tensor.float() for name, tensor in exact.items()}
    truth = results(exact, "reference")
    errors = {}
    for backend in ("reference", "banded"):
        errors[backend] = {
            name: (tensor - truth[name]).abs().max() / truth[name].abs().max()
            for name, tensor in results(rounded, backend).items()
        }
    for name, error in errors["banded"].items():
        assert error < 3 * errors["reference"][name] + 2e-6, name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32_and_rounded_at_the_end(dtype):
    half = {
        name: tensor if name == "mask" else tensor.to(dtype)
        for name, tensor in layer(N=20, M=33).items()
    }
    wide = {name: t if name == "mask" else t.float() for name, t in half.items()}
    actual = evolving_attention(**half, backend="banded")
    expected = evolving_attention(**wide, backend="banded")
    for left, right in zip(actual, expected, strict=True):
        assert left.dtype is dtype
        assert torch.equal(left, right.to(dtype))


@pytest.mark.usefixtures("poisoned_memory")
def test_uninitialised_memory_is_never_read():
    arguments = layer(N=20, M=33, dtype=torch.float32)
    arguments["previous_map"] = arguments["previous_map"].masked_fill(~arguments["mask"], 1e30)
    for name, tensor in results(arguments, "banded").items():
        assert tensor is None or tensor.isfinite().all(), name
    output, own_map = evolving_attention(**arguments, backend="banded")
    assert (output[~arguments["mask"].any(-1)] == 0).all()
    assert (own_map[~arguments["mask"]] == 0).all()


def test_not_a_number_is_passed_on():
    arguments = layer(["mask"], N=9, M=20)
    arguments["query_BHNE"][0, 0, 4] = torch.nan
    output, own_map = evolving_attention(**arguments, backend="banded")
    expected, expected_map = evolving_attention(**arguments, backend="reference")
    assert torch.equal(output.isnan(), expected.isnan())
    assert torch.equal(own_map.isnan(), expected_map.isnan())


def test_a_bit_an_entry_and_two_numbers_a_row_are_kept_beside_arguments_and_results():
    for activation, bits in (("relu", 1), ("identity", 0)):
        arguments = with_gradients(layer(["mask"], B=3, N=64, M=128, dtype=torch.float32))
        kept = {}

        def note(tensor, kept=kept):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            results = evolving_attention(**arguments, activation=activation, backend="banded")
        for tensor in (*arguments.values(), *results):
            kept.pop(tensor.untyped_storage().data_ptr(), None)
        rows = 3 * 2 * 64
        assert sum(kept.values()) <= rows * (2 * 4 + bits * 128 // 8) + 128


def test_inference_keeps_nothing_for_gradients_that_parameters_could_have():
    arguments = layer(["mask"], B=3, N=64, M=128, dtype=torch.float32)

    def infer(given):
        with torch.no_grad():
            evolving_attention(**given, backend="banded")

    infer(arguments)
    expected, actual = (
        peak_allocated(partial(infer, given)) for given in (arguments, with_gradients(arguments))
    )
    assert actual == expected


# Dropout


def test_dropout_drops_its_share_and_keeps_the_mean():
    arguments = plain_arguments(layer(B=4, H=4, N=50, M=60))
    arguments["value_BHMV"] = torch.ones_like(arguments["value_BHMV"])
    options = {"dropout": 0.25, "training": True, "backend": "banded"}
    mean = torch.stack(
        [evolving_attention(**arguments, **options)[0].mean() for _ in range(20)]
    ).mean()
    assert abs(mean - 1) < 0.02
    arguments["query_BHNE"] = torch.zeros_like(arguments["query_BHNE"])
    kept = evolving_attention(**arguments, **options)[0][..., 0] * 60 * 0.75
    assert_close(kept, kept.round())  # every probability is 1 / 60, and there or not
    assert abs(kept.mean() / 60 - 0.75) < 0.02


def test_dropout_follows_the_seed_also_in_the_backward_pass():
    arguments = layer(H=2, N=3, M=4)
    mask = arguments.pop("mask")
    names = tuple(arguments)

    def attend(*tensors):
        torch.manual_seed(5)
        given = dict(zip(names, tensors, strict=True))
        options = {"activation": "identity", "dropout": 0.4, "training": True}
        return evolving_attention(**given, mask=mask, **options, backend="banded")

    assert torch.autograd.gradcheck(attend, tuple(with_gradients(arguments).values()))
    whole = layer(N=30, M=30)
    options = {"training": True, "backend": "banded"}
    seeded = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        seeded.append(evolving_attention(**whole, dropout=0.5, **options)[0])
    assert torch.equal(seeded[0], seeded[1])
    assert not torch.equal(seeded[0], seeded[2])
    assert (evolving_attention(**whole, dropout=1.0, **options)[0] == 0).all()


def test_checkpointing_drops_the_same_again():
    arguments = with_gradients(layer(N=30, M=30))

    def attend():
        return evolving_attention(**arguments, dropout=0.5, training=True, backend="banded")[0]

    gradients = []
    for run in (attend, lambda: torch.utils.checkpoint.checkpoint(attend, use_reentrant=False)):
        torch.manual_seed(3)
        gradients.append(torch.autograd.grad(run().sum(), arguments["query_BHNE"])[0])
    assert torch.equal(*gradients)


# What it refuses


def test_a_second_derivative_is_refused_in_words():
    arguments = with_gradients(layer(N=9, M=10))
    output, _ = evolving_attention(**arguments, backend="banded")
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(output.sum(), arguments["query_BHNE"], create_graph=True)


def test_batches_of_gradients_are_refused_in_words():
    arguments = with_gradients(layer(N=9, M=10))
    output, _ = evolving_attention(**arguments, backend="banded")
    several = torch.randn(3, *output.shape, dtype=output.dtype)
    with pytest.raises(RuntimeError, match="no batches of gradients"):
        torch.autograd.grad(output, arguments["query_BHNE"], several, is_grads_batched=True)


def test_the_default_device_does_not_matter():
    arguments = layer(N=11, M=13)  # sizes of no other test: plans are kept
    expected = evolving_attention(**arguments, backend="reference")
    with torch.device("meta"):
        found = evolving_attention(**arguments, backend="banded")
        evolving_attention(**arguments, dropout=0.5, training=True, backend="banded")
    assert_close(found, expected)


def test_transforms_and_autocast_are_left_to_the_reference():
    query = torch.randn(4, 2, 64, 4)
    stack = torch.randn(3, 4, 2, 64, 4)
    weight = torch.randn(2, 2, 3, 3)

    def attend(states):
        return evolving_attention(states, states, states, None, weight, beta=0.5)[0]

    assert explain_backend(query, query, query, None, weight, beta=0.5).name == "banded"
    assert_close(torch.vmap(attend)(stack), torch.stack([attend(states) for states in stack]))
    with attention_backend("reference"):
        expected = torch.func.jvp(attend, (query,), (query,))
    assert_close(torch.func.jvp(attend, (query,), (query,)), expected)
    with torch.autocast("cpu", torch.bfloat16):
        choice = explain_backend(query, query, query, None, weight, beta=0.5)
    assert choice.name == "reference"
    assert "autocast" in choice.passed_over["banded"]
    with (
        pytest.raises(ValueError, match="cannot be used here: under autocast"),
        torch.autocast("cpu", torch.bfloat16),
    ):
        evolving_attention(query, query, query, backend="banded")


def test_an_empty_batch_is_left_to_the_reference():
    query = torch.randn(0, 2, 64, 4)
    assert explain_backend(query, query, query).passed_over["banded"] == "the batch is empty."
    assert evolving_attention(query, query, query)[0].shape == query.shape


@pytest.mark.parametrize("order", [(2, 0, 1, 3), (0, 2, 1, 3), (1, 0, 2, 3), (3, 2, 1, 0)], ids=str)
def test_a_bias_whose_rows_lie_in_another_order_is_read_where_it_is(order):
    arguments = layer(B=2, H=3, N=40, M=33)
    laid_out = arguments["map_bias"].expand(2, 3, 40, 33)
    back = [order.index(dimension) for dimension in range(4)]
    arguments["map_bias"] = laid_out.permute(order).contiguous().permute(back)
    assert not arguments["map_bias"].is_contiguous()
    assert_agrees(arguments)
    no_copy = arguments["map_bias"].stride(3) == 1
    flat, steps = plans.strided_rows_of(arguments["map_bias"], torch.zeros(1, 1, 1, 33).numpy())
    assert (flat.ctypes.data == arguments["map_bias"].data_ptr()) is no_copy
    assert flat[1 * steps[0] + 2 * steps[1] + 5 * steps[2]] == arguments["map_bias"][1, 2, 5, 0]
