import math

import pytest
import torch

from evolving_attention.attention import EvolvingAttention, evolving_attention
from tests.attention.helpers import plain_arguments, random_arguments


def zeros(*shape, **options):
    return torch.zeros(*shape, **{"dtype": torch.float64, **options})


# The arguments that are right: B = 2, H = 2, N = 5, M = 6, E = 3, V = 4, K = 3, float64.
WRONG = {
    "query of three dimensions": (ValueError, "query", {"query_BHNE": zeros(2, 5, 3)}),
    "key of three dimensions": (ValueError, "key", {"key_BHME": zeros(2, 6, 3)}),
    "value of five dimensions": (ValueError, "value", {"value_BHMV": zeros(1, 2, 2, 6, 4)}),
    "query of integers": (TypeError, "query", {"query_BHNE": zeros(2, 2, 5, 3).long()}),
    "key of integers": (TypeError, "key", {"key_BHME": zeros(2, 2, 6, 3).long()}),
    "value of integers": (TypeError, "value", {"value_BHMV": zeros(2, 2, 6, 4).long()}),
    "key of another batch": (ValueError, "key", {"key_BHME": zeros(1, 2, 6, 3)}),
    "key of other heads": (ValueError, "key", {"key_BHME": zeros(2, 1, 6, 3)}),
    "key of another width": (ValueError, "key", {"key_BHME": zeros(2, 2, 6, 4)}),
    "value of another batch": (ValueError, "value", {"value_BHMV": zeros(1, 2, 6, 4)}),
    "value of other heads": (ValueError, "value", {"value_BHMV": zeros(2, 1, 6, 4)}),
    "value of another length": (ValueError, "value", {"value_BHMV": zeros(2, 2, 5, 4)}),
    "key of another dtype": (TypeError, "key", {"key_BHME": zeros(2, 2, 6, 3).float()}),
    "value of another dtype": (TypeError, "value", {"value_BHMV": zeros(2, 2, 6, 4).float()}),
    "previous_map of another dtype": (
        TypeError,
        "previous_map",
        {"previous_map": zeros(2, 2, 5, 6).float()},
    ),
    "weight of another dtype": (TypeError, "weight", {"weight": zeros(2, 2, 3, 3).float()}),
    "bias of another dtype": (TypeError, "bias", {"bias": zeros(2).float()}),
    "map_bias of another dtype": (TypeError, "map_bias", {"map_bias": zeros(5, 6).float()}),
    "key elsewhere": (ValueError, "key", {"key_BHME": zeros(2, 2, 6, 3, device="meta")}),
    "value elsewhere": (ValueError, "value", {"value_BHMV": zeros(2, 2, 6, 4, device="meta")}),
    "previous_map elsewhere": (
        ValueError,
        "previous_map",
        {"previous_map": zeros(2, 2, 5, 6, device="meta")},
    ),
    "weight elsewhere": (ValueError, "weight", {"weight": zeros(2, 2, 3, 3, device="meta")}),
    "bias elsewhere": (ValueError, "bias", {"bias": zeros(2, device="meta")}),
    "mask elsewhere": (ValueError, "mask", {"mask": torch.ones(5, 6, device="meta").bool()}),
    "map_bias elsewhere": (ValueError, "map_bias", {"map_bias": zeros(5, 6, device="meta")}),
    "previous_map of another length": (
        ValueError,
        "previous_map",
        {"previous_map": zeros(2, 2, 5, 5)},
    ),
    "previous_map that would broadcast": (
        ValueError,
        "previous_map",
        {"previous_map": zeros(1, 2, 5, 6)},
    ),
    "weight of other heads": (ValueError, "weight", {"weight": zeros(4, 4, 3, 3)}),
    "weight of separate heads": (ValueError, "weight", {"weight": zeros(2, 1, 3, 3)}),
    "weight of an even size": (ValueError, "weight", {"weight": zeros(2, 2, 2, 2)}),
    "weight not square": (ValueError, "weight", {"weight": zeros(2, 2, 3, 5)}),
    "weight of no size": (ValueError, "weight", {"weight": zeros(2, 2, 0, 0)}),
    "weight of two dimensions": (ValueError, "weight", {"weight": zeros(2, 2)}),
    "bias of other heads": (ValueError, "bias", {"bias": zeros(4)}),
    "bias of one number": (ValueError, "bias", {"bias": zeros(())}),
    "bias without weight": (ValueError, "bias", {"weight": None}),
    "mask of numbers": (TypeError, "mask", {"mask": zeros(5, 6)}),
    "mask of integers": (TypeError, "mask", {"mask": torch.ones(5, 6).long()}),
    "mask of another length": (ValueError, "mask", {"mask": torch.ones(5, 5).bool()}),
    "mask of five dimensions": (ValueError, "mask", {"mask": torch.ones(1, 1, 1, 5, 6).bool()}),
    "map_bias of integers": (TypeError, "map_bias", {"map_bias": zeros(5, 6).long()}),
    "map_bias of another length": (ValueError, "map_bias", {"map_bias": zeros(6, 5)}),
    "map_bias of five dimensions": (ValueError, "map_bias", {"map_bias": zeros(1, 1, 1, 5, 6)}),
    "negative alpha": (ValueError, "alpha", {"alpha": -0.1}),
    "alpha above one": (ValueError, "alpha", {"alpha": 1.1}),
    "alpha not a number": (ValueError, "alpha", {"alpha": math.nan}),
    "alpha for each head": (ValueError, "alpha", {"alpha": zeros(2)}),
    "alpha in one dimension": (ValueError, "alpha", {"alpha": zeros(1)}),
    "negative beta": (ValueError, "beta", {"beta": -0.1}),
    "beta above one": (ValueError, "beta", {"beta": 1.1}),
    "beta not a number": (ValueError, "beta", {"beta": math.nan}),
    "beta in one dimension": (ValueError, "beta", {"beta": zeros(1)}),
    "negative dropout": (ValueError, "dropout", {"dropout": -0.1}),
    "dropout above one": (ValueError, "dropout", {"dropout": 1.5}),
    "dropout not a number": (ValueError, "dropout", {"dropout": math.nan}),
    "dropout a tensor": (TypeError, "dropout", {"dropout": torch.tensor(0.5)}),
    "dropout a text": (TypeError, "dropout", {"dropout": "0.5"}),
    "scale a tensor": (TypeError, "scale", {"scale": torch.tensor(0.5, requires_grad=True)}),
    "scale a text": (TypeError, "scale", {"scale": "1"}),
    "scale not a number": (ValueError, "scale", {"scale": math.nan}),
    "infinite scale": (ValueError, "scale", {"scale": math.inf}),
    "previous_map an array": (
        TypeError,
        "previous_map",
        {"previous_map": zeros(2, 2, 5, 6).numpy()},
    ),
    "weight an array": (TypeError, "weight", {"weight": zeros(2, 2, 3, 3).numpy()}),
    "bias a list": (TypeError, "bias", {"bias": [0.0, 0.0]}),
    "mask a list": (TypeError, "mask", {"mask": [[True] * 6] * 5}),
    "map_bias a number": (TypeError, "map_bias", {"map_bias": 0.5}),
    "sparse query": (TypeError, "query", {"query_BHNE": zeros(2, 2, 5, 3).to_sparse()}),
    "sparse mask": (TypeError, "mask", {"mask": torch.ones(5, 6).bool().to_sparse()}),
    "unknown activation": (ValueError, "activation", {"activation": "gelu"}),
    "unknown window": (ValueError, "window", {"window": "both"}),
    "unknown backend": (ValueError, "backend", {"backend": "cuda"}),
}


