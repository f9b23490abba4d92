import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoTokenizer

from evolving_attention import evolve
from evolving_attention.tasks.glue import GlueTask
from evolving_attention.tasks.glue_data import load_dev, load_train
from evolving_attention.tasks.glue_tasks import describe
from evolving_attention.tasks.text_data import LabelledTexts
from evolving_attention.tasks.text_networks import Start, model_options
from evolving_attention.training import seeded, train_network
from tests.glue import write_task
from tests.tasks.helpers import one_sentence
from tests.texts import OPTIONS, PROCESSING, SMALL, write_checkpoint


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("glue")
    return {name: write_task(place, name) for name in ("RTE", "STS-B", "MNLI", "CoLA")}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("bert"))


def made(task, data, **options):
    """A network that has learned nothing, for a task that has seen its data."""
    with seeded(0):
        task.split(data, 0.0, 0)
        return task.build_model(options)


@pytest.mark.parametrize("name", ["CoLA", "STS-B", "MNLI"])
def test_sentences_pairs_and_scores_are_learned(folders, name):
    data = load_train(str(folders[name]))
    task = GlueTask(describe(name), PROCESSING)
    options = dataclasses.replace(OPTIONS, epochs=20, learning_rate=3e-3)
    wide = SMALL | {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2}
    network = train_network(task, data, wide, options)
    figures = task.evaluate(network.model, load_dev(str(folders[name])))
    assert figures["score"] > 0.9, figures
    assert ("accuracy_mismatched" in figures) == (name == "MNLI")


def test_the_same_seed_gives_the_same_bits(folders):
    data = load_train(str(folders["RTE"]))
    first, again, other = (
        train_network(GlueTask(describe("RTE"), PROCESSING), data, SMALL, OPTIONS, seed=seed).model
        for seed in (0, 0, 1)
    )
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name
    assert not torch.equal(first.classifier.weight, other.classifier.weight)


def test_a_text_is_judged_alike_alone_and_in_company(folders):
    task = GlueTask(describe("RTE"), PROCESSING)
    data = load_train(str(folders["RTE"]))
    long = (" ".join(["The cat runs away"] * 4), "It is so .")
    data = LabelledTexts([*data.texts, long], np.append(data.targets, "entailment"))
    model = made(task, data, **SMALL, alpha=0.5, beta=0.5)
    together = task.logits(model, data)
    alone = task.logits(model, data.take(np.array([3])))
    np.testing.assert_allclose(together[3], alone[0], atol=1e-6)


@pytest.mark.parametrize("pretrained", [True, False])
@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_a_special_token_that_stands_in_a_text_is_text(folders, tmp_path, architecture, pretrained):
    start = Start(architecture=architecture)
    if pretrained:
        start = Start(str(write_checkpoint(tmp_path / architecture, architecture)))
    processing = dataclasses.replace(PROCESSING, vocab_size=400)
    task = GlueTask(describe("RTE"), processing, start)
    task.split(load_train(str(folders["RTE"])), 0.0, 0)
    task.processor.save_pretrained(tmp_path / "saved")
    for processor in (task.processor, AutoTokenizer.from_pretrained(tmp_path / "saved")):
        mark, end = processor.mask_token, processor.sep_token_id
        ids = processor(f"the {mark} cat {processor.sep_token}", "it")["input_ids"]
        assert processor.mask_token_id not in ids
        assert ids.count(end) == processor("the cat", "it")["input_ids"].count(end)


def test_an_end_that_stands_in_a_text_ends_nothing_for_t5(folders, tmp_path):
    task = GlueTask(describe("RTE"), PROCESSING, Start(str(write_checkpoint(tmp_path, "t5"))))
    data = load_train(str(folders["RTE"]))
    data.texts[0] = ("The cat </s> runs .", "</s>")
    examples, _ = task.split(data, 0.0, 0)
    end = task.processor.eos_token_id
    assert {one["input_ids"].count(end) for one in examples.inputs} == {2}
    assert task.logits(task.build_model({}).eval(), data).shape == (24, 2)


