from itertools import pairwise

import pytest
import torch
from peak_memory import peak_allocated
from torch import nn
from torch.testing import assert_close

from evolving_attention.attention import (
    EvolvingAttention,
    attention_backend,
    modules,
    overwriting_maps,
)
from evolving_attention.models import (
    EADCTransformerConfig,
    EADCTransformerForClassification,
    EADCTransformerForRegression,
    EADCTransformerModel,
)
from evolving_attention.models.augmented_convolution import BranchDropout
from evolving_attention.models.pooling import POOLINGS
from tests.models.helpers import (
    EXACT,
    Restatement,
    lived_in,
    padded,
    series_of,
    small_config,
    small_model,
)

TWIN = {"alpha": 0.0, "beta": 0.0}
STATED = [
    {},
    {"pooling": "flatten"},
    {"pooling": "max"},
    {"pooling": "attention"},
    TWIN,
    TWIN | {"pooling": "flatten", "dilated": False},
    {"dilated": False, "num_blocks": 3},
    {"num_blocks": 3, "pooling": "flatten"},
    {"evolve_first_block": False},
    {"evolve_first_block": False, "pooling": "flatten", "num_blocks": 3},
    {"num_blocks": 1},
    {"map_kernel_size": 1},
    {"map_kernel_size": 5, "map_activation": "leaky_relu"},
    {"kernel_size": 1},
    {"kernel_size": 5, "num_blocks": 3},
    {"alpha": 0.3, "beta": 0.9, "map_activation": "identity"},
    {"alpha": 0.7, "beta": 0.0},
    {"alpha": 0.0, "beta": 1},
    {"learned_mixing": True, "alpha": 0.2},
    {"key_ratio": 0.5, "num_attention_heads": 4},
    {"key_ratio": 0, "value_ratio": 0},
    {"key_ratio": 1, "value_ratio": 1},
    {"patch_size": 3},
    {"patch_size": 3, "pooling": "flatten", "map_activation": "leaky_relu"},
    {"max_length": 4},
]


# The equations, said once more


@pytest.mark.parametrize("options", STATED, ids=str)
def test_a_padded_batch_is_scored_as_the_paper_says_of_each_series_alone(options):
    model, series = small_model(**options), series_of()
    values, mask = padded(series, steps=11, filling=3.0)
    if options.get("pooling") == "flatten":
        assert model.head.in_features > model.config.hidden_size
    with torch.no_grad():
        output = model(values, mask, output_maps=True)
        expected, chain = Restatement(model)(series)
    assert_close(output.logits, expected, **EXACT)
    assert len(output.maps) == (len(chain) if model.config.key_ratio else 0)
    for own_map, alone in zip(output.maps, chain, strict=False):
        for each, wanted in zip(own_map, alone, strict=True):
            n = wanted.shape[-1]
            assert_close(each[:, :n, :n], wanted, **EXACT)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pooling": "flatten"},
        TWIN,
        {"learned_mixing": True},
        {"key_ratio": 0, "value_ratio": 0},
    ],
    ids=str,
)
def test_training_normalises_by_the_real_steps_of_the_batch_as_the_paper_says(options):
    model, series = small_model(hidden_dropout=0.0, **options).train(), series_of()
    stated = Restatement(model, training=True)
    values, mask = padded(series, steps=11, filling=3.0)
    weights = torch.randn(len(series), 3, dtype=torch.float64)
    for _ in range(2):
        logits, (expected, _) = model(values, mask).logits, stated(series)
        assert_close(logits, expected, **EXACT)
    for name, buffer in model.named_buffers():
        assert_close(buffer, stated.weights[name], **EXACT)
    (logits * weights).sum().backward()
    (expected * weights).sum().backward()
    for name, parameter in model.named_parameters():
        wanted = stated.weights[name].grad
        assert_close(parameter.grad, wanted, rtol=1e-7, atol=1e-9, msg=f"{name} differs")


def test_regression_has_the_same_body_and_head():
    model, series = small_model(EADCTransformerForRegression), series_of()
    with torch.no_grad():
        assert_close(model(*padded(series)).logits, Restatement(model)(series)[0], **EXACT)


# The released code's defects are absent


@pytest.mark.parametrize("pooling", POOLINGS)
def test_evaluation_predicts_the_same_from_call_to_call(pooling):
    model = small_model(pooling=pooling, hidden_dropout=0.5, attention_dropout=0.5)
    batch = padded(series_of())
    with torch.no_grad():
        assert torch.equal(model(*batch).logits, model(*batch).logits)
        assert not torch.equal(model.train()(*batch).logits, model(*batch).logits)