@pytest.mark.parametrize(("error", "name", "change"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_argument_is_named_in_one_sentence(error, name, change):
    arguments = random_arguments()
    evolving_attention(**arguments)
    with pytest.raises(error, match=rf"^{name}\b.*\.$") as caught:
        evolving_attention(**arguments | change)
    assert "\n" not in str(caught.value)


def test_the_names_to_choose_from_are_listed():
    with pytest.raises(ValueError, match="'bidirectional', 'causal', 'cross', got 'both'"):
        evolving_attention(**plain_arguments(random_arguments()), window="both")


def test_under_autocast_dtypes_may_differ():
    arguments = random_arguments(dtype=torch.float32)
    arguments["query_BHNE"] = arguments["query_BHNE"].bfloat16()
    with pytest.raises(TypeError, match="query"):
        evolving_attention(**arguments)
    with torch.autocast("cpu", torch.bfloat16):
        output, _ = evolving_attention(**arguments, alpha=0.5, beta=0.5)
    assert output.isfinite().all()


WRONG_OPTIONS = {
    "negative alpha": ("alpha", {"alpha": -0.1}),
    "alpha above one": ("alpha", {"alpha": 1.1}),
    "alpha not a number": ("alpha", {"alpha": math.nan}),
    "negative beta": ("beta", {"beta": -0.1}),
    "beta above one": ("beta", {"beta": 1.1}),
    "even kernel": ("kernel_size", {"kernel_size": 2}),
    "no kernel": ("kernel_size", {"kernel_size": 0}),
    "negative kernel": ("kernel_size", {"kernel_size": -1}),
    "unknown activation": ("activation", {"activation": "gelu"}),
    "unknown window": ("window", {"window": "both"}),
    "unknown initialization": ("initialization", {"initialization": "zeros"}),
    "unknown backend": ("backend", {"backend": "cuda"}),
    "dropout above one": ("dropout", {"dropout": 1.5}),
    "negative dropout": ("dropout", {"dropout": -0.1}),
}


@pytest.mark.parametrize(("name", "options"), WRONG_OPTIONS.values(), ids=WRONG_OPTIONS.keys())
def test_a_wrong_option_of_the_module_is_named_when_it_is_made(name, options):
    with pytest.raises(ValueError, match=rf"^{name}\b.*\.$"):
        EvolvingAttention(2, **options)


@pytest.mark.parametrize(
    ("needed", "options"),
    [
        ("activation='identity'", {"beta": 0.5}),
        ("activation='identity'", {"beta": 0.5, "activation": "leaky_relu"}),
        ("learned_mixing=True", {"alpha": 0.5, "beta": 0.5, "activation": "identity"}),
        ("beta above 0", {"alpha": 0.5, "activation": "identity", "learned_mixing": True}),
    ],
)
def test_options_that_cannot_start_as_the_identity_say_what_is_needed(needed, options):
    with pytest.raises(ValueError, match=rf"^initialization='identity'.*{needed}"):
        EvolvingAttention(2, initialization="identity", **options)
