"""The encoder: aeon's contract, scikit-learn's pipelines, vectors, saving."""

import inspect
import json
import re

import numpy as np
import pytest
from aeon.testing.estimator_checking import parametrize_with_checks
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from evolving_attention import EADCTransformerClassifier, EADCTransformerEncoder
from evolving_attention.recipe import PretrainingOptions, ProcessingOptions, TrainingOptions
from evolving_attention.tasks.embedding import embed_series
from evolving_attention.tasks.time_series import MAX_POSITIONS, model_options
from tests.small import cut, files_of, one_sentence, two_classes

SMALL = {"hidden_size": 8, "num_blocks": 1, "num_attention_heads": 2, "batch_size": 8}
OWN = {"model_options", "random_state", "verbose"}


def new(**options):
    return EADCTransformerEncoder(**SMALL | {"epochs": 1, "random_state": 0} | options)


@pytest.fixture(scope="module")
def series():
    return two_classes(cases=6, seed=9)[0]


@pytest.fixture(scope="module")
def fitted():
    return new().fit(two_classes()[0])


class TestContracts:
    @parametrize_with_checks([EADCTransformerEncoder])
    def test_every_check_of_aeon_passes(self, check):
        check()

    def test_a_pipeline_classifies_its_vectors(self):
        pipeline = make_pipeline(new(epochs=5), LogisticRegression()).fit(*two_classes())
        assert pipeline.score(*two_classes(seed=1)) > 0.9

    def test_a_grid_search_reaches_into_the_pipeline(self):
        pipeline = make_pipeline(new(), LogisticRegression())
        grid = {"eadctransformerencoder__hidden_size": [8, 16]}
        search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(*two_classes())
        vectors = search.best_estimator_[0].transform(two_classes()[0])
        assert vectors.shape[1] == search.best_params_["eadctransformerencoder__hidden_size"]

    def test_clone_copies_the_parameters_and_not_the_network(self, fitted, series):
        copy = clone(fitted)
        assert copy.get_params() == fitted.get_params()
        with pytest.raises(NotFittedError):
            copy.transform(series)

    def test_its_parameters_are_those_of_the_classifier_where_they_mean_something(self):
        own = inspect.signature(EADCTransformerEncoder).parameters
        others = inspect.signature(EADCTransformerClassifier).parameters
        labelled = {"pooling", "n_estimators", "class_weight", "augmentation"}
        labelled |= {"pretrained", "freeze", "pretraining_epochs", "differences"}
        assert set(others) - set(own) == labelled
        assert set(own) - set(others) == {"masked_share", "mean_length", "together"}

    def test_defaults_are_those_of_model_training_processing_and_masks(self):
        elsewhere = model_options() | vars(PretrainingOptions()) | vars(TrainingOptions())
        elsewhere |= vars(ProcessingOptions())
        for name, parameter in inspect.signature(EADCTransformerEncoder).parameters.items():
            if name not in OWN:
                assert parameter.default == elsewhere[name], name

    def test_every_parameter_is_documented_with_its_default(self):
        text = inspect.getdoc(EADCTransformerEncoder)
        section = text.split("Parameters\n---")[1].split("Attributes\n---")[0]
        documented = dict(re.findall(r"^(\w+) : (.+)$", section, re.MULTILINE))
        signature = inspect.signature(EADCTransformerEncoder).parameters
        assert list(documented) == list(signature)
        for name, parameter in signature.items():
            stated = re.search(r"default=(.+)$", documented[name])
            if stated is None:
                assert parameter.default is None, name
            else:
                words = {"True": True, "False": False, "None": None}
                value = words[stated[1]] if stated[1] in words else json.loads(stated[1])
                assert value == parameter.default, name

    def test_every_parameter_reaches_the_network_or_its_training(self, monkeypatch):
        received = {}

        def record(task, data, options, training, **_):
            received.update(vars(task.pretraining) | vars(task.processing) | vars(training))
            received.update(options)
            raise KeyboardInterrupt

        monkeypatch.setattr("evolving_attention.ensemble.train_network", record)
        given = {"normalization": "series", "clip": 7.5, "longer_series": "error"}
        given |= {"masked_share": 0.3, "mean_length": 7.0, "together": True}
        for name in inspect.signature(EADCTransformerEncoder).parameters:
            if name in OWN:
                continue
            value = given.get(name, object())
            with pytest.raises(KeyboardInterrupt):
                EADCTransformerEncoder(**{name: value}).fit(two_classes()[0])
            assert received[name] == value, name


