"""Random states can be written as JSON and set back."""

import json
import random

import numpy as np
import torch

from evolving_attention.trainer.randomness import random_states, set_random_states


def draw(order):
    return [
        random.random(),
        random.gauss(0, 1),
        np.random.normal(),
        torch.rand(()).item(),
        torch.rand((), generator=order).item(),
    ]


def test_what_was_drawn_is_drawn_again():
    order = torch.Generator().manual_seed(3)
    draw(order)  # half of a pair of Gaussian numbers waits in Python's and NumPy's generators
    states = json.loads(json.dumps(random_states(order)))
    expected = draw(order)
    draw(order)
    set_random_states(states, order)
    assert draw(order) == expected
