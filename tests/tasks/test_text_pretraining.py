import dataclasses
import math

import numpy as np
import pytest
import torch

from evolving_attention.recipe import TextDataOptions, TextRecipe
from evolving_attention.tasks.family import family_of
from evolving_attention.tasks.glue import GlueTask
from evolving_attention.tasks.glue_data import load_train
from evolving_attention.tasks.glue_tasks import describe
from evolving_attention.tasks.text_data import LabelledTexts
from evolving_attention.tasks.text_files import read_text_file
from evolving_attention.tasks.text_networks import Start
from evolving_attention.tasks.text_pretraining import TextPretrainingTask
from evolving_attention.training import seeded, train_network
from tests.glue import sentence, write_task
from tests.tasks.helpers import one_sentence
from tests.texts import OPTIONS, PROCESSING, SMALL, write_checkpoint

TEXTS = LabelledTexts([(sentence(number, number % 3),) for number in range(24)])


def task_of(share=0.15):
    return TextPretrainingTask(PROCESSING, Start(), share)


def test_masked_words_are_learned():
    task = task_of()
    options = dataclasses.replace(OPTIONS, epochs=20)
    network = train_network(task, TEXTS, SMALL, options)
    figures = task.evaluate(network.model, TEXTS)
    assert figures["loss"] < 0.6 * math.log(len(task.processor)), figures
    assert figures["perplexity"] == pytest.approx(np.exp(figures["loss"]), rel=1e-5)
    assert figures == task.evaluate(network.model, TEXTS)


def test_masks_differ_from_epoch_to_epoch_but_not_of_what_is_held_out():
    task = task_of(0.5)
    train, held_out = task.split(TEXTS, 0.25, 0)
    torch.manual_seed(0)
    first, second = (task.collate([train[0], train[1]])["labels"] for _ in range(2))
    assert not torch.equal(first, second)
    first, second = (task.collate([held_out[0], held_out[1]])["labels"] for _ in range(2))
    assert torch.equal(first, second)
    again = task.split(TEXTS, 0.25, 0)[1]
    assert held_out.inputs == again.inputs


def test_a_batch_always_has_something_to_guess():
    task = task_of(1e-6)
    train, _ = task.split(TEXTS, 0.0, 0)
    for _ in range(5):
        batch = task.collate([train[0], train[5]])
        chosen = batch["labels"] != -100
        assert chosen.sum() == 1
        assert batch["input_ids"][chosen].item() == task.processor.mask_token_id
        assert batch["labels"][chosen].item() not in task.processor.all_special_ids


def test_a_text_held_out_always_has_something_to_guess():
    task = task_of(1e-6)
    _, held_out = task.split(TEXTS, 0.25, 0)
    for one in held_out.inputs:
        (chosen,) = (place for place, label in enumerate(one["labels"]) if label != -100)
        assert one["input_ids"][chosen] == task.processor.mask_token_id
    assert held_out.inputs == task.split(TEXTS, 0.25, 0)[1].inputs


def test_every_text_has_one_vector_from_all_its_tokens():
    task = task_of(0.5)
    words = " ".join(["cat dog bird child"] * 30)
    data = LabelledTexts([*TEXTS.texts, (words,)])
    with seeded(0):
        task.split(data, 0.0, 0)
        model = task.build_model(SMALL)
    vectors = task.embed(model, data)
    assert vectors.shape == (25, 16)
    assert np.array_equal(task.embed(model, data), vectors)  # nothing is hidden by chance
    alone = task.embed(model, data.take(np.array([3])))
    np.testing.assert_allclose(vectors[3], alone[0], atol=1e-6)


def test_padding_and_marks_are_never_to_be_guessed():
    task = task_of(0.9)
    train, _ = task.split(TEXTS, 0.0, 0)
    batch = task.collate([train[index] for index in range(8)])
    plain = task.processor.pad([{"input_ids": train[index]["input_ids"]} for index in range(8)])
    special = torch.isin(torch.tensor(plain["input_ids"]), torch.tensor([0, 2, 3]))
    assert (batch["labels"][special] == -100).all()


