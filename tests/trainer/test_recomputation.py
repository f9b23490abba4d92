import pytest
from transformers import BertConfig, BertModel

from evolving_attention.errors import InputError
from evolving_attention.models import EADCTransformerModel
from evolving_attention.trainer.recomputation import recompute
from tests.models.helpers import small_config

TINY = {
    "vocab_size": 8,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 8,
}


@pytest.mark.parametrize(("asked", "segment"), [(True, None), (1, 1), (3, 3)])
def test_a_number_is_that_of_blocks_in_a_segment(asked, segment):
    model = EADCTransformerModel(small_config(num_blocks=3))
    recompute(model, asked)
    assert all(block.gradient_checkpointing for block in model.blocks)
    assert model.segment == segment


def test_other_networks_recompute_layer_by_layer():
    model = BertModel(BertConfig(**TINY))
    recompute(model, True)
    assert all(layer.gradient_checkpointing for layer in model.encoder.layer)
    with pytest.raises(InputError, match="must be true or false for BertModel"):
        recompute(model, 2)