def test_every_dropout_has_the_share_configured_and_is_active_in_training():
    model = small_model(hidden_dropout=0.3, attention_dropout=0.4, branch_dropout=0.2).train()
    batch = padded(8 * series_of())  # so many that no two draws over whole series agree
    hidden = [each for each in model.modules() if isinstance(each, nn.Dropout)]
    attention = [each for each in model.modules() if isinstance(each, EvolvingAttention)]
    assert [each.p for each in hidden] == [0.3] * (2 + 2 * 2)  # stem, head, two a block
    assert [each.dropout for each in attention] == [0.4] * (2 * 2)
    branches = [each for each in model.modules() if isinstance(each, BranchDropout)]
    assert [each.p for each in branches] == [0.2] * (2 * 2)
    for each in (*hidden, *branches):
        each.p = 0.0
    for each in attention:
        each.dropout = 0.0
    assert torch.equal(model(*batch).logits, model(*batch).logits)
    shares = [(each, "p") for each in (*hidden, *branches)]
    for each, name in [*shares, *((one, "dropout") for one in attention)]:
        setattr(each, name, 0.5)
        assert not torch.equal(model(*batch).logits, model(*batch).logits)
        setattr(each, name, 0.0)


def test_relative_positions_are_parameters_with_gradients_and_a_say_in_the_output():
    model = small_model()
    batch = padded(series_of())
    logits = model(*batch).logits
    logits.square().sum().backward()
    tables = [each for name, each in model.named_parameters() if "relative_position" in name]
    assert len(tables) == 4
    for table in tables:
        assert isinstance(table, nn.Parameter)
        assert table.grad.abs().sum() > 0
        before = table.detach().clone()
        with torch.no_grad():
            table.mul_(2.0)
            assert not torch.allclose(model(*batch).logits, logits)
            table.copy_(before)


@pytest.mark.parametrize("kind", [EADCTransformerForClassification, EADCTransformerForRegression])
@pytest.mark.parametrize("options", STATED, ids=str)
def test_every_parameter_gets_a_gradient_in_one_backward(options, kind):
    # In eval mode: training's batch norm rightly cancels a bias before it. Without ReLU, which may
    # shut both of two heads by chance.
    model = small_model(kind, **{"map_activation": "leaky_relu", **options})
    model(*padded(series_of())).logits.pow(3).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("options", STATED, ids=str)
def test_every_parameter_is_reached_in_training(options):
    model = small_model(**options).train()
    model(*padded(series_of())).logits.pow(3).sum().backward()
    unreached = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert unreached == []


