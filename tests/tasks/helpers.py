import re
from contextlib import contextmanager

import numpy as np
import pytest

from evolving_attention.errors import InputError
from evolving_attention.tasks.time_series_data import LabelledSeries

#: Options of a network that trains in a fraction of a second.
SMALL = {"hidden_size": 8, "intermediate_size": 8, "num_blocks": 1, "num_attention_heads": 2}


@contextmanager
def one_sentence(*words):
    """Expect an InputError of one sentence with these words in it."""
    with pytest.raises(InputError) as caught:
        yield
    told = str(caught.value)
    missing = [word for word in words if str(word) not in told]
    assert not missing, f"{missing} missing in: {told}"
    assert "\n" not in told, told
    assert ".." not in told, told
    assert not re.search(r"[.!?] +[A-Z]", told), f"more than one sentence: {told}"


def unless_refused(call):
    """Return what a call returns, or None where it raises an InputError."""
    try:
        return call()
    except InputError:
        return None


def sines_and_noise(cases=40, steps=24, channels=1, seed=0, unequal=False):
    """Sines of a random phase, and noise: classes that are easy to tell apart."""
    rng = np.random.default_rng(seed)
    series, labels = [], ["noise", "sine"] * (cases // 2)
    for index, label in enumerate(labels):
        time = np.arange(steps - 2 * (index % 5) if unequal else steps)
        noise = rng.normal(size=(channels, len(time)))
        wave = np.sin(0.7 * time + rng.uniform(0, 2 * np.pi)) * np.sqrt(2)
        series.append(wave + 0.1 * noise if label == "sine" else noise)
    return LabelledSeries(series, np.array(labels))


def waves(cases=40, steps=24, targets=1, seed=0):
    """Sines of a random phase; each target is an increasing function of the frequency."""
    rng = np.random.default_rng(seed)
    frequencies = rng.uniform(0.3, 1.5, size=cases)
    phases = rng.uniform(0, 2 * np.pi, size=cases)
    series = [
        np.sin(frequency * np.arange(steps) + phase)[None]
        for frequency, phase in zip(frequencies, phases, strict=True)
    ]
    columns = np.stack([100 * frequencies - 30, 3 * frequencies][:targets], axis=1)
    return LabelledSeries(series, columns[:, 0] if targets == 1 else columns)
