import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close
from transformers.utils import ModelOutput

from evolving_attention.models import (
    EADCTransformerForClassification,
    EADCTransformerForRegression,
    EADCTransformerModel,
)
from evolving_attention.models.ea_dc_transformer import (
    EADCTransformerModelOutput,
    EADCTransformerOutput,
)
from tests.models.helpers import EXACT, one_sentence, padded, series_of, small_model

EVERYTHING = {"output_attentions": True, "output_hidden_states": True, "output_maps": True}


def batch(steps=12):
    return padded(series_of(), steps=steps, filling=2.0)


def pairs_of(mask):
    return (mask[:, None, :, None] * mask[:, None, None, :]).bool()


# What comes back


def test_the_base_model_returns_hidden_states_and_which_of_them_are_real():
    values, mask = batch()
    output = small_model(EADCTransformerModel)(values, mask)
    assert isinstance(output, ModelOutput)
    assert type(output) is EADCTransformerModelOutput
    assert list(output) == ["last_hidden_state", "position_mask"]
    assert output.last_hidden_state.shape == (3, 12, 16)
    assert torch.equal(output.position_mask, mask.bool())
    assert (output.last_hidden_state[mask == 0] == 0).all()
    assert (output.last_hidden_state[mask == 1] != 0).all()


def test_without_a_mask_the_base_model_returns_none_and_zeroes_nothing():
    values, _ = batch()
    output = small_model(EADCTransformerModel)(values)
    assert list(output) == ["last_hidden_state"]
    assert output.position_mask is None
    assert (output.last_hidden_state != 0).all()


def test_a_position_is_real_when_a_step_of_its_patch_is():
    output = small_model(EADCTransformerModel, patch_size=4)(*batch(steps=11))
    real = [[True] * 3, [True, False, False], [True, True, False]]  # of 10, 1 and 6 steps
    assert output.position_mask.tolist() == real


@pytest.mark.parametrize("kind", [EADCTransformerForClassification, EADCTransformerForRegression])
def test_a_model_with_a_head_returns_logits_and_a_loss_only_for_labels(kind):
    model = small_model(kind)
    output = model(*batch())
    assert isinstance(output, ModelOutput)
    assert type(output) is EADCTransformerOutput
    assert list(output) == ["logits"]
    assert output.logits.shape == (3, 3)
    labels = torch.tensor([0, 1, 2]) if "Class" in kind.__name__ else torch.randn(3, 3).double()
    labelled = model(*batch(), labels=labels)
    assert list(labelled) == ["loss", "logits"]
    assert labelled.loss.shape == ()


def test_without_return_dict_the_same_comes_back_as_a_tuple():
    model, values = small_model(), batch()
    labels = torch.tensor([0, 1, 2])
    with torch.no_grad():
        named = model(*values, labels=labels, **EVERYTHING)
        plain = model(*values, labels=labels, **EVERYTHING, return_dict=False)
        model.config.return_dict = False
        configured = model(*values, labels=labels, **EVERYTHING)
    for each in (plain, configured):
        assert type(each) is tuple
        assert_close(each, named.to_tuple(), rtol=0, atol=0)
    assert torch.equal(plain[0], named.loss)
    assert torch.equal(plain[1], named.logits)
    assert len(plain) == 5


def test_the_base_model_returns_a_tuple_too():
    model, values = small_model(EADCTransformerModel), batch()
    named, plain = model(*values), model(*values, return_dict=False)
    assert type(plain) is tuple
    assert torch.equal(plain[0], named.last_hidden_state)
    assert torch.equal(plain[1], named.position_mask)