@pytest.mark.parametrize("filling", [0.0, 1e30, torch.nan])
@pytest.mark.parametrize("patch_size", [1, 3])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_series_alone_and_in_a_padded_batch_gives_the_same(pooling, patch_size, filling):
    model, series = small_model(pooling=pooling, patch_size=patch_size), series_of()
    asked = {"output_hidden_states": True, "output_maps": True, "output_attentions": True}
    with torch.no_grad():
        together = model(*padded(series, steps=12, filling=filling), **asked)
        for index, each in enumerate(series):
            alone = model(each[None], **asked)
            assert_close(together.logits[index], alone.logits[0], **EXACT)
            n = -(-len(each) // patch_size)
            for many, one in zip(together.hidden_states, alone.hidden_states, strict=True):
                assert_close(many[index, :n], one[0], **EXACT)
            for name in ("maps", "attentions"):
                for many, one in zip(together[name], alone[name], strict=True):
                    assert_close(many[index, :, :n, :n], one[0], **EXACT)


def test_steps_that_fill_up_a_patch_count_as_zeros():
    model = small_model(patch_size=3)
    (series,) = series_of((7,))
    values, mask = padded([series], steps=9)
    with torch.no_grad():
        assert_close(model(values, torch.ones_like(mask)).logits, model(values, mask).logits)
        assert_close(model(series[None]).logits, model(values, mask).logits)


@pytest.mark.parametrize("filling", [0.0, 1e30, torch.nan])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_changes_nothing_that_training_does(pooling, filling):
    batches = [padded(series_of((9, 4)))]
    batches.append(padded([batches[0][0][0], batches[0][0][1, :4]], steps=12, filling=filling))
    trained = []
    for values, mask in batches:
        torch.manual_seed(1)
        model = small_model(pooling=pooling, hidden_dropout=0.0).train()
        model(values, mask, labels=torch.tensor([0, 2])).loss.backward()
        gradients = {name: each.grad for name, each in model.named_parameters()}
        trained.append((gradients, dict(model.named_buffers())))
    assert_close(trained[1], trained[0], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("place", [0, 4])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_what_stands_at_a_padded_step_before_real_ones_does_not_matter(pooling, place):
    model = small_model(pooling=pooling)
    values, mask = padded(series_of((9, 6)))
    mask[:, place] = 0
    logits = []
    for filling in (0.0, 1e30, torch.nan):
        values[:, place] = filling
        logits.append(model(values, mask).logits)
    assert torch.equal(logits[0], logits[1])
    assert torch.equal(logits[0], logits[2])


def test_padded_steps_get_no_gradient():
    model = small_model()
    values, mask = padded(series_of(), steps=12, filling=5.0)
    values.requires_grad_()
    model(values, mask).logits.pow(3).sum().backward()
    assert (values.grad[mask == 0] == 0).all()
    assert (values.grad[mask == 1].abs().sum(-1) > 0).all()


@pytest.mark.parametrize("evolve_first_block", [True, False])
def test_the_first_block_evolves_inside_by_configuration(evolve_first_block):
    model = small_model(evolve_first_block=evolve_first_block)
    evolving = {
        name.split(".attention.")[0]
        for name in model.state_dict()
        if "evolution.convolution" in name
    }
    later = {"model.blocks.1.first_convolution", "model.blocks.1.second_convolution"}
    inside = {"model.blocks.0.second_convolution"} if evolve_first_block else set()
    assert evolving == later | inside
    hidden = torch.randn(1, 5, 16, dtype=torch.float64)
    second = model.model.blocks[0].second_convolution
    first_map = torch.randn(1, 2, 5, 5, dtype=torch.float64)
    same = torch.equal(second(hidden, first_map)[0], second(hidden, -first_map)[0])
    assert same is not evolve_first_block


def test_the_chain_starts_plain_and_runs_through_every_layer():
    model = small_model(num_blocks=3)
    values, mask = padded(series_of())
    first = model.model.blocks[0].first_convolution.attention
    assert not list(first.evolution.parameters())
    seen = []
    for block in model.model.blocks:
        for convolution in (block.first_convolution, block.second_convolution):
            convolution.register_forward_hook(
                lambda _, inputs, output: seen.append((inputs[1], output[1]))
            )
    model(values, mask)
    assert seen[0][0] is None
    for (_, handed_on), (taken, _) in pairwise(seen):
        assert taken is handed_on


@pytest.mark.parametrize(("dilated", "expected"), [(True, [1, 2, 4, 8]), (False, [1, 1, 1, 1])])
def test_dilations_double_from_block_to_block(dilated, expected):
    model = EADCTransformerModel(small_config(num_blocks=4, dilated=dilated))
    for name in ("first_convolution", "second_convolution"):
        convolutions = [getattr(block, name).convolution for block in model.blocks]
        assert [each.dilation for each in convolutions] == expected


WIDTHS = [
    ("num_attention_heads", 4, lambda model, output: output.maps[0].shape[1]),
    ("num_blocks", 3, lambda model, output: len(output.maps) // 2),
    ("hidden_size", 32, lambda model, output: output.hidden_states[-1].shape[-1]),
    (
        "intermediate_size",
        20,
        lambda model, _: model.model.blocks[1].first_feed_forward[0].out_features,
    ),
    (
        "intermediate_size",
        20,
        lambda model, _: model.model.blocks[1].second_feed_forward[3].in_features,
    ),
    ("input_size", 3, lambda model, _: model.model.stem.projection.in_features),
    ("max_length", 11, lambda model, _: len(model.model.stem.positions)),
    (
        "kernel_size",
        4,
        lambda model, _: model.model.blocks[0].first_convolution.convolution.direction.shape[2],
    ),
    ("num_labels", 5, lambda model, output: output.logits.shape[1]),
]


@pytest.mark.parametrize(("option", "value", "read"), WIDTHS)
def test_an_option_of_size_is_honoured(option, value, read):
    model = small_model(**{option: value})
    output = model(*padded(series_of()), output_maps=True, output_hidden_states=True)
    assert read(model, output) == value


@pytest.mark.parametrize(("key_ratio", "value_ratio"), [(0.25, 0.5), (0.5, 0.125), (1, 1), (0, 0)])
def test_ratios_set_the_widths_of_both_branches(key_ratio, value_ratio):
    for block in small_model(key_ratio=key_ratio, value_ratio=value_ratio).model.blocks:
        for layer in (block.first_convolution, block.second_convolution):
            convolved = 0 if layer.convolution is None else layer.convolution.bias.numel()
            assert convolved == 16 - 16 * value_ratio
            projected = (
                0 if layer.attention is None else layer.attention.query_key_value.out_features
            )
            assert projected == 16 * (2 * key_ratio + value_ratio)


def test_a_map_read_by_the_next_layer_holds_no_dropout():
    """In training, the maps of the first layer are the logits of its input, nothing else."""
    model = small_model(hidden_dropout=0.0, attention_dropout=0.5)
    batch = padded(series_of())
    evaluated = model(*batch, output_maps=True).maps[0]
    trained = model.train()(*batch, output_maps=True).maps[0]
    assert torch.equal(evaluated, trained)


def test_inputs_and_configuration_are_left_as_they_were():
    model = small_model().train()
    values, mask = padded(series_of(), steps=12, filling=7.0)
    labels, config = torch.tensor([0, 1, 2]), model.config.to_dict()
    copies = values.clone(), mask.clone(), labels.clone()
    for _ in range(2):
        model(values, mask, labels=labels, output_maps=True).loss.backward()
    assert torch.equal(values, copies[0])
    assert torch.equal(mask, copies[1])
    assert torch.equal(labels, copies[2])
    assert model.config.to_dict() == config


# Series of any length


@pytest.mark.parametrize("patch_size", [1, 3])
@pytest.mark.parametrize("pooling", ["mean", "max", "attention"])
def test_a_series_longer_than_max_length_is_read_to_its_end(pooling, patch_size):
    model = small_model(pooling=pooling, patch_size=patch_size, max_length=6)
    (series,) = series_of((20,))
    values = series[None].clone().requires_grad_()
    model(values).logits.pow(3).sum().backward()
    assert (values.grad.abs().sum(-1) > 0).all() or pooling == "max"
    changed = series.clone()
    changed[-1] += 10
    assert not torch.allclose(model(changed[None]).logits, model(series[None]).logits)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("patch_size", [1, 3, 20])
def test_a_series_of_one_step_is_scored_and_learned_from(pooling, patch_size):
    model = small_model(pooling=pooling, patch_size=patch_size).train()
    output = model(torch.randn(4, 1, 3).double(), labels=torch.tensor([0, 1, 2, 0]))
    output.loss.backward()
    assert output.logits.isfinite().all()
    assert all(each.grad.isfinite().all() for each in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bool, torch.int32, torch.long, torch.float32], ids=str)
def test_masks_of_any_type_mean_the_same(dtype):
    model = small_model()
    values, mask = padded(series_of(), steps=12)
    assert torch.equal(model(values, mask.to(dtype)).logits, model(values, mask).logits)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("patch_size", [1, 5])
def test_without_a_mask_every_step_is_real(pooling, patch_size):
    model = small_model(pooling=pooling, patch_size=patch_size)
    values, mask = padded(series_of(), steps=12)
    asked = {"output_hidden_states": True, "output_maps": True, "output_attentions": True}
    without, with_ones = model(values, **asked), model(values, torch.ones_like(mask), **asked)
    assert_close(without.to_tuple(), with_ones.to_tuple(), **EXACT)
    assert not torch.allclose(without.logits, model(values, mask).logits)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_without_a_mask_training_is_that_with_every_step_real(pooling):
    values, mask = padded(series_of(), steps=12)
    trained = []
    for given in (None, torch.ones_like(mask)):
        torch.manual_seed(1)
        model = small_model(pooling=pooling, patch_size=5, hidden_dropout=0.0).train()
        model(values, given, labels=torch.tensor([0, 2, 1])).loss.backward()
        gradients = {name: each.grad for name, each in model.named_parameters()}
        trained.append((gradients, dict(model.named_buffers())))
    assert_close(trained[1], trained[0], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_series_without_a_real_step_harms_neither_itself_nor_its_neighbours(pooling):
    model = small_model(pooling=pooling)
    values, mask = padded(series_of(), steps=12)
    expected = model(values, mask).logits
    mask[1] = 0
    output = model(values, mask).logits
    assert output.isfinite().all()
    assert_close(output[[0, 2]], expected[[0, 2]], **EXACT)


def test_the_batch_around_a_series_does_not_matter_in_evaluation():
    model = small_model()
    values, mask = padded(series_of())
    order = torch.tensor([2, 0, 1])
    assert_close(
        model(values[order], mask[order]).logits, model(values, mask).logits[order], **EXACT
    )


@pytest.mark.parametrize("is_padded", [False, True], ids=["no mask", "padded"])
def test_a_prediction_that_overwrites_maps_is_the_same_and_needs_fewer(is_padded, monkeypatch):
    monkeypatch.setattr(modules, "_LARGE", 1)
    config = EADCTransformerConfig(input_size=3, max_length=128, num_labels=3)
    model = lived_in(EADCTransformerForClassification(config)).eval()
    values, mask = padded(series_of((128, 90, 1, 40), dtype=torch.float32))
    inputs = (values, mask) if is_padded else (values,)

    def predict():
        return model(*inputs).logits

    with torch.inference_mode(), attention_backend("banded"):
        expected = predict()
        before = peak_allocated(predict)
        with overwriting_maps():
            assert torch.equal(predict(), expected)
            spared = before - peak_allocated(predict)
    assert spared / (4 * len(values) * config.num_attention_heads * 128**2) > 0.9
