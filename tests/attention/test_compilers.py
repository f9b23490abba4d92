import os
import shutil

import pytest
import torch
from torch.testing import assert_close

from evolving_attention.attention import evolving_attention, padding_mask
from tests.attention.helpers import WINDOWS, TwoLayers, random_arguments, with_gradients


def assert_compiles_to_the_same(backend, window):
    torch.compiler.reset()
    arguments = random_arguments(dtype=torch.float32)
    arguments["alpha"], arguments["beta"] = torch.tensor(0.3), torch.tensor(0.6)
    eager, compiled = with_gradients(arguments), with_gradients(arguments)
    expected = evolving_attention(**eager, window=window)
    actual = torch.compile(evolving_attention, fullgraph=True, backend=backend)(
        **compiled, window=window
    )
    assert_close(actual, expected)
    for output, own_map in (actual, expected):
        (output.square().sum() + own_map.square().sum()).backward()
    for name, tensor in eager.items():
        assert_close(
            compiled[name].grad, tensor.grad, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("window", WINDOWS)
def test_the_whole_function_compiles_to_one_graph(window):
    assert_compiles_to_the_same("aot_eager", window)


@pytest.mark.slow
@pytest.mark.skipif(
    not any(map(shutil.which, (os.environ.get("CXX", ""), "g++", "clang++"))),
    reason="needs a C++ compiler",
)
def test_the_default_compiler_computes_the_same():
    assert_compiles_to_the_same("inductor", "bidirectional")


@pytest.mark.parametrize("dynamic", [None, True])
def test_a_chain_of_layers_compiles_to_one_graph(dynamic):
    torch.compiler.reset()
    model = TwoLayers()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for length in (5, 9):
        hidden = torch.randn(2, length, 8)
        mask = padding_mask(torch.arange(length)[None] < torch.tensor([[length], [3]]))
        gradients = []
        for each in (model, compiled):
            model.zero_grad()
            output, own_map = each(hidden, mask)
            (output.square().sum() + own_map.square().sum()).backward()
            gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
        assert_close(compiled(hidden, mask), model(hidden, mask))
        assert_close(gradients[1], gradients[0])


def export(model, shortest):
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", min=shortest)
    return torch.export.export(
        model,
        (torch.randn(2, 5, 8), torch.ones(2, 1, 5, 5, dtype=torch.bool)),
        dynamic_shapes=({0: batch, 1: length}, {0: batch, 2: length, 3: length}),
    ).module()


def assert_computes_the_same(exported, model, size, length):
    hidden = torch.randn(size, length, 8)
    mask = padding_mask(torch.arange(length)[None] < torch.arange(1, size + 1)[:, None])
    assert_close(exported(hidden, mask), model(hidden, mask))


@pytest.mark.parametrize("window", WINDOWS)
def test_a_chain_of_layers_exports_with_size_and_length_left_open(window):
    model = TwoLayers(window).eval()
    exported = export(model, shortest=3)
    for size, length in ((2, 5), (1, 3), (3, 12)):
        assert_computes_the_same(exported, model, size, length)


def test_an_exported_chain_takes_sequences_of_one_step_and_of_two():
    model = TwoLayers().eval()
    exported = export(model, shortest=1)
    for length in (1, 2, 3, 12):
        assert_computes_the_same(exported, model, 2, length)
