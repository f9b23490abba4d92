"""The model that fills in masked entries: what it reads, predicts, loses, saves."""

import math

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModel, AutoModelForPreTraining

from evolving_attention.models import EADCTransformerForPretraining, EADCTransformerModel
from evolving_attention.models.ea_dc_transformer_pretraining import masked_mean_squared_error
from tests.models.helpers import (
    EXACT,
    LENGTHS,
    Restatement,
    lived_in,
    one_sentence,
    padded,
    series_of,
    small_config,
    small_model,
)

PATCHES = pytest.mark.parametrize("patch_size", [1, 4, 20])


def new(**options):
    return small_model(EADCTransformerForPretraining, **options)


def hidden(values, share=0.3):
    """A mask of entries, at least one of each series."""
    mask = torch.rand(values.shape) < share
    mask[:, 0, 0] = True
    return mask


def gelu(x):
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


@PATCHES
def test_it_predicts_every_entry_as_the_restatement_does(patch_size):
    model = new(patch_size=patch_size)
    series = series_of()
    values, mask = padded(series)
    label_mask = hidden(values)
    told = model(values, mask, label_mask).prediction
    assert told.shape == values.shape
    stated = Restatement(model)
    batch = [
        stated.embed(each.masked_fill(label_mask[index, : len(each)], 0.0))
        for index, each in enumerate(series)
    ]
    maps = [None] * len(batch)
    for index in range(model.config.num_blocks):
        batch, chain = stated.block(index, batch, maps)
        maps = chain[-1]
    for index, encoded in enumerate(batch):
        expected = stated.linear("head", gelu(encoded)).reshape(-1, 3)[: LENGTHS[index]]
        assert_close(told[index, : LENGTHS[index]], expected, **EXACT)
        assert (told[index, LENGTHS[index] :] == 0).all()


@PATCHES
def test_padding_never_changes_prediction_or_loss(patch_size):
    model = new(patch_size=patch_size)
    values, mask = padded(series_of())
    label_mask = hidden(values)
    expected = model(values, mask, label_mask)
    for filling in (7.0, math.nan):
        wide, wide_mask = padded(
            [each[:length] for each, length in zip(values, LENGTHS, strict=True)], 17, filling
        )
        wide_labels = torch.ones(wide.shape, dtype=torch.bool)
        wide_labels[:, : values.shape[1]] = label_mask
        told = model(wide, wide_mask, wide_labels)
        assert_close(told.prediction[:, : values.shape[1]], expected.prediction, **EXACT)
        assert (told.prediction[:, values.shape[1] :] == 0).all()
        assert_close(told.loss, expected.loss, **EXACT)


def test_a_batch_without_padding_needs_no_mask():
    model = new()
    values = torch.randn(2, 10, 3, dtype=torch.float64)
    label_mask = hidden(values)
    with_mask = model(values, torch.ones(2, 10), label_mask)
    assert_close(model(values, None, label_mask).loss, with_mask.loss, **EXACT)


def test_the_encoder_reads_zero_where_entries_are_hidden():
    model = new()
    values, mask = padded(series_of())
    label_mask = hidden(values)
    read = values.masked_fill(label_mask, 0.0)
    assert torch.equal(model(values, mask, label_mask).prediction, model(read, mask).prediction)
    other = torch.where(label_mask, torch.randn_like(values), values)
    assert torch.equal(
        model(other, mask, label_mask).prediction, model(values, mask, label_mask).prediction
    )


def test_the_loss_is_the_mean_squared_error_on_hidden_real_entries():
    model = new()
    values, mask = padded(series_of())
    label_mask = hidden(values)
    output = model(values, mask, label_mask)
    errors = [
        (output.prediction[case, step, feature] - values[case, step, feature]).item() ** 2
        for case, length in enumerate(LENGTHS)
        for step in range(length)
        for feature in range(3)
        if label_mask[case, step, feature]
    ]
    assert output.loss.item() == pytest.approx(sum(errors) / len(errors))


def test_without_a_mask_there_is_a_prediction_and_no_loss():
    output = new()(torch.randn(2, 5, 3, dtype=torch.float64))
    assert output.loss is None
    assert output.prediction.shape == (2, 5, 3)


