"""Curves for TensorBoard."""

import sys
from dataclasses import replace

import pytest

from evolving_attention import train
from tests.small import one_sentence, small_recipe, write_npz


@pytest.fixture
def recipe(tmp_path):
    data = write_npz(tmp_path / "data.npz")
    return small_recipe(data, tmp_path / "run", epochs=3, training={"tensorboard": True})


def curve(folder, name):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulators.EventAccumulator(str(folder)).Reload()
    return [event.value for event in events.Scalars(name)]


def test_losses_and_metrics_of_every_epoch_are_written(recipe):
    pytest.importorskip("tensorboard")
    run = train(recipe)
    folder = run.folder / "tensorboard" / "first"
    for name, entry in (("train/loss", "loss"), ("eval/accuracy", "validation_accuracy")):
        expected = [epoch[entry] for epoch in run.metrics["history"]]
        assert curve(folder, name) == pytest.approx(expected)


def test_the_curves_of_a_replaced_run_go(recipe):
    pytest.importorskip("tensorboard")
    train(recipe)
    run = train(recipe, overwrite=True)
    assert len(curve(run.folder / "tensorboard" / "first", "train/loss")) == 3


def test_no_curve_is_written_unasked(recipe):
    run = train(replace(recipe, training=replace(recipe.training, tensorboard=False)))
    assert not (run.folder / "tensorboard").exists()


def test_a_missing_package_is_told_before_anything_else(recipe, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with one_sentence("training.tensorboard", "evolving-attention[track]"):
        train(recipe)
    assert not (tmp_path / "run").exists()
