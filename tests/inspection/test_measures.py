"""Measures of maps, against cases that can be worked out by hand."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from evolving_attention.inspection import measures

EVEN = np.full((1, 3, 3), 1 / 3)
ITSELF = np.eye(3)[None]

#: Three real positions and one of padding.
MASK = np.outer([True, True, True, False], [True, True, True, False])


def padded(probabilities_HNM):
    return np.pad(probabilities_HNM, ((0, 0), (0, 1), (0, 1)))


def random(heads=3, size=4, seed=0):
    return np.random.default_rng(seed).normal(size=(heads, size, size))


class TestCentred:
    def test_every_row_has_mean_0(self):
        centred = measures.centred(np.array([[[1.0, 3.0], [5.0, 5.0]]]))
        assert_allclose(centred, [[[-1, 1], [0, 0]]])

    def test_only_attendable_entries_count(self):
        map_HNM = np.array([[[1.0, 3.0, 99.0], [7.0, 7.0, 7.0]]])
        mask_NM = np.array([[True, True, False], [False, False, False]])
        assert_allclose(measures.centred(map_HNM, mask_NM), [[[-1, 1, 0], [0, 0, 0]]])


class TestEntropy:
    def test_it_is_1_where_all_keys_are_alike_and_0_where_one_has_all(self):
        both = np.concatenate([EVEN, ITSELF])
        assert_allclose(measures.entropy(both), [1, 0], atol=1e-12)

    def test_two_of_four_keys_are_half(self):
        rows = np.array([[[0.5, 0.5, 0, 0]] * 4])
        assert_allclose(measures.entropy(rows), [0.5])

    def test_padding_does_not_count(self):
        assert_allclose(measures.entropy(padded(EVEN), MASK), [1])
        half = padded(np.array([[[0.5, 0.5, 0]] * 3]))
        assert_allclose(measures.entropy(half, MASK), [np.log(2) / np.log(3)])

    def test_a_row_without_a_choice_is_left_out(self):
        causal = np.array([[[1.0, 0.0], [0.5, 0.5]]])
        assert_allclose(measures.entropy(causal, np.tri(2, dtype=bool)), [1])
        assert np.isnan(measures.entropy(np.ones((2, 1, 1)))).all()


class TestScale:
    def test_it_is_the_deviation_within_rows(self):
        assert_allclose(measures.scale(np.array([[[-2.0, 2.0], [8.0, 12.0]]])), [2])

    def test_a_constant_on_a_row_does_not_count(self):
        map_HNM = random()
        shifted = map_HNM + np.arange(4)[:, None] * 100
        assert_allclose(measures.scale(shifted), measures.scale(map_HNM))

    def test_padding_does_not_count(self):
        map_HNM = random(size=3)
        assert_allclose(measures.scale(padded(map_HNM), MASK), measures.scale(map_HNM))


class TestAttendedDistance:
    def test_it_is_0_on_the_diagonal_and_1_where_attention_is_even(self):
        both = np.concatenate([ITSELF, EVEN])
        assert_allclose(measures.attended_distance(both), [0, 1])

    def test_the_farthest_keys(self):
        far = np.array([[[0, 0, 1.0], [1.0, 0, 0], [1.0, 0, 0]]])
        # |i - j| of 2, 1, 2; even attention has (0+1+2)/3, (1+0+1)/3, (2+1+0)/3
        assert_allclose(measures.attended_distance(far), [5 / (8 / 3)])

    def test_padding_does_not_count(self):
        assert_allclose(measures.attended_distance(padded(EVEN), MASK), [1])

    def test_a_single_position_is_nowhere(self):
        assert np.isnan(measures.attended_distance(np.ones((1, 1, 1)))).all()


class TestAgreement:
    def test_the_same_heads_agree_and_disjoint_ones_do_not(self):
        other = np.roll(ITSELF, 1, axis=-1)
        assert_allclose(measures.agreement(np.concatenate([EVEN, EVEN])), [1, 1])
        assert_allclose(measures.agreement(np.concatenate([ITSELF, other])), [0, 0], atol=1e-12)

    def test_each_head_is_held_against_all_others(self):
        other = np.roll(ITSELF, 1, axis=-1)
        found = measures.agreement(np.concatenate([ITSELF, ITSELF, other]))
        assert_allclose(found, [0.5, 0.5, 0], atol=1e-12)

    def test_one_head_has_nobody_to_agree_with(self):
        assert np.isnan(measures.agreement(EVEN)).all()


class TestChangeAndLikeness:
    def test_the_same_map_has_not_changed(self):
        map_HNM = random()
        assert_allclose(measures.change(map_HNM, map_HNM), 0, atol=1e-12)
        assert_allclose(measures.likeness(map_HNM, map_HNM), 1)

    def test_a_multiple_has_changed_in_size_but_not_in_pattern(self):
        map_HNM = random()
        assert_allclose(measures.change(3 * map_HNM, map_HNM), 2)
        assert_allclose(measures.likeness(3 * map_HNM, map_HNM), 1)
        assert_allclose(measures.likeness(-map_HNM, map_HNM), -1)

    def test_unrelated_patterns_have_a_cosine_of_0(self):
        one, other = np.array([[[1.0, -1.0, 0.0, 0.0]]]), np.array([[[0.0, 0.0, 1.0, -1.0]]])
        assert_allclose(measures.likeness(one, other), [0])
        assert_allclose(measures.change(one, other), [np.sqrt(2)])

    def test_what_the_softmax_does_not_see_is_no_change(self):
        map_HNM = random()
        assert_allclose(measures.change(map_HNM + 5, map_HNM), 0, atol=1e-12)

    def test_padding_does_not_count(self):
        one, other = random(size=3), random(size=3, seed=1)
        for measure in (measures.change, measures.likeness):
            found = measure(padded(one) + ~MASK, padded(other), MASK)
            assert_allclose(found, measure(one, other))

    def test_a_flat_map_has_no_pattern(self):
        flat = np.zeros((2, 3, 3))
        assert np.isnan(measures.change(random(2, 3), flat)).all()
        assert np.isnan(measures.likeness(random(2, 3), flat)).all()


class TestDivergence:
    def test_alike_is_0_and_disjoint_is_one_bit(self):
        assert_allclose(measures.divergence(EVEN, EVEN), [0], atol=1e-12)
        assert_allclose(measures.divergence(ITSELF, np.roll(ITSELF, 1, axis=-1)), [1])

    def test_a_case_worked_out_by_hand(self):
        one, other = np.array([[[1.0, 0.0]]]), np.array([[[0.5, 0.5]]])
        middle = np.array([0.75, 0.25])
        expected = (np.log2(1 / 0.75) + (0.5 * np.log2(0.5 / middle)).sum()) / 2
        assert_allclose(measures.divergence(one, other), [expected])

    def test_padding_does_not_count(self):
        found = measures.divergence(padded(ITSELF), padded(np.roll(ITSELF, 1, axis=-1)))
        assert_allclose(found, [1])


class TestShares:
    def test_parts_of_a_sum_share_by_norm(self):
        map_HNM = random()
        assert_allclose(measures.share(3 * map_HNM, map_HNM), 0.75)
        assert_allclose(measures.share(0 * map_HNM, map_HNM), 0)
        assert np.isnan(measures.share(0 * map_HNM, 0 * map_HNM)).all()

    def test_relu_silences_the_negative_entries(self):
        before = np.array([[[-1.0, 2.0], [-3.0, 4.0]], [[1.0, 2.0], [3.0, -4.0]]])
        assert_allclose(measures.changed_share(before, np.maximum(before, 0)), [0.5, 0.25])

    def test_padding_is_not_silenced(self):
        before = np.full((1, 4, 4), -1.0)
        after = np.where(MASK, 0.0, before)
        assert_allclose(measures.changed_share(before, after, MASK), [1])
        assert_allclose(measures.changed_share(before, before, MASK), [0])


@pytest.mark.parametrize("measure", [measures.entropy, measures.attended_distance])
def test_every_head_is_measured_by_itself(measure):
    logits = random(heads=3)
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    found = measure(probabilities)
    assert found.shape == (3,)
    assert_allclose(found, [measure(head[None])[0] for head in probabilities])
