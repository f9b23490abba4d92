"""The page of architectures is current, and each that evolves does what it should."""

import importlib.util
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from evolving_attention import evolve
from tests.models.huggingface.helpers import new_parameters, shaken

SCRIPT = Path(__file__).parents[3] / "docs" / "architectures.py"
specification = importlib.util.spec_from_file_location("architectures", SCRIPT)
architectures = importlib.util.module_from_spec(specification)
specification.loader.exec_module(architectures)

NAMES = [name for names in architectures.ARCHITECTURES.values() for name in names]
REFUSED = {
    "Albert",
    "Autoformer",
    "BigBird",
    "Bloom",
    "DebertaV2",
    "Falcon",
    "GPTJ",
    "Gemma2",
    "GptOss",
    "Informer",
    "LED",
    "LongT5",
    "MPNet",
    "Mamba",
    "Swin",
    "WavLM",
    "XLNet",
}


def test_the_page_is_current():
    assert architectures.PAGE.read_text() == architectures.page(), (
        "run python docs/architectures.py"
    )


@pytest.mark.parametrize("name", sorted(set(NAMES) - REFUSED))
def test_a_converted_model_computes_what_it_did_and_learns(name):
    model = architectures.plain_model(name).double()
    batch = batch_for(model)
    expected = outputs(model, batch)
    chains = architectures.find_chains(model)
    evolve(model, alpha=0.3, beta=0.3)
    assert_close(outputs(model, batch), expected, rtol=1e-6, atol=1e-6)
    sum(each.square().sum() for each in outputs(model, batch)).backward()
    dead = {
        parameter
        for parameter in new_parameters(model)
        if (gradient := model.get_parameter(parameter).grad) is None or not gradient.any()
    }
    assert not dead
    assert len(new_parameters(model)) == sum(2 * (len(chain.layers) - 1) for chain in chains)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_model_that_cannot_evolve_is_refused_and_left_as_it_was(name):
    model = architectures.plain_model(name)
    before = model.config.to_dict(), model.config._attn_implementation, type(model)
    with pytest.raises(ValueError, match=r"^\w+Model cannot evolve: .*\.$"):
        evolve(model)
    assert (model.config.to_dict(), model.config._attn_implementation, type(model)) == before


@pytest.mark.parametrize(
    "name", sorted(set(architectures.ARCHITECTURES["Texts: decoders"]) - REFUSED)
)
def test_a_decoder_never_sees_a_later_token(name):
    model = architectures.plain_model(name).double()
    shaken(evolve(model, initialization="random"))
    batch = batch_for(model)
    (expected,) = outputs(model, batch)[:1]
    batch["input_ids"][0, 4] = 3
    (actual,) = outputs(model, batch)[:1]
    assert_close(actual[0, :4], expected[0, :4])
    assert (actual[0, 4:] - expected[0, 4:]).abs().max() > 1e-3


def batch_for(model):
    return {
        name: each.double() if each.is_floating_point() else each
        for name, each in architectures.batch_for(model).items()
    }


def outputs(model, batch):
    """The vectors of a model, for real tokens only; both towers of CLIP."""
    torch.manual_seed(0)
    found = model(**batch)
    if model.config.model_type == "clip":
        return [found.text_embeds, found.image_embeds]
    vectors = found[0]
    mask = batch.get("attention_mask")
    if mask is not None and vectors.shape[:2] == mask.shape:
        vectors = vectors * mask[..., None]
    return [vectors]
