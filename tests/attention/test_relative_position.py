from itertools import product

import pytest
import torch
from torch.testing import assert_close

from evolving_attention.attention import RelativePositionLogits1d, RelativePositionLogits2d

WIDTH = 3


def logit(query_E, table_RE, distance):
    """Score of a query against the vector of a distance, or of the farthest the table has."""
    farthest = len(table_RE) // 2
    vector_E = table_RE[max(-farthest, min(farthest, distance)) + farthest]
    return sum(q * r for q, r in zip(query_E.tolist(), vector_E.tolist(), strict=True))


def tables(module):
    """The learned vectors by name; from the state dict, whose keys are thereby pinned."""
    return {name.removesuffix(".weight"): table for name, table in module.state_dict().items()}


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("max_length", [1, 2, 4, 9, 12])
def test_logits_of_a_sequence_are_those_of_a_loop_over_pairs(length, max_length):
    module = RelativePositionLogits1d(WIDTH, max_length).double()
    query = torch.randn(2, 2, length, WIDTH, dtype=torch.float64)
    logits = module(query)
    assert logits.shape == (2, 2, length, length)
    table = tables(module)["distance"]
    for b, h, i, j in product(range(2), range(2), range(length), range(length)):
        assert logits[b, h, i, j].item() == pytest.approx(logit(query[b, h, i], table, j - i))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 4), (4, 1), (2, 3), (3, 2), (4, 4)])
@pytest.mark.parametrize(("max_height", "max_width"), [(4, 4), (2, 3), (1, 1)])
def test_logits_of_an_image_are_those_of_a_loop_over_pairs(height, width, max_height, max_width):
    module = RelativePositionLogits2d(WIDTH, max_height, max_width).double()
    query = torch.randn(1, 2, height * width, WIDTH, dtype=torch.float64)
    logits = module(query, height, width)
    assert logits.shape == (1, 2, height * width, height * width)
    vertical, horizontal = tables(module)["vertical"], tables(module)["horizontal"]
    places = list(product(range(height), range(width)))
    for h, (i, (y, x)), (j, (v, u)) in product(range(2), enumerate(places), enumerate(places)):
        own = query[0, h, i]
        expected = logit(own, vertical, v - y) + logit(own, horizontal, u - x)
        assert logits[0, h, i, j].item() == pytest.approx(expected)


def test_distances_beyond_the_longest_share_the_farthest_vector():
    module = RelativePositionLogits1d(WIDTH, max_length=3)
    query = torch.randn(1, 1, 8, WIDTH)
    logits, table = module(query)[0, 0], tables(module)["distance"]
    for i in range(8):
        for j in [*range(i - 1), *range(i + 2, 8)]:
            assert_close(logits[i, j], query[0, 0, i] @ table[-1 if j > i else 0])


@pytest.mark.parametrize("max_length", [1, 5, 100])
def test_there_is_one_vector_a_distance(max_length):
    module = RelativePositionLogits1d(WIDTH, max_length)
    assert sum(each.numel() for each in module.parameters()) == (2 * max_length - 1) * WIDTH
    assert not list(module.buffers())


def test_an_image_has_one_vector_a_distance_in_each_direction():
    module = RelativePositionLogits2d(WIDTH, 4, 7)
    assert sum(each.numel() for each in module.parameters()) == (7 + 13) * WIDTH
    assert not list(module.buffers())


def test_every_vector_in_reach_gets_a_right_gradient():
    module = RelativePositionLogits1d(WIDTH, max_length=3).double()
    query = torch.randn(1, 1, 5, WIDTH, dtype=torch.float64, requires_grad=True)
    table = module.distance.weight

    def forward(query, table):
        return torch.func.functional_call(module, {"distance.weight": table}, (query,))

    assert torch.autograd.gradcheck(forward, (query, table))
    module(query).square().sum().backward()
    assert (table.grad != 0).all()


def test_gradients_of_an_image_are_right():
    module = RelativePositionLogits2d(2, 2, 3).double()
    query = torch.randn(1, 1, 6, 2, dtype=torch.float64, requires_grad=True)
    names, values = zip(*module.named_parameters(), strict=True)

    def forward(query, *values):
        return torch.func.functional_call(
            module, dict(zip(names, values, strict=True)), (query, 2, 3)
        )

    assert torch.autograd.gradcheck(forward, (query, *values))


def test_queries_of_any_layout_agree_with_contiguous_ones():
    query = torch.randn(2, 6, 2, WIDTH).transpose(1, 2)
    assert not query.is_contiguous()
    sequence, image = RelativePositionLogits1d(WIDTH, 4), RelativePositionLogits2d(WIDTH, 4, 4)
    assert_close(sequence(query), sequence(query.contiguous()))
    assert_close(image(query, 2, 3), image(query.contiguous(), 2, 3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_logits_have_the_dtype_of_the_queries(dtype):
    module = RelativePositionLogits1d(WIDTH, 4)
    query = torch.randn(1, 1, 5, WIDTH, dtype=dtype)
    assert module(query).dtype is dtype
    assert_close(module(query).float(), module(query.float()), rtol=0.02, atol=0.02)


def test_vectors_start_with_a_variance_of_one_over_the_width():
    module = RelativePositionLogits1d(16, 2000)
    assert_close(module.distance.weight.std().item(), 0.25, rtol=0.02, atol=0.0)
    assert abs(module.distance.weight.mean().item()) < 0.01


def test_vectors_differ_by_seed_and_are_the_same_by_the_same_seed():
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(RelativePositionLogits1d(WIDTH, 4).distance.weight)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_vectors_are_never_left_uninitialised(poisoned_memory):
    for module in (RelativePositionLogits1d(WIDTH, 4), RelativePositionLogits2d(WIDTH, 4, 5)):
        assert all(each.isfinite().all() for each in module.parameters())
    query = torch.randn(1, 1, 6, WIDTH)
    assert module(query, 2, 3).isfinite().all()


@pytest.mark.parametrize("make", [RelativePositionLogits1d, RelativePositionLogits2d])
@pytest.mark.parametrize("length", [0, -1])
def test_a_longest_length_below_one_is_refused(make, length):
    with pytest.raises(ValueError, match=f"at least 1, got {length}"):
        make(WIDTH, *[length] * (1 if make is RelativePositionLogits1d else 2))


def test_queries_that_do_not_fill_the_image_are_refused():
    module = RelativePositionLogits2d(WIDTH, 4, 4)
    with pytest.raises(ValueError, match="7 queries do not fill an image of 2 x 3 = 6"):
        module(torch.randn(1, 1, 7, WIDTH), 2, 3)