def test_a_batch_in_pieces_is_the_same_update(folders):
    data = load_train(str(folders["STS-B"]))
    whole, pieces = (
        train_network(
            GlueTask(describe("STS-B"), PROCESSING),
            data,
            SMALL,
            dataclasses.replace(OPTIONS, gradient_accumulation=count),
        ).model
        for count in (1, 4)
    )
    for name, weight in whole.state_dict().items():
        torch.testing.assert_close(weight, pieces.state_dict()[name], rtol=0, atol=2e-4, msg=name)


def test_a_network_and_its_twin_start_from_the_same_weights(folders, checkpoint):
    data = load_train(str(folders["RTE"]))
    for start, size in ((Start(), SMALL), (Start(str(checkpoint)), {})):
        task = GlueTask(describe("RTE"), PROCESSING, start)
        evolving = made(task, data, **size, alpha=0.4, beta=0.4).state_dict()
        twin = made(task, data, **size, alpha=0.0, beta=0.0).state_dict()
        assert set(twin) < set(evolving)
        for name, weight in twin.items():
            assert torch.equal(weight, evolving[name]), name


def test_a_pretrained_network_keeps_its_weights_and_its_tokens(folders, checkpoint):
    task = GlueTask(describe("RTE"), PROCESSING, Start(str(checkpoint)))
    model = made(task, load_train(str(folders["RTE"])), alpha=0.2, beta=0.2)
    plain = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    evolving = model.state_dict()
    for name, weight in plain.bert.state_dict().items():
        if not name.startswith("pooler"):  # which a masked language model lacks
            assert torch.equal(weight, evolving[f"bert.{name}"]), name
    assert len(task.processor) == plain.config.vocab_size
    assert model.config.id2label == {0: "entailment", 1: "not_entailment"}


@pytest.mark.parametrize("architecture", ["bert", "roberta", "t5"])
def test_each_architecture_of_the_papers_starts_judges_and_comes_back(
    folders, tmp_path, architecture
):
    start = Start(str(write_checkpoint(tmp_path / "plain", architecture)))
    data = load_train(str(folders["RTE"]))
    task = GlueTask(describe("RTE"), dataclasses.replace(PROCESSING, max_length=48), start)
    options = dataclasses.replace(OPTIONS, validation=0.25, epochs=1, learning_rate=1e-3)
    network = train_network(task, data, {"alpha": 0.4, "beta": 0.4}, options)
    assert "validation_score" in network.history[-1]
    model = network.model
    assert model.config.model_type == f"ea_{architecture}"
    alone = task.logits(model, data.take(np.array([1])))
    np.testing.assert_allclose(task.logits(model, data)[1], alone[0], atol=1e-5)
    assert task.embed(model, data).shape == (24, 16)
    model.save_pretrained(tmp_path / "saved")
    task.processor.save_pretrained(tmp_path / "saved")
    again = GlueTask(describe("RTE"), task.processing)
    loaded = again.load_network(tmp_path / "saved")
    assert np.array_equal(again.logits(loaded, data), task.logits(model, data))


def test_the_identity_start_computes_what_the_pretrained_network_computes(folders, checkpoint):
    data = load_train(str(folders["RTE"]))
    task = GlueTask(describe("RTE"), PROCESSING, Start(str(checkpoint)))
    twin = task.logits(made(task, data, alpha=0.0, beta=0.0), data)
    identity = task.logits(made(task, data, map_initialization="identity"), data)
    random = task.logits(made(task, data), data)
    np.testing.assert_allclose(identity, twin, atol=1e-6)
    assert np.abs(random - twin).max() > 1e-5


