"""What holds for every class of EA-BERT, EA-RoBERTa and EA-T5."""

import pytest
import torch
import transformers
from torch.testing import assert_close
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTextEncoding,
    AutoModelForTokenClassification,
    RobertaConfig,
)

from evolving_attention import models
from tests.models.huggingface.helpers import (
    TINY,
    assert_same_weights,
    bert_config,
    new_parameters,
    shaken,
    t5_config,
    texts,
)

CONFIGS = {
    "Bert": bert_config,
    "Roberta": lambda: RobertaConfig(**TINY, pad_token_id=0),
    "T5": t5_config,
}
HEADS = {
    "Model": AutoModel,
    "ForMaskedLM": AutoModelForMaskedLM,
    "ForSequenceClassification": AutoModelForSequenceClassification,
    "ForTokenClassification": AutoModelForTokenClassification,
    "ForQuestionAnswering": AutoModelForQuestionAnswering,
    "EncoderModel": AutoModelForTextEncoding,
    "ForConditionalGeneration": AutoModelForSeq2SeqLM,
}
CLASSES = [
    (family, head) for family in CONFIGS for head in HEADS if hasattr(models, f"EA{family}{head}")
]


def batch_for(head):
    batch = texts()
    batch["input_ids"][:, 2] = 1  # the end, as T5's classifier looks for it
    if head in ("Model", "ForConditionalGeneration"):
        return batch | {"decoder_input_ids": batch["input_ids"][:, :6]}
    return batch


def first_output(model, family, head):
    batch = batch_for(head)
    if family != "T5":
        batch.pop("decoder_input_ids", None)
    with torch.no_grad():
        return model.eval()(**batch)[0]


def test_no_class_is_left_out():
    assert len(CLASSES) == 5 + 5 + 5
    assert {f"EA{family}{head}" for family, head in CLASSES} | {
        f"EA{family}Config" for family in CONFIGS
    } == {name for name in models.__all__ if name.startswith(("EABert", "EARoberta", "EAT5"))}


@pytest.mark.parametrize(("family", "head"), CLASSES)
def test_a_plain_checkpoint_loads_and_the_evolving_one_comes_back(family, head, tmp_path):
    kind = getattr(models, f"EA{family}{head}")
    plain = getattr(transformers, f"{family}{head}")(CONFIGS[family]())
    plain.save_pretrained(tmp_path / "plain")
    model, report = kind.from_pretrained(
        tmp_path / "plain",
        alpha=0.1,
        beta=0.4,
        map_initialization="identity",
        output_loading_info=True,
    )
    assert report["missing_keys"] == new_parameters(model) != set()
    assert not report["unexpected_keys"]
    real = texts()["attention_mask"].bool()
    expected, actual = (first_output(each, family, head) for each in (plain, model))
    if expected.shape[:2] == real.shape and expected.dim() >= 2:
        expected, actual = expected[real], actual[real]
    assert_close(actual, expected, rtol=1e-4, atol=1e-4)

    shaken(model).save_pretrained(tmp_path / "evolving")
    loaded, report = HEADS[head].from_pretrained(tmp_path / "evolving", output_loading_info=True)
    assert type(loaded) is kind
    assert not any(report.values())
    assert_same_weights(loaded, model)
    assert_close(first_output(loaded, family, head), first_output(model, family, head))


@pytest.mark.parametrize("family", CONFIGS)
def test_a_head_for_a_task_starts_from_a_model_without_one(family, tmp_path):
    model = shaken(getattr(models, f"EA{family}Model")(ea_config(family)))
    model.save_pretrained(tmp_path)
    kind = getattr(models, f"EA{family}ForSequenceClassification")
    loaded, report = kind.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(".evolution." in name for name in report["missing_keys"])
    base = getattr(loaded, loaded.base_model_prefix)
    for name in new_parameters(model):
        assert torch.equal(base.get_parameter(name), model.get_parameter(name)), name


def ea_config(family):
    return getattr(models, f"EA{family}Config").from_dict(
        CONFIGS[family]().to_dict() | {"model_type": f"ea_{family.lower()}"}
    )


@pytest.mark.parametrize("num_beams", [1, 3])
def test_ea_t5_writes(num_beams):
    model = shaken(models.EAT5ForConditionalGeneration(ea_config("T5"))).eval()
    written = model.generate(**texts(), max_new_tokens=5, num_beams=num_beams, do_sample=False)
    assert written.shape == (3, 6)
    alone = {name: each[2:, :3] for name, each in texts().items()}
    again = model.generate(**alone, max_new_tokens=5, num_beams=num_beams, do_sample=False)
    assert torch.equal(again[0], written[2])
