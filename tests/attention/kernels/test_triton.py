"""The Triton kernels, on a GPU or else in Triton's interpreter, held to the reference in float64.

``tests/conftest.py`` switches the interpreter on where there is no GPU.
"""

import pytest
import torch
from torch.testing import assert_close

pytest.importorskip("triton")

from evolving_attention.attention import (
    attention_backend,
    causal_mask,
    evolving_attention,
    explain_backend,
    padding_mask,
)
from evolving_attention.attention.kernels.triton import arguments as settings
from evolving_attention.attention.kernels.triton import operator, refusal
from tests.attention.helpers import plain_arguments, random_arguments

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:triton")
FLOAT32 = {"rtol": 2e-5, "atol": 2e-5}


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch):
    """Several tiles in both directions already for maps of 17 by 19."""
    monkeypatch.setattr(settings, "TILES", settings.Tiles(attention=(32, 16)))


def arguments_of(*left_out, B=1, H=3, N=17, M=19, E=5, V=6, K=3, dtype=torch.float32, mask=None):
    arguments = random_arguments(B, H, N, M, E, V, K, dtype)
    arguments["weight"] /= H**0.5
    arguments |= {"alpha": torch.tensor(0.3), "beta": torch.tensor(0.6)}
    if mask is not None:
        arguments["mask"] = mask
    kept = {name: each.to(DEVICE) for name, each in arguments.items() if name not in left_out}
    return {
        name: tensor.requires_grad_(tensor.is_floating_point()) for name, tensor in kept.items()
    }


def differentiate(arguments, attend=evolving_attention, seeds=(1, 2), **options):
    """Return output, map and all gradients of a random product with both."""
    output, own_map = attend(**arguments, **options)
    loss = 0
    for seed, tensor in zip(seeds, (output, own_map), strict=True):
        if seed is not None:
            generator = torch.Generator().manual_seed(seed)
            arriving = torch.randn(tensor.shape, generator=generator).to(tensor)
            loss = loss + (tensor * arriving).sum()
    wanted = {name: each for name, each in arguments.items() if each.requires_grad}
    gradients = torch.autograd.grad(loss, wanted.values(), allow_unused=True)
    named = {f"gradient of {name}": g for name, g in zip(wanted, gradients, strict=True)}
    return {"output": output, "map": own_map} | named


def widened(arguments):
    return {
        name: tensor.detach().double().requires_grad_() if tensor.is_floating_point() else tensor
        for name, tensor in arguments.items()
    }


def assert_agrees(arguments, tolerance=FLOAT32, seeds=(1, 2), **options):
    actual = differentiate(arguments, seeds=seeds, backend="triton", **options)
    expected = differentiate(widened(arguments), seeds=seeds, backend="reference", **options)
    for name, wanted in expected.items():
        if wanted is None:  # zeros are as good
            assert actual[name] is None or not actual[name].any(), name
            continue
        found = actual[name].double()
        assert_close(found, wanted, **tolerance, msg=lambda text, name=name: f"{name}: {text}")
    return actual


def random_mask(*shape):
    mask = torch.rand(shape) < 0.7
    mask[..., -1:, :] = False  # a query with nothing to attend to
    return mask


def lengths_mask(*lengths):
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


# The equations


@pytest.mark.parametrize(
    ("window", "activation", "K", "mask"),
    [
        ("bidirectional", "relu", 3, lambda: random_mask(2, 3, 17, 19)),
        ("causal", "leaky_relu", 3, lambda: torch.ones(17, 19).tril().bool()),
        ("cross", "identity", 3, lambda: padding_mask(lengths_mask(17, 9), lengths_mask(19, 4))),
        ("bidirectional", "leaky_relu", 5, lambda: random_mask(17, 19)),
        ("causal", "relu", 5, lambda: None),
        ("cross", "leaky_relu", 5, lambda: random_mask(3, 17, 1)),
        ("bidirectional", "identity", 1, lambda: random_mask(1, 1, 17, 19)),
    ],
    ids=lambda each: "" if callable(each) else str(each),
)
def test_output_map_and_every_gradient_are_those_of_the_reference(window, activation, K, mask):
    mask = mask()
    batch = mask.shape[0] if mask is not None and mask.dim() == 4 else 1
    arguments = arguments_of(*(["mask"] if mask is None else []), B=batch, K=K, mask=mask)
    results = assert_agrees(arguments, window=window, activation=activation)
    if mask is not None:
        assert (results["map"][~arguments["mask"].expand_as(results["map"])] == 0).all()


