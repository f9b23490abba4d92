import numpy as np
import torch

from evolving_attention.tasks.translation_batches import (
    EncodedPairs,
    TokenLists,
    collate_pairs,
    in_blocks,
)

LISTS = [[5, 1], [6, 7, 8, 1], [1], [9, 9, 1]]


def pairs():
    return EncodedPairs(TokenLists.of(LISTS), TokenLists.of(reversed(LISTS)))


def test_lists_in_one_array_are_the_lists():
    packed = TokenLists.of(LISTS)
    assert [each.tolist() for each in packed] == LISTS
    assert packed.lengths.tolist() == [2, 4, 1, 3]
    assert [each.tolist() for each in packed.take(np.array([3, 0]))] == [LISTS[3], LISTS[0]]
    assert len(TokenLists.of([])) == 0


def test_pairs_know_their_lengths():
    assert pairs().sizes.tolist() == [[2, 3], [4, 1], [1, 4], [3, 2]]
    assert pairs().lengths == [5, 5, 5, 5]
    assert pairs().by_length().sizes[:, 1].tolist() == [1, 2, 3, 4]


def test_a_batch_is_padded_and_labels_are_ignored_there():
    batch = collate_pairs([pairs()[0], pairs()[1]], padding=0)
    assert batch["input_ids"].tolist() == [[5, 1, 0, 0], [6, 7, 8, 1]]
    assert batch["attention_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert batch["labels"].tolist() == [[9, 9, 1], [1, -100, -100]]
    assert batch["labels"].dtype is torch.long


def test_blocks_take_no_more_than_they_give():
    taken = []

    def values():
        for value in range(7):
            taken.append(value)
            yield value

    blocks = in_blocks(values(), 3)
    assert next(blocks) == [0, 1, 2]
    assert taken == [0, 1, 2]
    assert list(blocks) == [[3, 4, 5], [6]]