@pytest.mark.parametrize("patch_size", [1, 3])
def test_attentions_are_probabilities_over_real_positions(patch_size):
    values, mask = batch()
    model = small_model(patch_size=patch_size)
    output = model(values, mask, output_attentions=True)
    assert list(output) == ["logits", "attentions"]
    assert len(output.attentions) == 2 * model.config.num_blocks
    positions = mask.unflatten(1, (-1, patch_size)).amax(2)
    for attention in output.attentions:
        assert attention.shape == (3, 2, *[12 // patch_size] * 2)
        assert (attention >= 0).all()
        assert (attention.masked_select(~pairs_of(positions)) == 0).all()
        assert_close(attention.sum(-1), positions[:, None].double().expand(3, 2, -1), **EXACT)


def test_attentions_are_the_softmax_of_the_maps_and_what_the_layers_use():
    model = small_model(num_blocks=1)
    (series,) = series_of((9,))
    output = model(series[None], **EVERYTHING)
    for attention, own_map in zip(output.attentions, output.maps, strict=True):
        assert_close(attention, own_map.softmax(-1), **EXACT)
    layer = model.model.blocks[0].first_convolution
    stem, _ = model.model.stem(series[None], torch.ones(1, 9).bool())
    value = layer.attention.query_key_value(stem)[..., 8:].unflatten(-1, (2, 2)).transpose(1, 2)
    attended = (output.attentions[0] @ value).transpose(1, 2).flatten(2)
    assert_close(layer(stem)[0][..., -4:], attended, **EXACT)


@pytest.mark.parametrize("num_blocks", [1, 3])
def test_hidden_states_are_those_after_the_stem_and_after_each_block(num_blocks):
    values, mask = batch()
    model = small_model(EADCTransformerModel, num_blocks=num_blocks)
    seen = []
    for module in (model.stem, *model.blocks):
        module.register_forward_hook(lambda _, __, output: seen.append(output[0]))
    output = model(values, mask, output_hidden_states=True)
    assert len(output.hidden_states) == num_blocks + 1 == len(seen)
    for state, expected in zip(output.hidden_states, seen, strict=True):
        assert torch.equal(state[mask == 1], expected[mask == 1])
    last = output.hidden_states[-1]
    assert torch.equal(last[mask == 1], output.last_hidden_state[mask == 1])


@pytest.mark.parametrize("options", [{}, {"alpha": 0.0, "beta": 0.0}, {"patch_size": 3}], ids=str)
def test_maps_are_two_a_block_and_zero_where_masked(options):
    values, mask = batch()
    model = small_model(**options)
    output = model(values, mask, output_maps=True)
    assert list(output) == ["logits", "maps"]
    assert len(output.maps) == 2 * model.config.num_blocks
    pairs = pairs_of(mask.unflatten(1, (-1, model.config.patch_size)).amax(2))
    for own_map in output.maps:
        assert own_map.shape == (3, 2, *pairs.shape[-2:])
        assert (own_map.masked_select(~pairs) == 0).all()
        assert (own_map.masked_select(pairs) != 0).all()


def test_the_pure_convolution_has_neither_maps_nor_attentions():
    output = small_model(key_ratio=0, value_ratio=0)(*batch(), **EVERYTHING)
    assert output.maps == output.attentions == ()
    assert len(output.hidden_states) == 3


def test_what_is_asked_for_does_not_change_what_is_computed():
    model, values = small_model(), batch()
    assert torch.equal(model(*values).logits, model(*values, **EVERYTHING).logits)


@pytest.mark.parametrize("name", EVERYTHING)
def test_the_configuration_may_ask_for_an_output_and_a_call_decline_it(name):
    model, values = small_model(**{name: True}), batch()
    key = name.removeprefix("output_")
    assert key in model(*values)
    assert key not in model(*values, **{name: False})


# Losses


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("class_weights", [None, [0.5, 2.0, 1.0]])
def test_classification_has_torchs_cross_entropy(class_weights, label_smoothing):
    model = small_model(class_weights=class_weights, label_smoothing=label_smoothing)
    labels = torch.tensor([2, 0, 1])
    output = model(*batch(), labels=labels)
    weight = class_weights and torch.tensor(class_weights, dtype=torch.float64)
    expected = F.cross_entropy(
        output.logits, labels, weight=weight, label_smoothing=label_smoothing
    )
    assert_close(output.loss, expected, **EXACT)
    plain = F.cross_entropy(output.logits, labels)
    assert torch.equal(output.loss, plain) is (class_weights is None and label_smoothing == 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_class_weights_follow_the_precision_of_the_model(dtype):
    model = small_model(class_weights=[0.5, 2.0, 1.0]).to(dtype)
    values, mask = batch()
    loss = model(values.to(dtype), mask, labels=torch.tensor([0, 1, 2])).loss
    assert loss.dtype is dtype
    assert loss.isfinite()


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_regression_of_one_target_takes_labels_in_both_shapes(shape):
    model = small_model(EADCTransformerForRegression, num_labels=1)
    labels = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    output = model(*batch(), labels=labels.reshape(shape))
    assert output.logits.shape == (3, 1)
    assert_close(output.loss, (output.logits[:, 0] - labels).square().mean(), **EXACT)


def test_regression_of_several_targets_has_the_mean_squared_error_over_all():
    model = small_model(EADCTransformerForRegression, num_labels=4)
    labels = torch.randn(3, 4, dtype=torch.float64)
    output = model(*batch(), labels=labels)
    assert output.logits.shape == (3, 4)
    assert_close(output.loss, (output.logits - labels).square().sum() / 12, **EXACT)


@pytest.mark.parametrize("dtype", [torch.long, torch.float32], ids=str)
def test_targets_of_another_type_are_cast(dtype):
    model = small_model(EADCTransformerForRegression, num_labels=1)
    labels, values = torch.tensor([1, -2, 3]), batch()
    actual, expected = (
        model(*values, labels=labels.to(each)).loss.detach() for each in (dtype, torch.float64)
    )
    assert actual.dtype is torch.float64
    assert torch.equal(actual, expected)


# Refusals


@pytest.mark.parametrize("shape", [(3, 12), (3, 12, 2), (3, 3, 12), (3, 0, 3), (1, 3, 12, 3)])
@pytest.mark.parametrize("kind", [EADCTransformerModel, EADCTransformerForClassification])
def test_input_of_a_wrong_shape_is_refused_with_the_right_one(kind, shape):
    wanted = r"input_values must have the shape \[batch, steps, 3 channels\], got "
    with pytest.raises(ValueError, match=wanted) as error:
        small_model(kind)(torch.zeros(shape, dtype=torch.float64))
    assert str(list(shape)) in str(error.value)
    assert one_sentence(error)


@pytest.mark.parametrize("shape", [(3,), (3, 11), (2, 12), (3, 12, 1), (3, 1, 12, 12)])
def test_a_mask_of_a_wrong_shape_is_refused_with_the_right_one(shape):
    values, _ = batch()
    wanted = r"attention_mask must have the shape \[3, 12\], got "
    with pytest.raises(ValueError, match=wanted) as error:
        small_model()(values, torch.ones(shape))
    assert str(list(shape)) in str(error.value)
    assert one_sentence(error)


@pytest.mark.parametrize(("max_length", "patch_size"), [(9, 1), (9, 3), (7, 4)])
def test_a_series_too_long_for_a_flatten_head_is_refused_with_what_to_do(max_length, patch_size):
    model = small_model(pooling="flatten", max_length=max_length, patch_size=patch_size)
    longest = model.config.max_positions * patch_size
    assert model(torch.zeros(1, longest, 3).double()).logits.isfinite().all()
    wanted = f"{longest + 1} steps is too long .*max_length={max_length}.*'mean'"
    with pytest.raises(ValueError, match=wanted) as error:
        model(torch.zeros(1, longest + 1, 3).double())
    assert one_sentence(error)


@pytest.mark.parametrize(
    ("targets", "shape"),
    [
        (3, (3, 2)),
        (3, (2, 2)),
        (3, (2,)),
        (3, (2, 3, 2)),
        (2, (2,)),
        (2, ()),
        (1, (1,)),
        (1, (2, 2)),
    ],
)
def test_targets_of_a_wrong_shape_are_refused(targets, shape):
    model = small_model(EADCTransformerForRegression, num_labels=targets)
    values, mask = padded(series_of((5, 7)))
    with pytest.raises(ValueError, match=rf"labels .*\[2, {targets}\]") as error:
        model(values, mask, labels=torch.zeros(shape, dtype=torch.float64))
    assert str(list(shape)) in str(error.value)
    assert one_sentence(error)


def test_class_weights_must_be_as_many_as_classes():
    with pytest.raises(ValueError, match="class_weights") as error:
        small_model(class_weights=[1.0, 2.0])(*batch(), labels=torch.tensor([0, 1, 2]))
    assert one_sentence(error)