@pytest.mark.parametrize(
    "left_out",
    [
        ("previous_map",),
        ("bias", "map_bias"),
        ("weight", "bias"),
        ("weight", "bias", "previous_map", "mask"),
        ("weight", "bias", "map_bias"),
    ],
    ids=" ".join,
)
def test_what_may_be_left_out_may_be_left_out(left_out):
    assert_agrees(arguments_of(*left_out), window="causal")


@pytest.mark.parametrize(("H", "N", "M"), [(1, 17, 3), (4, 1, 20), (12, 4, 5), (17, 1, 2)])
def test_any_number_of_heads_and_any_lengths_agree_with_the_reference(H, N, M):
    assert_agrees(arguments_of(H=H, N=N, M=M), window="cross")


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 0.0), (1.0, 1.0)])
def test_learned_shares_have_their_gradient_also_at_their_ends(alpha, beta):
    arguments = arguments_of("mask", N=5, M=6)
    shares = {"alpha": torch.tensor(alpha), "beta": torch.tensor(beta)}
    for name, share in shares.items():
        arguments[name] = share.to(DEVICE).requires_grad_()
    results = assert_agrees(arguments)
    assert results["gradient of alpha"] != 0
    assert results["gradient of beta"] != 0


def test_shares_of_zero_leave_the_map_as_it_was_to_the_bit():
    arguments = arguments_of("alpha", "beta", N=5, M=6)
    plain = plain_arguments(arguments) | {name: arguments[name] for name in ("mask", "map_bias")}
    expected, plain_map = evolving_attention(**plain, backend="triton")
    output, own_map = evolving_attention(**arguments, alpha=0.0, beta=0.0, backend="triton")
    assert torch.equal(own_map, plain_map)
    assert torch.equal(output, expected)


@pytest.mark.parametrize("shape", [(5,), (3, 1, 1), (1, 3, 4, 5)], ids=str)
def test_the_gradient_of_a_broadcast_map_bias_is_summed(shape):
    for left_out in (("weight", "bias"), ("weight", "bias", "previous_map")):
        arguments = arguments_of(*left_out, B=2, N=4, M=5)
        arguments["map_bias"] = torch.randn(shape, device=DEVICE, requires_grad=True)
        assert_agrees(arguments)


@pytest.mark.parametrize("seeds", [(1, None), (None, 2)], ids=["output", "map"])
@pytest.mark.parametrize("left_out", [(), ("weight", "bias")], ids=["convolved", "plain"])
def test_a_gradient_may_come_from_the_output_or_the_map_alone(seeds, left_out):
    assert_agrees(arguments_of(*left_out, N=5, M=6), seeds=seeds)


