import numpy as np
import pytest
import torch

from evolving_attention.trainer.token_batches import TokenBatches
from tests.tasks.helpers import one_sentence


def lengths(cases=400, seed=0):
    rng = np.random.default_rng(seed)
    source = 2 + rng.poisson(12, cases)
    return np.stack([source, np.maximum(source + rng.integers(-4, 5, cases), 2)], axis=1)


def batches(sizes, budget=512, seed=0, **options):
    return TokenBatches(sizes, budget, generator=torch.Generator().manual_seed(seed), **options)


def test_an_epoch_has_every_pair_once_and_no_batch_more_than_the_budget():
    sizes = lengths()
    made = list(batches(sizes))
    assert sorted(index for batch in made for index in batch) == list(range(len(sizes)))
    padded = [len(batch) * sizes[batch].max(0).sum() for batch in made]
    assert max(padded) <= 512
    assert np.mean(padded) > 0.8 * 512
    assert sizes.sum() / sum(padded) > 0.85  # little is padding


def test_every_epoch_has_as_many_batches_of_other_pairs():
    sampler = batches(lengths())
    first, second = list(sampler), list(sampler)
    assert len(first) == len(second) == len(sampler)
    assert {frozenset(batch) for batch in first} != {frozenset(batch) for batch in second}
    assert [len(batch) for batch in first] != [len(batch) for batch in second]  # shuffled


def test_an_epoch_follows_from_the_state_of_the_generator():
    sampler = batches(lengths())
    state = sampler.generator.get_state()
    first = list(sampler)
    sampler.generator.set_state(state)
    assert list(sampler) == first
    assert list(batches(lengths(), seed=1)) != first


@pytest.mark.parametrize(("accumulation", "processes"), [(2, 1), (1, 3), (4, 2)])
def test_processes_share_every_batch_in_as_many_rounds(accumulation, processes):
    sizes = lengths(60)
    whole = list(batches(sizes))
    shares = [
        batches(sizes, accumulation=accumulation, processes=processes, process=process)
        for process in range(processes)
    ]
    rounds = [list(share) for share in shares]
    assert {len(each) for each in rounds} == {len(whole) * accumulation} == {len(shares[0])}
    for number, batch in enumerate(whole):
        some = slice(number * accumulation, (number + 1) * accumulation)
        assert sorted(index for each in rounds for p in each[some] for index in p) == sorted(batch)


def test_a_pair_above_the_budget_is_refused():
    with one_sentence("training.batch_tokens is 20", "24 tokens"):
        batches(np.array([[3, 3], [12, 12]]), 20)
    assert len(batches(np.array([[3, 3], [12, 12]]), 24)) == 2


def test_something_can_be_called_before_a_batch():
    sampler, seen = batches(lengths(40), 128), []
    sampler.call_before(2, lambda: seen.append(len(seen)))
    iterator = iter(sampler)
    next(iterator), next(iterator)
    assert not seen
    rest = list(iterator)
    assert seen == [0]
    assert len(rest) == len(sampler) - 2
