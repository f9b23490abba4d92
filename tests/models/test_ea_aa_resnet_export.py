import pytest
import torch
from torch.testing import assert_close

from evolving_attention.models import EAAAResNetForImageClassification
from tests.models.helpers import lived_in
from tests.models.images import images, tiny_config

#: One block a stage: the chain of four layers, half of them pooled, is all there.
SMALL = tiny_config(depths=[1, 1])


def exported_batch(model, example):
    """The program of a model for batches of any size."""
    return torch.export.export(
        model, (example,), dynamic_shapes={"pixel_values": {0: torch.export.Dim("batch", min=1)}}
    )


def test_a_network_exports_for_batches_of_any_size():
    model = lived_in(EAAAResNetForImageClassification(SMALL)).eval()
    program = exported_batch(model, images(2, dtype=torch.float32)).module()
    for batch in (1, 3):
        image = images(batch, dtype=torch.float32)
        assert_close(program(image)["logits"], model(image).logits)


@pytest.mark.slow
def test_onnxruntime_computes_the_same(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra [export]")
    pytest.importorskip("onnxscript", reason="needs the extra [export]")
    model = lived_in(EAAAResNetForImageClassification(SMALL)).eval()
    path = tmp_path / "model.onnx"
    torch.onnx.export(
        model,
        (images(2, dtype=torch.float32),),
        path,
        dynamo=True,
        input_names=["pixel_values"],
        output_names=["logits"],
        dynamic_shapes={"pixel_values": {0: torch.export.Dim("batch", min=1)}},
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        image = images(batch, dtype=torch.float32)
        (logits,) = session.run(["logits"], {"pixel_values": image.numpy()})
        expected = model(image).logits.detach()
        assert_close(torch.from_numpy(logits), expected, rtol=1e-3, atol=1e-4)