class TestVectors:
    def test_one_a_series_as_wide_as_the_network(self, fitted, series):
        vectors = fitted.transform(series)
        assert vectors.shape == (6, 8)
        assert vectors.dtype == np.float32
        assert np.isfinite(vectors).all()

    def test_they_are_the_embeddings_of_its_network(self, fitted, series):
        ((task, network),) = fitted.members_
        expected = embed_series(network.model, task.processor, list(series))
        assert_array_equal(fitted.transform(series), expected)

    def test_labels_are_ignored(self, fitted, series):
        X, y = two_classes()
        assert_array_equal(new().fit(X, y).transform(series), fitted.transform(series))
        assert_array_equal(new().fit(X, y).transform(series, y[:6]), fitted.transform(series))

    def test_fit_transform_is_fit_and_transform(self):
        X, _ = two_classes()
        assert_array_equal(new().fit_transform(X), new().fit(X).transform(X))

    def test_the_same_seed_gives_the_same_to_the_bit_and_another_does_not(self, fitted, series):
        X, _ = two_classes()
        assert_array_equal(new().fit(X).transform(series), fitted.transform(series))
        assert not np.allclose(
            new(random_state=1).fit(X).transform(series), fitted.transform(series)
        )

    def test_series_of_unequal_lengths_are_the_same_alone_and_together(self):
        X = cut(two_classes()[0])
        encoder = new().fit(X)
        together = encoder.transform(X)
        alone = np.concatenate([encoder.transform([values]) for values in X[:6]])
        assert_allclose(together[:6], alone, rtol=1e-4, atol=1e-5)

    def test_missing_values_do_no_harm(self):
        X, _ = two_classes()
        X[::3, 0, 1:3] = np.nan
        assert np.isfinite(new().fit_transform(X)).all()

    def test_long_series_are_cut_into_patches(self):
        X, _ = two_classes(steps=2 * MAX_POSITIONS)
        ((_, network),) = new().fit(X).members_
        assert network.model.config.patch_size == 2

    def test_a_network_of_more_epochs_fills_in_better(self):
        X = np.sin(np.random.default_rng(0).uniform(0, 6, (32, 1, 1)) + 0.5 * np.arange(24))
        histories = new(epochs=20, learning_rate=0.01).fit(X).members_[0][1].history
        assert histories[-1]["loss"] < 0.8 * histories[0]["loss"]


class TestMistakes:
    @pytest.mark.parametrize(
        ("option", "word"),
        [
            ({"epochs": 0}, "epochs"),
            ({"masked_share": 0.0}, "masked_share"),
            ({"mean_length": 0.5}, "mean_length"),
            ({"hidden_size": 9}, "key_ratio"),
            ({"model_options": {"kernel": 3}}, "kernel"),
        ],
        ids=str,
    )
    def test_a_value_that_does_not_work_is_told_in_one_sentence(self, option, word):
        with one_sentence(word):
            new(**option).fit(two_classes()[0])

    def test_nothing_comes_of_an_encoder_that_is_not_fitted(self, series, tmp_path):
        for ask in (lambda: new().transform(series), lambda: new().save(tmp_path / "no")):
            with pytest.raises(NotFittedError):
                ask()

    def test_nothing_is_shown_by_default(self, capfd):
        new().fit(two_classes()[0])
        assert capfd.readouterr() == ("", "")


class TestSaving:
    def test_a_loaded_encoder_gives_the_same_to_the_bit(self, series, tmp_path):
        encoder = new(masked_share=0.3, together=True).fit(cut(two_classes()[0]))
        encoder.save(tmp_path / "encoder")
        loaded = EADCTransformerEncoder.load(tmp_path / "encoder")
        assert loaded.get_params() == encoder.get_params()
        assert_array_equal(loaded.transform(series), encoder.transform(series))
        assert_array_equal(loaded.transform(cut(series)), encoder.transform(cut(series)))
        assert loaded.members_[0][1].history == encoder.members_[0][1].history

    def test_the_folder_holds_only_json_and_safetensors(self, fitted, tmp_path):
        fitted.save(tmp_path)
        assert {name.rsplit(".", 1)[-1] for name in files_of(tmp_path)} == {"json", "safetensors"}

    def test_loading_with_another_class_names_the_right_one(self, fitted, tmp_path):
        fitted.save(tmp_path)
        with one_sentence("EADCTransformerEncoder", "EADCTransformerClassifier"):
            EADCTransformerClassifier.load(tmp_path)
