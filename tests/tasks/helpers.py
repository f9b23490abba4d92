import re
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from evolving_attention.errors import InputError
from evolving_attention.recipe import TrainingOptions
from evolving_attention.tasks.time_series import TimeSeriesTask
from evolving_attention.tasks.time_series_data import LabelledSeries
from evolving_attention.training import train_network

#: Options of a network that trains in a fraction of a second.
SMALL = {
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_blocks": 1,
    "num_attention_heads": 2,
    "branch_dropout": 0.0,
}
#: How it trains; a test changes what it is about.
OPTIONS = TrainingOptions(epochs=4, batch_size=8, learning_rate=1e-2, validation=0.2)
#: Series of the training data.
CASES = 40


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


def train(data=None, *, task=None, kind="classification", model=None, seed=0, **options):
    """Train a small network on easy data, for a second."""
    return train_network(
        task or TimeSeriesTask(kind),
        data or sines_and_noise(CASES),
        SMALL | (model or {}),
        replace(OPTIONS, **options),
        seed=seed,
    )


def is_finite(network):
    """Whether losses and weights are."""
    losses = [entry["loss"] for entry in network.history]
    return np.isfinite(losses).all() and all(
        weights.isfinite().all() for weights in network.model.state_dict().values()
    )


def column(network, name):
    """A figure of every epoch."""
    return [entry[name] for entry in network.history]


def labelled(targets, steps=6):
    """A random series for each target."""
    rng = np.random.default_rng(0)
    targets = np.array(list(targets))
    return LabelledSeries([rng.normal(size=(1, steps)) for _ in targets], targets)


def split_task(data, kind="classification", validation=0.0, **options):
    """A task that has split its data."""
    task = TimeSeriesTask(kind, **options)
    task.split(data, validation, 0)
    return task
