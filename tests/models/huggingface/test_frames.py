"""Maps find the right layer, whatever runs when, and are let go."""

import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint
from transformers import BertConfig, BertModel, PreTrainedModel

from evolving_attention import evolve
from evolving_attention.models.huggingface import frames
from tests.models.huggingface.helpers import (
    KINDS,
    bert_config,
    evolutions,
    evolving,
    gradients,
    labelled,
    shaken,
    texts,
    without_dropout,
)


@KINDS
@pytest.mark.parametrize("use_reentrant", [False, True])
@pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")
def test_checkpointing_gives_the_same_gradients(kind, use_reentrant):
    model = without_dropout(evolving(kind)).train()
    expected = gradients(model, labelled())
    model.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
    recomputed = count_calls(model)
    assert_close(gradients(model, labelled()), expected)
    assert recomputed() == 2 * len(evolutions(model))


@pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")
def test_checkpointing_goes_by_each_layer_as_where_the_lower_ones_are_frozen():
    model = without_dropout(evolving("encoder")).eval()
    expected = gradients(model, labelled())
    model.gradient_checkpointing_enable()
    model.bert.encoder.layer[-1].train()
    recomputed = count_calls(model)
    assert_close(gradients(model, labelled()), expected)
    assert recomputed() == len(evolutions(model)) + 1


@pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")
def test_checkpointing_by_a_model_around_gives_the_same_gradients():
    around = Around(BertConfig())
    expected = gradients_of(around)
    around.gradient_checkpointing_enable()
    recomputed = count_calls(around)
    assert_close(gradients_of(around), expected)
    assert recomputed() == 2 * 2


@KINDS
@pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")
@pytest.mark.parametrize("checkpointing", [False, True])
def test_no_map_outlives_the_backward_pass(kind, checkpointing):
    model = evolving(kind).train()
    if checkpointing:
        model.gradient_checkpointing_enable()
    maps = spy_on_maps(model)
    loss = model(**labelled()).loss
    assert count_alive(maps) > 0  # autograd needs them
    loss.backward()
    gc.collect()
    assert count_alive(maps) == 0


def test_inference_holds_one_map_of_a_chain_at_a_time():
    model, alive = evolving("encoder"), []
    maps = spy_on_maps(model)
    for evolution in evolutions(model).values():
        evolution.register_forward_pre_hook(lambda *_: alive.append(count_alive(maps)))
    with torch.no_grad():
        model(**texts())
    assert alive == [1, 1]  # the map of the layer before


def test_every_call_starts_new_chains():
    model = evolving("encoder")
    expected = model(**texts()).logits
    model(**texts((9, 2)))
    assert_close(model(**texts()).logits, expected)


def test_an_error_in_the_middle_leaves_nothing_behind():
    model = evolving("encoder")
    expected = model(**texts()).logits
    broken = model.bert.encoder.layer[1].intermediate.register_forward_pre_hook(fail)
    with pytest.raises(ZeroDivisionError):
        model(**texts())
    assert frames._open_frames() == []
    broken.remove()
    assert_close(model(**texts()).logits, expected)


def test_a_model_within_a_layer_of_another_has_chains_of_its_own():
    inner, outer = evolving("encoder"), evolving("encoder")
    expected = outer(**texts()).logits, inner(**texts((4, 9))).logits
    found = []
    outer.bert.encoder.layer[1].attention.self.query.register_forward_pre_hook(
        lambda *_: found.append(inner(**texts((4, 9))).logits)
    )
    assert_close((outer(**texts()).logits, *found), expected)


def test_threads_do_not_mix():
    model = evolving("encoder")
    lengths = [(7, 5), (5, 7), (6, 3), (3, 6)]
    expected = [model(**texts(each)).logits for each in lengths]
    together = threading.Barrier(len(lengths))
    for layer in model.bert.encoder.layer:  # every thread in the same layer at the same time
        layer.register_forward_pre_hook(lambda *_: print(together.wait(20)))
    with ThreadPoolExecutor(len(lengths)) as threads:
        actual = [*threads.map(lambda each: model(**texts(each)).logits, lengths)]
    assert_close(actual, expected)


@pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")
def test_the_backward_pass_may_run_in_another_thread():
    model = without_dropout(evolving("encoder")).train()
    expected = gradients(model, labelled())
    model.gradient_checkpointing_enable()
    model.zero_grad()
    thread = threading.Thread(target=model(**labelled()).loss.backward)
    thread.start()
    thread.join()
    actual = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert_close(actual, expected)


def test_a_layer_left_out_hands_the_map_before_on():
    model = evolving("encoder")
    first, left_out, last = model.bert.encoder.layer
    model.bert.encoder.layer = nn.ModuleList([first, last])
    shorter = model(**texts()).logits
    model.bert.encoder.layer = nn.ModuleList([first, left_out, last])
    left_out.forward = lambda hidden, *_, **__: hidden  # as layer drop does
    assert_close(model(**texts()).logits, shorter)


def test_maps_come_along_where_layers_are_on_several_devices():
    model = evolving("decoder")
    for module in (*model.model.layers[1:], model.model.norm, model.lm_head):
        add_hook_to_module(module.to("meta"), AlignDevicesHook("meta"))  # as accelerate spreads
    assert model(**texts()).logits.is_meta


def test_a_layer_that_runs_twice_is_refused():
    model = evolving("encoder")
    first, second, _ = model.bert.encoder.layer
    model.bert.encoder.layer = nn.ModuleList([first, second, second])
    with pytest.raises(RuntimeError, match="run more than once"):
        model(**texts())


def test_a_layer_on_its_own_is_refused_in_a_sentence():
    layer = evolving("encoder").bert.encoder.layer[1]
    with pytest.raises(RuntimeError, match=r"bert\.encoder was called outside of its stack"):
        layer(torch.randn(1, 4, 16).double())


def test_checkpoints_put_around_a_layer_by_hand_are_refused_rather_than_wrong():
    model = evolving("encoder").train()
    layer = model.bert.encoder.layer[1]
    forward = layer.forward
    layer.forward = lambda *args, **kwargs: checkpoint(
        forward, *args, use_reentrant=False, **kwargs
    )
    loss = model(**labelled()).loss
    with pytest.raises(RuntimeError, match="gradient_checkpointing_enable"):
        loss.backward()


class Around(PreTrainedModel):
    """A user's model with an evolving one in it."""

    supports_gradient_checkpointing = True

    def __init__(self, config):
        super().__init__(config)
        inner = evolve(BertModel(bert_config()), initialization="random")
        self.inner = without_dropout(shaken(inner.double()))
        self.post_init()

    def forward(self, **batch):
        return self.inner(**batch).last_hidden_state


def gradients_of(around):
    around.train().zero_grad()
    around(**texts()).square().sum().backward()
    return {
        name: parameter.grad.clone()
        for name, parameter in around.named_parameters()
        if parameter.grad is not None
    }


def count_calls(model):
    counts = []
    for evolution in evolutions(model).values():
        evolution.register_forward_pre_hook(lambda *_: counts.append(1))
    return lambda: len(counts)


def spy_on_maps(model):
    maps = []
    for module in model.modules():
        if hasattr(module, "evolution"):
            module.evolution.register_forward_hook(
                lambda _, __, output: maps.append(StorageWeakRef(output[1].untyped_storage()))
            )
    return maps


def count_alive(maps):
    return sum(not each.expired() for each in maps)


def fail(*_):
    raise ZeroDivisionError