@pytest.mark.parametrize("where", ["nowhere", "only at padded steps"])
def test_the_loss_of_nothing_is_zero_and_so_are_its_gradients(where):
    model = new().train()
    values, mask = padded(series_of())
    label_mask = torch.zeros(values.shape, dtype=torch.bool)
    if where != "nowhere":
        label_mask[:] = ~mask.bool()[..., None]
    loss = model(values, mask, label_mask).loss
    loss.backward()
    assert loss.item() == 0
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or (parameter.grad == 0).all(), name


def test_what_is_not_hidden_reaches_neither_loss_nor_gradient():
    prediction = torch.randn(4, requires_grad=True)
    target = torch.tensor([1.0, math.nan, 2.0, math.inf])
    mask = torch.tensor([True, False, True, False])
    loss = masked_mean_squared_error(prediction, target, mask)
    loss.backward()
    expected = (prediction[mask] - target[mask]).square().mean()
    assert_close(loss, expected)
    assert (prediction.grad[~mask] == 0).all()
    assert prediction.grad.isfinite().all()


def test_errors_of_half_precision_are_summed_in_that_of_the_target():
    prediction = torch.full((20000,), 0.1, dtype=torch.bfloat16)
    loss = masked_mean_squared_error(prediction, torch.zeros(20000), torch.ones(20000).bool())
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(prediction[0].item() ** 2, rel=1e-4)


def test_it_returns_maps_attentions_and_hidden_states_as_its_siblings_do():
    model = new()
    values, mask = padded(series_of())
    asked = {"output_maps": True, "output_attentions": True, "output_hidden_states": True}
    output, encoded = model(values, mask, **asked), model.model(values, mask, **asked)
    assert len(output.maps) == len(output.attentions) == 4
    for name in ("maps", "attentions", "hidden_states"):
        for told, expected in zip(output[name], encoded[name], strict=True):
            assert torch.equal(told, expected)
    assert model(values, mask).maps is None


@pytest.mark.parametrize("shape", [(3, 10), (3, 10, 2), (2, 10, 3)])
def test_a_mask_of_a_wrong_shape_is_refused_with_the_right_one(shape):
    values, mask = padded(series_of())
    with pytest.raises(ValueError, match=r"\[3, 10, 3\]") as error:
        new()(values, mask, torch.zeros(shape, dtype=torch.bool))
    assert one_sentence(error)


@pytest.mark.parametrize("options", [{}, {"patch_size": 4}, {"pooling": "flatten"}], ids=str)
def test_a_model_read_back_is_the_same_to_the_bit(options, tmp_path):
    model = lived_in(EADCTransformerForPretraining(small_config(**options))).eval()
    model.save_pretrained(tmp_path)
    loaded = AutoModelForPreTraining.from_pretrained(tmp_path)
    assert type(loaded) is EADCTransformerForPretraining
    values, mask = padded(series_of(dtype=torch.float32))
    assert torch.equal(loaded(values, mask).prediction, model(values, mask).prediction)
    base = AutoModel.from_pretrained(tmp_path)
    for name, tensor in model.model.state_dict().items():
        assert torch.equal(base.state_dict()[name], tensor), name


def test_gradients_reach_every_parameter():
    model = new(learned_mixing=True).train()
    values, mask = padded(series_of())
    model(values, mask, hidden(values)).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_gradient_checkpointing_changes_nothing():
    values, mask = padded(series_of())
    label_mask = hidden(values)
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = new().train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        model(values, mask, label_mask).loss.backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        assert_close(plain, recomputed, **EXACT)


def test_a_frozen_encoder_stays_in_evaluation_mode_and_its_head_does_not():
    model = new()
    model.base_model.requires_grad_(False)
    model.train()
    assert not any(module.training for module in model.base_model.modules())
    assert model.training
    assert model.head.training
    model.base_model.requires_grad_(True)
    assert all(module.training for module in model.train().modules())


def test_an_encoder_that_learns_in_part_is_trained_as_ever():
    model = EADCTransformerModel(small_config())
    model.stem.requires_grad_(False)
    assert all(module.training for module in model.train().modules())
