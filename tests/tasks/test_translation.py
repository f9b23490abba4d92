from dataclasses import replace

import numpy as np
import pytest
import torch

from evolving_attention.recipe import (
    GenerationOptions,
    TranslationProcessingOptions,
    TranslationTrainingOptions,
)
from evolving_attention.tasks.parallel_texts import ParallelTexts
from evolving_attention.tasks.translation import TranslationTask
from evolving_attention.trainer.checkpoints import Checkpoints
from evolving_attention.training import train_network
from tests.parallel import GENERATION, OPTIONS, PAIRS, PROCESSING, SMALL, texts, with_validation
from tests.tasks.helpers import one_sentence


def task(**options):
    return TranslationTask(
        options.pop("processing", PROCESSING), GENERATION, languages=("de", "en"), **options
    )


def train(data=None, checkpoints=None, seed=0, model=None, made=None, **options):
    return train_network(
        made or task(label_smoothing=0.1),
        data or with_validation(),
        SMALL | (model or {}),
        TranslationTrainingOptions(**{**vars(OPTIONS), **options}),
        seed=seed,
        checkpoints=checkpoints,
    )


@pytest.fixture(scope="module")
def learned():
    """A task and a network that has learned to translate word by word, from two thirds of all."""
    own = task(label_smoothing=0.1)
    network = train(
        texts(70),
        made=own,
        model={"d_model": 32, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64},
        epochs=70,
        batch_tokens=600,
        learning_rate=1e-2,
        warmup=50,
        average=5,
        validation=0.0,
    )
    return own, network.model


def test_what_was_learned_carries_over_to_sentences_not_seen(learned):
    pytest.importorskip("sacrebleu")
    own, model = learned
    found = own.evaluate(model, texts(26, first=70))
    assert found["bleu"] > 60
    assert found["chrf"] > 60
    assert found["loss"] < 0.7


def test_predictions_are_a_row_a_sentence(learned):
    own, model = learned
    source, target = PAIRS[0]
    table = own.predict(model, ParallelTexts.of([source, "", source]))
    assert table["prediction"].tolist() == [target, "", target]
    assert table["source"].tolist() == [source, "", source]


def test_parts_are_measured_apart_and_their_means_told(learned):
    pytest.importorskip("sacrebleu")
    own, model = learned
    data = texts(6, first=70)
    data.parts = np.repeat(["a", "b"], [4, 2])
    found = own.evaluate(model, data)
    for metric in ("bleu", "chrf", "loss"):
        assert found[metric] == pytest.approx((found[f"{metric}_a"] + found[f"{metric}_b"]) / 2)
    assert found["loss_b"] == pytest.approx(own.loss(model, data.take(np.arange(4, 6)))["loss"])
    assert own.counts == {"pairs": 70, "empty": 0, "overlong": 0}


def test_the_loss_is_a_mean_over_tokens_however_they_are_batched(learned):
    own, model = learned
    data = texts(9, first=60)
    total = tokens = 0.0
    for index in range(9):
        batch = own.collate([own._encoded(data)[index]])
        with torch.no_grad():
            loss = model(**batch).loss.item()
        total += loss * batch["labels"].numel()
        tokens += batch["labels"].numel()
    assert own.loss(model, data)["loss"] == pytest.approx(total / tokens, rel=1e-5)


def test_vectors_are_those_of_the_sentence_alone(learned):
    own, model = learned
    data = texts(5)
    vectors = own.embed(model, data)
    alone = own.embed(model, data.take(np.array([3])))
    assert vectors.shape == (5, 32)
    np.testing.assert_allclose(vectors[3], alone[0], rtol=0, atol=1e-5)


class TestSplitting:
    def test_the_datas_own_part_validates_where_there_is_one(self):
        train_part, held_out = task().split(with_validation(24, 6), 0.5, 0)
        assert (len(train_part), len(held_out)) == (24, 6)
        assert held_out.sizes[:, 1].tolist() == sorted(held_out.sizes[:, 1])

    def test_else_a_share_of_what_trains(self):
        train_part, held_out = task().split(texts(24), 0.25, 0)
        assert (len(train_part), len(held_out)) == (18, 6)

    def test_nothing_is_held_out_of_a_fixed_budget(self):
        train_part, held_out = task().split(with_validation(24, 6), 0.0, 0)
        assert (len(train_part), held_out) == (24, None)

    def test_what_validates_teaches_no_vocabulary(self):
        data = with_validation(24, 6)
        data.validation.targets[:] = "zebra zebra zebra zebra"
        own = task()
        own.split(data, 0.5, 0)
        assert len(own.processor.tokenize("zebra")) > 2

    def test_pairs_that_are_too_long_do_not_train_and_are_counted(self, capsys):
        data = texts(24)
        data.targets[3] = " ".join(["The cat waits."] * 9)
        own = task()
        train_part, _ = own.split(data, 0.0, 0)
        assert len(train_part) == 23
        assert own.counts["overlong"] == 1
        assert "1 of 24 training pairs were left out" in capsys.readouterr().err
        assert max(train_part.sizes.max(1)) <= 32
        with one_sentence("every pair", "more than 2 tokens", "processing.max_length"):
            task(processing=replace(PROCESSING, max_length=2)).split(texts(4), 0.0, 0)

    def test_sentences_without_translations_are_refused(self):
        data = ParallelTexts.of(["a", "b"])
        for call in (lambda: task().split(data, 0.0, 0), lambda: task().evaluate(None, data)):
            with one_sentence("no translations"):
                call()
        assert not task().can_evaluate(data)


