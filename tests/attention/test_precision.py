import pytest
import torch
from torch.testing import assert_close

from evolving_attention.attention import (
    EvolvingAttention,
    MultiHeadCrossAttention,
    evolving_attention,
    padding_mask,
)
from tests.attention.helpers import WINDOWS, TwoLayers, random_arguments, with_gradients

# Half precision and large numbers


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_comes_back_in_half_precision_and_near_the_truth(dtype, learned):
    arguments = random_arguments()
    share = torch.tensor(0.5) if learned else 0.5
    expected = evolving_attention(**arguments, alpha=share, beta=share)
    halves = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for name, tensor in arguments.items()
    }
    actual = evolving_attention(**halves, alpha=share, beta=share)
    for tensor, wanted in zip(actual, expected, strict=True):
        assert tensor.dtype is dtype
        assert_close(tensor.double(), wanted, rtol=0.05, atol=0.1)


def test_bfloat16_autocast_stays_finite_and_near_the_truth():
    chain = [random_arguments(N=6, dtype=torch.float32) for _ in range(3)]
    for layer in chain:
        layer["mask"] = chain[0]["mask"].clone()
        layer["mask"][0, :, 1] = False
        layer["alpha"], layer["beta"] = torch.tensor(0.3), torch.tensor(0.6)
        del layer["previous_map"]

    def run(layers):
        previous_map, outputs = None, []
        for layer in layers:
            output, previous_map = evolving_attention(**layer, previous_map=previous_map)
            outputs.append(output)
        return torch.stack(outputs), previous_map

    exact = [with_gradients(layer) for layer in chain]
    rounded = [with_gradients(layer) for layer in chain]
    expected = run(exact)
    with torch.autocast("cpu", torch.bfloat16):
        actual = run(rounded)
    assert actual[0].dtype is torch.bfloat16
    assert_close(actual[0].float(), expected[0], rtol=0.05, atol=0.1)
    for output, own_map in (actual, expected):
        (output.float().square().sum() + own_map.float().square().mean()).backward()
    for layer, wanted in zip(rounded, exact, strict=True):
        for name in wanted.keys() - {"mask"}:
            if wanted[name].grad is None:
                assert name == "alpha"
                assert wanted is exact[0]
                continue
            assert layer[name].grad.dtype is torch.float32
            size = wanted[name].grad.abs().max().item()
            assert_close(layer[name].grad, wanted[name].grad, rtol=0.1, atol=0.1 * size)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_large_logits_stay_finite(dtype, window):
    arguments = random_arguments(dtype=dtype)
    for name in ("previous_map", "map_bias"):
        arguments[name] = arguments[name].sign() * 1e4
    for name in ("query_BHNE", "key_BHME"):
        arguments[name] = arguments[name].sign() * 100
    arguments = with_gradients(arguments)
    output, own_map = evolving_attention(**arguments, alpha=0.5, beta=0.5, window=window)
    assert own_map.abs().max() > 5e3
    assert output.isfinite().all()
    (output.sum() + own_map.mean()).backward()
    for name, tensor in arguments.items():
        assert tensor.grad is None or tensor.grad.isfinite().all(), name


def test_float16_holds_logits_whose_unscaled_products_overflow():
    query = torch.full((1, 1, 3, 64), 36.0, dtype=torch.float16)  # 64 * 36^2 = 82944 > 65504
    value = torch.randn(1, 1, 3, 2, dtype=torch.float16)
    output, own_map = evolving_attention(query, query, value)
    assert_close(own_map, torch.full_like(own_map, 82944 / 8))
    assert output.isfinite().all()


def test_a_chain_of_layers_stays_finite_under_bfloat16_autocast():
    model, hidden = TwoLayers(), torch.randn(2, 6, 8)
    mask = padding_mask(torch.tensor([[1] * 6, [1] * 3 + [0] * 3]))
    expected, _ = model(hidden, mask)
    with torch.autocast("cpu", torch.bfloat16):
        output, own_map = model(hidden, mask)
    assert_close(output.float(), expected, rtol=0.05, atol=0.05)
    (output.float().square().sum() + own_map.float().square().sum()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), name
    for name in ("alpha", "beta"):
        assert getattr(model.second.evolution, name).grad != 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_a_chain_of_layers_runs_in_the_dtype_it_is_cast_to(dtype):
    output, own_map = TwoLayers().to(dtype)(torch.randn(2, 5, 8, dtype=dtype))
    assert output.dtype is own_map.dtype is dtype
    assert output.isfinite().all()


# Uninitialised memory


def test_the_output_does_not_depend_on_uninitialised_memory(request):
    arguments = random_arguments(dtype=torch.float32)
    arguments["mask"][0, :, 1] = False

    def run():
        tensors = with_gradients(arguments)
        output, own_map = evolving_attention(**tensors, alpha=0.5, beta=0.5, window="cross")
        (output.square().sum() + own_map.square().sum()).backward()
        return [output, own_map, *(each.grad for each in tensors.values() if each.requires_grad)]

    expected = run()
    request.getfixturevalue("poisoned_memory")
    assert torch.empty(2).isnan().all()
    assert torch.zeros(2).new_empty(2).isnan().all()
    for actual, wanted in zip(run(), expected, strict=True):
        assert_close(actual, wanted)


def test_modules_made_in_poisoned_memory_hold_no_nan(poisoned_memory):
    modules = [
        TwoLayers(),
        EvolvingAttention(
            2, beta=0.5, activation="identity", initialization="identity", learned_mixing=True
        ),
        MultiHeadCrossAttention(8, 7, 2, output_size=3),
    ]
    for module in modules:
        for name, parameter in module.named_parameters():
            assert parameter.isfinite().all(), name


def test_modules_do_not_read_uninitialised_memory(request):
    torch.manual_seed(3)
    expected = TwoLayers()(torch.ones(2, 5, 8))
    request.getfixturevalue("poisoned_memory")
    torch.manual_seed(3)
    assert_close(TwoLayers()(torch.ones(2, 5, 8)), expected)