def test_only_what_learns_gets_a_gradient():
    arguments = {name: tensor.detach() for name, tensor in arguments_of(N=5, M=6).items()}
    everything = differentiate(widened(arguments), backend="reference")
    for name in ("value_BHMV", "bias", "beta", "previous_map"):
        one = arguments | {name: arguments[name].clone().requires_grad_()}
        found = differentiate(one, backend="triton")[f"gradient of {name}"]
        assert_close(found.double(), everything[f"gradient of {name}"], **FLOAT32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_errs_little_more_than_the_reference_does(dtype):
    # Triton's interpreter cuts bfloat16 off instead of rounding it: twice the error.
    factor = 1.5 if DEVICE == "cuda" or dtype is torch.float16 else 2.5
    arguments = arguments_of(N=5, M=17, dtype=dtype)
    exact, actual, plain = (
        differentiate(each, activation="leaky_relu", backend=backend)
        for each, backend in (
            (widened(arguments), "reference"),
            (arguments, "triton"),
            (arguments, "reference"),
        )
    )
    for name, wanted in exact.items():
        error, usual = ((each[name] - wanted).norm() / wanted.norm() for each in (actual, plain))
        assert error < factor * usual + 1e-3, name


# Dropout


def dropped(probabilities_BHNM, kept_BHNM, dropout):
    return probabilities_BHNM * kept_BHNM / (1 - dropout)


def test_dropout_keeps_its_share_and_both_passes_drop_the_same():
    arguments = arguments_of("mask", B=2, V=19)
    eye = torch.eye(19, device=DEVICE).expand(2, 3, 19, 19)  # the output is what is left
    options = {"dropout": 0.3, "training": True, "backend": "triton"}
    torch.manual_seed(5)
    left, _ = evolving_attention(**arguments | {"value_BHMV": eye}, **options)
    kept = left != 0
    assert abs(kept.float().mean() - 0.7) < 4 * (0.21 / kept.numel()) ** 0.5
    assert len(kept.flatten(0, 2).unique(dim=0)) == 2 * 3 * 17  # no row drops as another does

    def attend(query_BHNE, key_BHME, value_BHMV, **others):
        eye_64 = eye.double()
        probabilities, own_map = evolving_attention(
            query_BHNE, key_BHME, eye_64, **others, backend="reference"
        )
        return dropped(probabilities, kept, 0.3) @ value_BHMV, own_map

    expected = differentiate(widened(arguments), attend)
    torch.manual_seed(5)
    actual = differentiate(arguments, **options)
    for name, wanted in expected.items():
        assert_close(actual[name].double(), wanted, **FLOAT32)


def test_dropout_follows_the_seed_and_can_drop_everything():
    arguments = plain_arguments(arguments_of(N=5, M=6))

    def attend(seed, dropout=0.5):
        torch.manual_seed(seed)
        return evolving_attention(**arguments, dropout=dropout, training=True, backend="triton")[0]

    assert torch.equal(attend(0), attend(0))
    assert not torch.equal(attend(0), attend(1))
    assert not attend(0, dropout=1.0).any()


# Memory


def test_memory_that_was_never_written_is_never_read(poisoned_memory):
    arguments = arguments_of(mask=torch.ones(17, 19).tril().bool())
    results = assert_agrees(arguments, window="causal")
    assert all(tensor.isfinite().all() for tensor in results.values())


def test_the_same_input_gives_the_same_bits():
    arguments = arguments_of(H=2, N=17, M=5)
    first, second = (differentiate(arguments, backend="triton") for _ in range(2))
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def test_inputs_of_any_layout_are_taken():
    arguments = arguments_of(B=2, N=5, M=6)
    for name, tensor in arguments.items():
        if tensor.is_floating_point() and tensor.dim() > 1:
            turned = tensor.detach().movedim(0, -1).contiguous().movedim(-1, 0)
            assert name == "weight" or not turned.is_contiguous()
            arguments[name] = turned.requires_grad_()
    assert_agrees(arguments)


@pytest.mark.parametrize("left_out", [(), ("weight", "bias")], ids=["convolved", "plain"])
def test_a_layer_keeps_one_map_for_the_backward_pass(left_out):
    arguments = arguments_of(*left_out, H=8, N=3, M=64, dtype=torch.bfloat16)
    kept = {}

    def pack(tensor):
        kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output, own_map = evolving_attention(**arguments, backend="triton")
    for tensor in (*arguments.values(), output):
        kept.pop(tensor.data_ptr(), None)
    maps = sum(kept.values()) / (own_map.numel() * own_map.element_size())
    assert 1 <= maps < 1.125


# PyTorch's compilers


@pytest.mark.parametrize("left_out", [(), ("weight", "bias", "mask")], ids=["convolved", "plain"])
def test_the_operators_keep_pytorchs_contract(left_out):
    given = arguments_of(*left_out, H=2, N=3, M=4)
    names = ("query_BHNE", "key_BHME", "value_BHMV", "previous_map", "weight", "bias")
    tensors = [given.get(name) for name in (*names, "alpha", "beta", "map_bias", "mask")]
    seed = torch.tensor([7], device=DEVICE)
    options = (*tensors, seed, "relu", "cross", 0.5, 0.1)
    torch.library.opcheck(operator._forward, options)
    output, own_map, *rest = (each.detach() for each in operator._forward(*options))
    inputs = [None if each is None else each.detach() for each in options[:11]]
    arriving = (output, own_map, output, own_map, *rest, *inputs, *options[11:])
    torch.library.opcheck(operator._backward, (*arriving, [True] * 3 + [False] * 6))


def test_a_compiled_step_is_whole_and_gives_the_same():
    arguments = arguments_of(N=4, M=5)

    def attend(arguments):
        with attention_backend("triton"):
            return evolving_attention(**arguments)

    compiled = torch.compile(attend, backend="aot_eager", fullgraph=True)
    expected, actual = (
        differentiate(arguments, lambda step=step, **given: step(given))
        for step in (attend, compiled)
    )
    for name, tensor in expected.items():
        assert_close(actual[name], tensor, rtol=0, atol=0)


def test_autocast_casts_as_it_does_for_the_reference():
    arguments = arguments_of("map_bias", N=5, M=6)
    with torch.autocast(DEVICE, torch.bfloat16):
        output, own_map = evolving_attention(**arguments, backend="triton")
        expected, _ = evolving_attention(**arguments, backend="reference")
    assert output.dtype == own_map.dtype == torch.bfloat16
    assert_close(output, expected.to(output.dtype), rtol=5e-2, atol=5e-2)
    output.float().sum().backward()
    assert arguments["weight"].grad.dtype == torch.float32


# The choice


def small_arguments(B=1, H=2, N=4, M=4, E=3, dtype=torch.float32):
    tensor = torch.zeros(1, dtype=dtype, device=DEVICE)
    return [tensor.expand(B, H, length, E) for length in (N, M, M)]


@pytest.mark.parametrize(
    ("sizes", "word"),
    [
        ({"dtype": torch.float64}, "float64"),
        ({"H": 33}, "heads"),
        ({"E": 300}, "wide"),
        ({"B": 0}, "empty"),
        ({"N": 2**16, "M": 2**15}, "entries"),
    ],
)
def test_what_cannot_be_taken_is_refused_in_a_sentence(sizes, word):
    reason = refusal(*small_arguments(**sizes), None, None, None)
    assert word in reason
    assert reason.endswith(".")
    assert len(reason.splitlines()) == 1
    assert refusal(*small_arguments(), None, None, None) is None


def test_forward_derivatives_and_function_transforms_are_refused_and_not_zero():
    given = small_arguments()

    def attend(query):
        return evolving_attention(query, *given[1:], backend="triton")[0]

    for transform in (
        lambda: torch.func.jvp(attend, (given[0],), (given[0],)),
        lambda: torch.func.grad(lambda query: attend(query).sum())(given[0]),
        lambda: torch.vmap(attend)(given[0][None]),
    ):
        with pytest.raises(ValueError, match="cannot be used here: function transforms"):
            transform()
    with torch.autograd.forward_ad.dual_level():
        query = torch.autograd.forward_ad.make_dual(given[0], given[0])
        assert "forward-mode" in refusal(query, *given[1:])


def test_a_second_derivative_is_refused_in_words():
    arguments = arguments_of(N=4, M=5)
    output, _ = evolving_attention(**arguments, backend="triton")
    with pytest.raises(RuntimeError, match=r"no second derivatives, .*compute under .*'reference'"):
        torch.autograd.grad(output.sum(), arguments["query_BHNE"], create_graph=True)


def test_batches_of_gradients_are_refused_in_words():
    arguments = arguments_of(N=4, M=5)
    output, _ = evolving_attention(**arguments, backend="triton")
    several = torch.ones(2, *output.shape, dtype=output.dtype, device=output.device)
    with pytest.raises(RuntimeError, match="no batches of gradients"):
        torch.autograd.grad(output, arguments["query_BHNE"], several, is_grads_batched=True)


def test_a_forced_backend_that_cannot_take_the_arguments_says_so():
    arguments = {name: each.double() for name, each in arguments_of(N=4, M=5).items()}
    arguments["mask"] = arguments["mask"].bool()
    with pytest.raises(ValueError, match=r"backend='triton' cannot be used here: .*float64"):
        evolving_attention(**arguments, backend="triton")
    wide = arguments_of(N=4, M=5, K=7)
    with pytest.raises(ValueError, match="size 1, 3 and 5, not 7"):
        evolving_attention(**wide, backend="triton")


def test_without_a_gpu_auto_takes_another_and_says_why(monkeypatch):
    given = [tensor.cpu() for tensor in small_arguments()]
    choice = explain_backend(*given)
    assert choice.name != "triton"
    assert "interpreter is for tests" in choice.passed_over["triton"]
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    assert "CUDA" in explain_backend(*given).passed_over["triton"]


def test_a_causal_map_is_zero_after_the_present_also_where_tiles_are_skipped():
    arguments = arguments_of("previous_map", N=20, M=40, mask=causal_mask(40)[..., :20, :])
    _, own_map = evolving_attention(**arguments, window="causal", backend="triton")
    assert not own_map[..., 20:].any()
    assert own_map[..., :20].triu(1).eq(0).all()