def test_a_long_text_becomes_several_inputs():
    task = task_of()
    words = " ".join(["cat dog bird child"] * 30)
    train, _ = task.split(LabelledTexts([*TEXTS.texts, (words,)]), 0.0, 0)
    assert len(train) > 25
    pieces = [one["input_ids"] for one in train.inputs[24:]]
    inside = [token for piece in pieces for token in piece if token not in (2, 3)]
    assert inside == task.processor(words, add_special_tokens=False)["input_ids"]
    assert max(map(len, pieces)) == PROCESSING.max_length


def test_a_batch_in_pieces_is_the_same_update():
    whole, pieces = (
        train_network(
            fixed_masks(task_of(0.4)),
            TEXTS,
            SMALL,
            dataclasses.replace(OPTIONS, gradient_accumulation=count),
        ).model
        for count in (1, 4)
    )
    for name, weight in whole.state_dict().items():
        torch.testing.assert_close(weight, pieces.state_dict()[name], rtol=0, atol=2e-4, msg=name)


def fixed_masks(task):
    """The task, with masks that do not depend on how a batch is cut."""
    split = task.split

    def masked(data, validation, seed):
        examples, _ = split(data, validation, seed)
        return type(examples)(task._masked(data, seed)), None

    task.split = masked
    return task


def test_a_classifier_starts_from_a_pretrained_encoder(tmp_path):
    task = task_of()
    network = train_network(task, TEXTS, SMALL | {"alpha": 0.3, "beta": 0.3}, OPTIONS)
    network.model.save_pretrained(tmp_path)
    task.processor.save_pretrained(tmp_path)
    judge = GlueTask(describe("CoLA"), PROCESSING, Start(str(tmp_path)))
    data = load_train(str(write_task(tmp_path / "data", "CoLA")))
    with seeded(0):
        judge.split(data, 0.0, 0)
        model = judge.build_model({})
    learned = network.model.bert.state_dict()
    for name, weight in model.bert.state_dict().items():
        if not name.startswith("pooler"):
            assert torch.equal(weight, learned[name]), name
    assert (model.config.alpha, model.config.beta) == (0.3, 0.3)


def test_text_files_are_read_line_by_line(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_bytes("\ufeffOne text.\r\n\n  Another, longer one.  \n".encode())
    assert read_text_file(path).texts == [("One text.",), ("Another, longer one.",)]
    with one_sentence(path, "no text"):
        path.write_text("\n \n")
        read_text_file(path)
    with one_sentence(path, "line 2", "UTF-8"):
        path.write_bytes(b"fine\n\xff\n")
        read_text_file(path)


def test_texts_that_are_not_there_are_no_task_of_glue(tmp_path):
    path = str(tmp_path / "texts.txt")
    recipe = TextRecipe(task="text_pretraining", data=TextDataOptions(train=path))
    with one_sentence(path, "no texts"):
        family_of(recipe).load_training(recipe)
    (tmp_path / "folder").mkdir()
    recipe.data.train = str(tmp_path / "folder")
    with one_sentence(tmp_path / "folder", "no texts", "a folder of .txt files"):
        family_of(recipe).load_training(recipe)


def test_the_texts_of_a_task_of_glue_are_those_of_its_own_files(tmp_path):
    folder = write_task(tmp_path, "STS-B")
    (folder / "LICENSE.txt").write_text("All rights reserved.\n")
    recipe = TextRecipe(task="text_pretraining", data=TextDataOptions(train=str(folder)))
    training, dev = family_of(recipe).load(recipe)
    assert training.texts == load_train(str(folder)).texts
    assert len(dev) == 10
    assert family_of(recipe).place(recipe, str(folder))[0] == "STS-B"
    assert "train.tsv" in family_of(recipe).data_settings(recipe)["train"]


def test_what_cannot_be_learned_from_is_told(tmp_path):
    with one_sentence("masked_share", "1.5"):
        task_of(1.5)
    t5 = Start(str(write_checkpoint(tmp_path, "t5")))
    for share in (0.0, 0.25):
        with one_sentence(tmp_path, "have no mask"):
            TextPretrainingTask(PROCESSING, t5).split(TEXTS, share, 0)
    with one_sentence("not a token"):
        task_of().split(LabelledTexts([("\u200b",)]), 0.0, 0)
