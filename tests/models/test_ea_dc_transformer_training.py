import pytest
import torch
from torch.testing import assert_close

from evolving_attention.models import (
    EADCTransformerForClassification,
    EADCTransformerForRegression,
)
from evolving_attention.models.pooling import POOLINGS
from tests.models.helpers import padded, series_of, small_config, small_model

IDENTITY = {
    "map_initialization": "identity",
    "map_activation": "identity",
    "learned_mixing": True,
}
LABELS = torch.tensor([0, 2, 1])


def batch(dtype=torch.float64):
    return padded(series_of(dtype=dtype), steps=12)


def gradients(model):
    return {name: each.grad.clone() for name, each in model.named_parameters()}


def buffers(model):
    return {name: each.clone() for name, each in model.named_buffers()}


def checkpointing(model, use_reentrant):
    # Its name in newer versions of transformers, and its older one.
    enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
    enable({"use_reentrant": use_reentrant})
    return model


# Gradient checkpointing


@pytest.mark.parametrize("use_reentrant", [True, False], ids=["reentrant", "not reentrant"])
@pytest.mark.parametrize("is_padded", [True, False], ids=["padded", "no mask"])
@pytest.mark.parametrize("options", [{}, IDENTITY, {"key_ratio": 0, "value_ratio": 0}], ids=str)
def test_checkpointing_changes_neither_gradients_nor_statistics(options, is_padded, use_reentrant):
    values, mask = batch()
    mask = mask if is_padded else None
    trained = []
    for checkpointed in (False, True):
        torch.manual_seed(1)
        model = small_model(hidden_dropout=0.3, attention_dropout=0.3, **options).train()
        if checkpointed:
            checkpointing(model, use_reentrant)
            assert model.model.blocks[0].gradient_checkpointing
        for step in range(2):
            torch.manual_seed(step)
            model(values, mask, labels=LABELS).loss.backward()
        trained.append((gradients(model), buffers(model)))
    assert_close(trained[1], trained[0], rtol=1e-10, atol=1e-12)
    assert trained[1][1]["model.blocks.1.output_norm.num_batches_tracked"] == 2


def large_maps_kept_for_backward(model, length):
    values = torch.randn(2, length, 3, dtype=torch.float64)
    kept = []

    def pack(tensor):
        if tensor.is_floating_point() and tensor.shape[-2:] == (length, length):
            kept.append(tensor.shape)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(values)
    return len(kept)


def test_checkpointing_keeps_one_map_a_block_for_the_backward_pass():
    model = small_model(num_blocks=3, max_length=40).train()
    plain = large_maps_kept_for_backward(model, 37)
    assert plain > 3
    assert large_maps_kept_for_backward(checkpointing(model, False), 37) <= 2


# Half precision and compilers


@pytest.mark.parametrize("kind", [EADCTransformerForClassification, EADCTransformerForRegression])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_bfloat16_autocast_trains_with_a_finite_loss_and_finite_gradients(pooling, kind):
    model = small_model(kind, pooling=pooling).float().train()
    values, mask = batch(torch.float32)
    labels = LABELS if kind is EADCTransformerForClassification else torch.randn(3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(values, mask, labels=labels)
    assert output.loss.isfinite()
    output.loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.dtype is torch.float32, name
        assert parameter.grad.isfinite().all(), name
    for name, buffer in model.named_buffers():
        assert buffer.isfinite().all(), name


@pytest.mark.parametrize("pooling", POOLINGS)
def test_bfloat16_autocast_predicts_near_the_truth(pooling):
    model = small_model(pooling=pooling).float()
    values, mask = batch(torch.float32)
    with torch.no_grad():
        expected = model(values, mask).logits
        with torch.autocast("cpu", torch.bfloat16):
            actual = model(values, mask).logits
    assert_close(actual.float(), expected, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("training", [False, True], ids=["eval, no mask", "training, padded"])
def test_a_compiled_model_computes_the_same(training):
    torch.compiler.reset()
    models = []
    for _ in range(2):
        torch.manual_seed(1)
        models.append(small_model(hidden_dropout=0.0).train(training))
    eager, compiled = models
    run = torch.compile(compiled, backend="aot_eager")
    values, mask = batch()
    mask = mask if training else None
    expected = eager(values, mask, labels=LABELS, output_maps=True)
    actual = run(values, mask, labels=LABELS, output_maps=True)
    assert_close(actual.to_tuple(), expected.to_tuple(), rtol=1e-8, atol=1e-10)
    if training:
        for output in (expected, actual):
            output.loss.backward()
        assert_close(gradients(compiled), gradients(eager), rtol=1e-7, atol=1e-9)
    assert_close(buffers(compiled), buffers(eager), rtol=1e-10, atol=1e-12)


# A start as the twin


@pytest.mark.parametrize("training", [False, True], ids=["eval", "training"])
@pytest.mark.parametrize("beta", [0.3, 1.0])
def test_an_identity_start_computes_what_its_twin_computes(beta, training):
    model = small_model(beta=beta, hidden_dropout=0.0, **IDENTITY).float().train(training)
    twin = EADCTransformerForClassification(model.config.twin()).train(training)
    report = twin.load_state_dict(model.state_dict(), strict=False)
    assert report.missing_keys == []
    assert len(report.unexpected_keys) == 3 * 2  # alpha and kernel of three evolving layers
    values, mask = batch(torch.float32)
    actual, expected = (each(values, mask, output_maps=True) for each in (model, twin))
    assert_close(actual.logits, expected.logits, rtol=1e-6, atol=1e-6)
    assert_close(actual.maps, expected.maps, rtol=1e-6, atol=1e-6)


def test_from_an_identity_start_every_new_parameter_gets_a_gradient_and_leaves_the_twin():
    model = small_model(**IDENTITY)
    values, mask = batch()
    before = model(values, mask, labels=LABELS)
    before.loss.backward()
    for name, parameter in model.named_parameters():
        if "evolution" in name:
            assert (parameter.grad != 0).all(), name
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "evolution" in name:
                parameter -= parameter.grad
    assert not torch.allclose(model(values, mask).logits, before.logits, rtol=0, atol=1e-9)


# Learning


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("kind", [EADCTransformerForClassification, EADCTransformerForRegression])
def test_thirty_steps_fit_a_tiny_problem(kind, pooling):
    model = kind(small_config(pooling=pooling, hidden_dropout=0.0)).train()
    values, mask = padded(series_of((12, 7, 9, 4, 12, 5), dtype=torch.float32))
    classes = torch.tensor([0, 1, 2, 0, 1, 2])
    labels = classes if kind is EADCTransformerForClassification else torch.randn(6, 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        loss = model(values, mask, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_an_evolving_network_learns_its_kernels_and_shares():
    model = EADCTransformerForClassification(small_config(learned_mixing=True)).train()
    before = {name: each.detach().clone() for name, each in model.named_parameters()}
    optimizer = torch.optim.RAdam(model.parameters(), lr=1e-2)
    values, mask = batch(torch.float32)
    for _ in range(8):
        optimizer.zero_grad()
        model(values, mask, labels=LABELS).loss.backward()
        optimizer.step()
    for name, parameter in model.named_parameters():
        if "evolution" in name:
            assert not torch.equal(parameter, before[name]), name