def test_a_saved_network_judges_as_before(folders, tmp_path):
    data = load_train(str(folders["MNLI"]))
    task = GlueTask(describe("MNLI"), PROCESSING)
    model = made(task, data, **SMALL)
    model.save_pretrained(tmp_path)
    task.processor.save_pretrained(tmp_path)
    again = GlueTask(describe("MNLI"), PROCESSING)
    loaded = again.load_network(tmp_path)
    assert np.array_equal(again.logits(loaded, data), task.logits(model.eval(), data))
    assert again.predict(loaded, data)["prediction"].isin(describe("MNLI").labels).all()


def test_a_tokenizer_is_learned_from_the_part_that_trains(folders):
    data = load_train(str(folders["RTE"]))
    data.texts = [
        (f"{first} zebra{index}", second) for index, (first, second) in enumerate(data.texts)
    ]
    task = GlueTask(describe("RTE"), dataclasses.replace(PROCESSING, vocab_size=4000))
    train, held_out = task.split(data, 0.25, 0)
    known = {f"zebra{index}" for index in range(24)} & set(task.processor.vocab)
    assert (len(train), len(held_out)) == (18, 6)
    assert len(known) < 24


def test_classes_are_spread_evenly_over_what_is_held_out(folders):
    task = GlueTask(describe("MNLI"), PROCESSING)
    _, held_out = task.split(load_train(str(folders["MNLI"])), 0.25, 3)
    assert np.bincount(held_out.targets).tolist() == [2, 2, 2]


def test_what_a_start_cannot_be_is_told(folders, checkpoint, tmp_path):
    data = load_train(str(folders["RTE"]))

    def start(pretrained=None, **options):
        architecture = options.pop("architecture", "bert")
        return made(
            GlueTask(describe("RTE"), PROCESSING, Start(pretrained, architecture)), data, **options
        )

    with one_sentence("hidden_size is that of the pretrained network"):
        start(str(checkpoint), hidden_size=8)
    with one_sentence("no option 'alhpa'", "'alpha'"):
        start(**SMALL, alhpa=0.2)
    with one_sentence("holds no pretrained network", "config.json"):
        start(str(tmp_path))
    with one_sentence("no option 'dropout_rate'"):  # which is T5's
        start(str(checkpoint), dropout_rate=0.2)
    with one_sentence("'gpt'", "bert, roberta"):
        start(architecture="gpt")
    with one_sentence("alpha", "1.5"):
        start(**SMALL, alpha=1.5)
    with one_sentence("cannot be made", "15"):
        start(**SMALL | {"hidden_size": 15})


def test_a_damaged_checkpoint_is_told_by_its_file(folders, tmp_path):
    folder = write_checkpoint(tmp_path / "bert")
    weights = load_file(folder / "model.safetensors")

    def start():
        made(
            GlueTask(describe("RTE"), PROCESSING, Start(str(folder))),
            load_train(str(folders["RTE"])),
        )

    strange = {f"backbone.{name}": weight for name, weight in weights.items()}
    save_file(strange, folder / "model.safetensors", {"format": "pt"})
    with one_sentence("lacks", "weights, such as bert.embeddings"):
        start()
    without = {name: weight for name, weight in weights.items() if "layer.1.output" not in name}
    save_file(without, folder / "model.safetensors", {"format": "pt"})
    with one_sentence(f"lacks {len(weights) - len(without)} of", "such as bert.encoder.layer.1."):
        start()
    without = {name: weight for name, weight in weights.items() if "pooler" not in name}
    save_file(without, folder / "model.safetensors", {"format": "pt"})
    start()  # which many checkpoints have not
    (folder / "model.safetensors").write_bytes(b"abc")
    with one_sentence("cannot be made"):
        start()
    (folder / "model.safetensors").unlink()
    with one_sentence("cannot be made", "no file named model.safetensors"):
        start()
    (folder / "tokenizer.json").unlink()
    with one_sentence("holds no pretrained network", "tokenizer.json"):
        start()
    (folder / "config.json").write_text("{")
    with one_sentence("config.json", "damaged"):
        start()