class TestTraining:
    def test_the_same_seed_gives_the_same_network_to_the_bit(self):
        first, second, other = train(seed=3), train(seed=3), train(seed=4)
        assert first.history == second.history
        weights, again = first.model.state_dict(), second.model.state_dict()
        assert all(torch.equal(weights[name], again[name]) for name in weights)
        assert first.history != other.history

    def test_validation_is_without_smoothing_and_a_mean_over_tokens(self):
        own = task(label_smoothing=0.5)
        data = with_validation(24, 6)
        network = train(data, made=own, epochs=1, average=0)
        expected = own.loss(network.model, data.validation)
        assert network.history[-1]["validation_loss"] == pytest.approx(expected["loss"], rel=1e-5)
        assert network.history[-1]["validation_perplexity"] == pytest.approx(
            expected["perplexity"], rel=1e-5
        )

    @pytest.mark.parametrize("pieces", [2, 4])
    def test_accumulated_pieces_equal_the_whole_batch(self, pieces):
        whole, accumulated = train(), train(gradient_accumulation=pieces)
        for entry, expected in zip(accumulated.history, whole.history, strict=True):
            assert entry == pytest.approx(expected, rel=1e-4)

    @pytest.mark.parametrize("average", [0, 0.9, 2])
    def test_a_training_that_was_broken_off_goes_on_to_the_same_bits(
        self, tmp_path, average, monkeypatch
    ):
        options = {"epochs": 3, "average": average, "model": {"dropout": 0.2}}
        whole = train(**options)
        collate, made = TranslationTask.collate, []

        class Killed(BaseException):
            pass

        def dying(self, examples):
            made.append(len(examples))
            if len(made) == 14:
                raise Killed
            return collate(self, examples)

        with monkeypatch.context() as patched:
            patched.setattr(TranslationTask, "collate", dying)
            with pytest.raises(Killed):
                train(checkpoints=Checkpoints(tmp_path, 0.0), **options)
        assert list(tmp_path.glob("first/0*"))
        resumed = train(checkpoints=Checkpoints(tmp_path, 0.0), **options)
        assert resumed.history == whole.history
        weights, expected = resumed.model.state_dict(), whole.model.state_dict()
        assert all(torch.equal(weights[name], expected[name]) for name in expected)

    def test_mixed_precision_trains(self):
        losses = [entry["loss"] for entry in train(precision="bfloat16", epochs=4).history]
        assert losses[-1] < losses[0]

    def test_updates_may_have_a_number_of_pairs(self):
        network = train(texts(20), batch_tokens=None, batch_size=5, validation=0.0, epochs=1)
        assert np.isfinite(network.history[-1]["loss"])

    def test_a_run_goes_on_from_another(self, tmp_path):
        own = task()
        network = train(made=own)
        network.model.save_pretrained(tmp_path)
        own.processor.save_pretrained(tmp_path)
        other = task(pretrained=tmp_path)
        other.split(texts(9, first=40), 0.0, 0)
        assert other.processor.get_vocab() == own.processor.get_vocab()
        model = other.build_model({"alpha": 0.3})
        assert model.config.alpha == 0.3
        expected = network.model.state_dict()
        assert all(torch.equal(each, expected[name]) for name, each in model.state_dict().items())
        same = other.build_model(SMALL | {"beta": 0.0})  # as a recipe has it
        assert (same.config.beta, same.config.d_model) == (0.0, 16)
        for wrong in ({"d_model": 8}, {"preset": "lite"}, SMALL | {"preset": "base", "d_model": 8}):
            with one_sentence("d_model is 16 in the pretrained network", "by the recipe"):
                other.build_model(wrong)
        with one_sentence("the model's options do not work", "alpha", "1.5"):
            other.build_model({"alpha": 1.5})
        longer = task(pretrained=tmp_path, processing=replace(PROCESSING, max_length=300))
        longer.split(texts(9), 0.0, 0)
        with one_sentence("positions for 1024 tokens", "processing.max_length"):
            longer.build_model({})


def test_a_vocabulary_of_lower_case_stays_one(tmp_path):
    own = task(processing=replace(PROCESSING, lowercase=True))
    own.split(texts(9), 0.0, 0)
    own.processor.save_pretrained(tmp_path)
    with one_sentence("has no capitals", "processing.lowercase to true"):
        task(pretrained=tmp_path).split(texts(9), 0.0, 0)
    other = task(pretrained=tmp_path, processing=own.processing)
    other.split(texts(9), 0.0, 0)
    assert other.processor.get_vocab() == own.processor.get_vocab()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"alhpa": 0.1}, ["'alhpa'", "'alpha'"]),
        ({"preset": "huge"}, ["model.preset", "small", "'huge'"]),
        ({"alpha": 1.5}, ["alpha", "1.5"]),
        ({"d_model": 15}, ["15"]),
    ],
)
def test_options_that_make_no_network_are_refused(options, words):
    own = task()
    own.split(texts(9), 0.0, 0)
    with one_sentence(*words):
        own.build_model(SMALL | options)


def test_defaults_are_those_of_the_recipe():
    own = TranslationTask()
    assert (own.processing, own.generation) == (TranslationProcessingOptions(), GenerationOptions())
