"""Compiled, exported and parallel models compute what they compute."""

import subprocess
import sys

import pytest
import torch
from torch.testing import assert_close

from tests.models.huggingface.helpers import (
    KINDS,
    evolving,
    gradients,
    labelled,
    texts,
    without_dropout,
)

AXES = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=30)}
OPEN = dict.fromkeys(texts(), AXES)
LENGTHS = ((7, 5, 3), (9, 4), (2,), (1,))


@pytest.fixture(autouse=True)
def _forget_compiled():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def compiled(model, **options):
    return torch.compile(model, **{"backend": "eager"} | options)  # what is hard is to trace it


def gradients_of(model, call):
    model.zero_grad()
    call(**labelled()).loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


@KINDS
def test_a_model_compiles_to_one_graph(kind):
    model = shallow(kind)
    actual = gradients_of(model, compiled(model, fullgraph=True))
    assert_close(actual, gradients(model, labelled()))


@pytest.mark.slow
def test_forward_and_backward_pass_compile_for_any_length():
    model = shallow("encoder")
    call = compiled(model, fullgraph=True, backend="aot_eager", dynamic=True)
    assert_close(gradients_of(model, call), gradients(model, labelled()))
    other = labelled(lengths=(4, 9))
    assert_close(call(**other).logits, model(**other).logits)


def test_attentions_of_a_compiled_model_are_there_when_asked_for():
    model = shallow("encoder")
    expected = model(**texts(), output_attentions=True).attentions
    actual = compiled(model)(**texts(), output_attentions=True).attentions
    assert_close(actual, expected)
    assert len(actual) == 2


def test_layers_compiled_one_by_one_find_their_maps():
    model = shallow("encoder")
    expected = gradients(model, labelled())
    for layer in model.bert.encoder.layer:
        layer.compile(backend="eager", fullgraph=True)
    assert_close(gradients(model, labelled()), expected)


@pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")
def test_a_compiled_model_checkpoints():
    model = without_dropout(shallow("encoder")).train()
    expected = gradients(model, labelled())
    model.gradient_checkpointing_enable()
    assert_close(gradients_of(model, compiled(model)), expected)


def shallow(kind):
    return evolving(kind, num_layers=2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_an_exported_program_leaves_size_and_length_open(kind):
    model = to_export(kind)
    program = torch.export.export(model, (), texts(), dynamic_shapes=OPEN, strict=False).module()
    for lengths in LENGTHS:
        batch = texts(lengths)
        assert_close(program(**batch).logits, model(**batch).logits)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:# The axis name:UserWarning")
def test_onnx_runtime_computes_the_same_at_every_size_and_length(kind, tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason="needs the extra [export]")
    pytest.importorskip("onnxscript", reason="needs the extra [export]")
    model = to_export(kind)
    torch.onnx.export(
        model, (), tmp_path / "model.onnx", kwargs=texts(), dynamic_shapes=OPEN, dynamo=True
    )
    session = runtime.InferenceSession(tmp_path / "model.onnx")
    for lengths in LENGTHS:
        batch = texts(lengths)
        (actual, *_) = session.run(None, {name: each.numpy() for name, each in batch.items()})
        real = batch["attention_mask"].bool()
        expected = model(**batch).logits[real]
        assert_close(torch.from_numpy(actual)[real], expected, rtol=1e-4, atol=1e-4)


def to_export(kind):
    model = shallow(kind).float().requires_grad_(False)
    model.config.use_cache = False  # a cache is no tensor that a program could return
    return model


@pytest.mark.slow
def test_two_processes_share_a_batch():
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    program = [*start, "-m", "tests.models.huggingface.data_parallel"]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("same gradients") == 2
