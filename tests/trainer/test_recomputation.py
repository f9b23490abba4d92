import pytest
import torch
from transformers import BertConfig, BertModel

from evolving_attention.recipe import read_recipe
from evolving_attention.trainer.recomputation import recompute
from tests.tasks.helpers import one_sentence, train


@pytest.mark.parametrize("how", ["segments", 1, 3])
def test_a_training_that_recomputes_segments_ends_with_the_same_bits(how):
    options = {"model": {"num_blocks": 2, "hidden_dropout": 0.3}, "validation": 0.0, "epochs": 1}
    expected = train(**options).model.state_dict()
    actual = train(gradient_checkpointing=how, **options).model.state_dict()
    assert list(actual) == list(expected)
    assert all(torch.equal(actual[name], expected[name]) for name in expected)


@pytest.mark.parametrize("value", ["blocks", 0, -1, 2.0, None])
def test_an_unknown_way_to_recompute_is_told_in_one_sentence(value):
    with one_sentence("training.gradient_checkpointing"):
        train(gradient_checkpointing=value)


def test_a_network_without_segments_is_told_in_one_sentence():
    options = {"num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 16}
    network = BertModel(BertConfig(hidden_size=16, **options))
    with one_sentence("BertModel does not"):
        recompute(network, "segments")
    recompute(network, False)
    assert not network.encoder.layer[0].gradient_checkpointing
    recompute(network, True)
    assert network.encoder.layer[0].gradient_checkpointing


@pytest.mark.parametrize(("written", "read"), [("true", True), ("4", 4), ("segments", "segments")])
def test_a_recipe_says_how_to_recompute(written, read, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "task: time_series_classification\ndata: {train: none.ts}\n"
        f"training: {{gradient_checkpointing: {written}}}\n"
    )
    value = read_recipe(path).training.gradient_checkpointing
    assert (type(value), value) == (type(read), read)