def test_an_older_checkpoint_has_a_vocabulary_alone(folders, tmp_path):
    folder = write_checkpoint(tmp_path / "bert")
    tokens = AutoTokenizer.from_pretrained(folder).get_vocab()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    (folder / "vocab.txt").write_text("\n".join(sorted(tokens, key=tokens.__getitem__)))
    task = GlueTask(describe("RTE"), PROCESSING, Start(str(folder)))
    made(task, load_train(str(folders["RTE"])))
    assert task.processor.get_vocab() == tokens


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_no_more_is_read_than_the_network_has_positions(folders, tmp_path, architecture):
    folder = write_checkpoint(tmp_path / "plain", architecture)
    path = folder / "tokenizer_config.json"
    told = json.loads(path.read_text())
    del told["model_max_length"]  # as many checkpoints have it
    path.write_text(json.dumps(told))
    texts = [("cat " * 99, "dog"), ("cat", "dog")]
    data = LabelledTexts(texts, np.array(["entailment", "not_entailment"]))
    longest = {"bert": 66, "roberta": 65}[architecture]  # the first of RoBERTa's is of padding

    def task_of(max_length):
        processing = dataclasses.replace(PROCESSING, max_length=max_length)
        return GlueTask(describe("RTE"), processing, Start(str(folder)))

    task = task_of(longest)
    assert np.isfinite(task.logits(made(task, data), data)).all()
    with one_sentence(f"no more than {longest}"):
        made(task_of(longest + 1), data)


def test_a_network_that_evolve_made_keeps_its_options_unless_others_are_given(folders, tmp_path):
    folder = write_checkpoint(tmp_path / "bert")
    evolving = evolve(
        AutoModelForMaskedLM.from_pretrained(folder), alpha=0.3, beta=0.1, initialization="random"
    )
    evolving.save_pretrained(folder)
    start, data = Start(str(folder)), load_train(str(folders["RTE"]))
    assert (model_options(start)["alpha"], model_options(start)["beta"]) == (0.3, 0.1)
    model = made(GlueTask(describe("RTE"), PROCESSING, start), data)
    assert (model.config.alpha, model.config.beta) == (0.3, 0.1)
    for name, weight in evolving.bert.encoder.state_dict().items():
        assert torch.equal(weight, model.bert.encoder.state_dict()[name]), name
    twin = made(GlueTask(describe("RTE"), PROCESSING, start), data, alpha=0.0, beta=0.0)
    assert twin.config.is_twin
    assert not [name for name, _ in twin.named_parameters() if ".evolution." in name]


def test_options_that_would_lose_learned_evolution_are_refused(folders, tmp_path):
    folder = write_checkpoint(tmp_path / "bert")
    learned = evolve(AutoModelForMaskedLM.from_pretrained(folder), alpha=0.3, beta=0.1)
    learned.save_pretrained(folder)
    task = GlueTask(describe("RTE"), PROCESSING, Start(str(folder)))
    data = load_train(str(folders["RTE"]))
    with one_sentence("map_kernel_size is 3", "5 by the recipe", "leave model.map_kernel_size out"):
        made(task, data, map_kernel_size=5)
    with one_sentence("learned_mixing is True"):
        made(task, data, learned_mixing=False, map_initialization="random")


def test_training_texts_that_teach_nothing_are_told(capsys):
    task = GlueTask(describe("SST-2"), PROCESSING)
    texts = [("",), ("a film",), ("a joy",), ("a bore",)]
    with one_sentence("all training texts have the label 1"):
        task.split(LabelledTexts(texts, np.array(["1"] * 4)), 0.0, 0)
    with one_sentence("all training texts are empty"):
        task.split(LabelledTexts([("",)] * 4, np.array(["0", "1"] * 2)), 0.0, 0)
    task.split(LabelledTexts(texts, np.array(["0", "1"] * 2)), 0.0, 0)
    assert "1 of 4 training texts are empty" in capsys.readouterr().err


def test_missing_targets_are_told(folders):
    task = GlueTask(describe("RTE"), PROCESSING)
    with one_sentence("no targets"):
        task.split(LabelledTexts([("a", "b")]), 0.0, 0)
