"""Estimators that start from a pretrained encoder, or pretrain themselves."""

import numpy as np
import pytest
import torch
from aeon.testing.estimator_checking import check_estimator
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score

from evolving_attention import (
    EADCTransformerClassifier,
    EADCTransformerEncoder,
    EADCTransformerRegressor,
    train,
)
from tests.small import files_of, levels, one_sentence, small_recipe, two_classes, write_npz

SMALL = {"hidden_size": 8, "num_blocks": 1, "num_attention_heads": 2, "batch_size": 8}
SMALL |= {"epochs": 1, "random_state": 0}
ESTIMATORS = {EADCTransformerClassifier: two_classes, EADCTransformerRegressor: levels}
BOTH = pytest.mark.parametrize("estimator", ESTIMATORS)


def classifier(**options):
    return EADCTransformerClassifier(**SMALL | options)


def encoder_of(estimator):
    return estimator.members_[0][1].model.base_model.state_dict()


def is_same(first, second):
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


@pytest.fixture(scope="module")
def series():
    return two_classes(cases=6, seed=9)[0]


@pytest.fixture(scope="module")
def encoder():
    return EADCTransformerEncoder(**SMALL).fit(10 + two_classes(seed=3)[0])


class TestStart:
    @BOTH
    def test_a_frozen_encoder_is_the_one_that_was_given(self, estimator, encoder):
        X, y = ESTIMATORS[estimator]()
        fitted = estimator(**SMALL, pretrained=encoder, freeze=True).fit(X, y)
        assert is_same(encoder_of(encoder), encoder_of(fitted))
        assert fitted.members_[0][0].processor.center == encoder.members_[0][0].processor.center
        assert not hasattr(encoder.members_[0][0].processor, "classes")

    @BOTH
    def test_without_freezing_it_is_the_start_and_itself_unchanged(self, estimator, encoder):
        X, y = ESTIMATORS[estimator]()
        before = {name: tensor.clone() for name, tensor in encoder_of(encoder).items()}
        plain = estimator(**SMALL).fit(X, y)
        fitted = estimator(**SMALL, pretrained=encoder).fit(X, y)
        assert not is_same(encoder_of(encoder), encoder_of(fitted))
        assert not is_same(encoder_of(plain), encoder_of(fitted))
        assert is_same(before, encoder_of(encoder))

    def test_every_network_of_an_ensemble_starts_there(self, encoder):
        options = {"pretrained": encoder, "freeze": True, "n_estimators": 2}
        fitted = classifier(**options).fit(*two_classes())
        heads = [network.model.head.weight for _, network in fitted.members_]
        assert not torch.equal(*heads)
        for _, network in fitted.members_:
            assert is_same(encoder_of(encoder), network.model.base_model.state_dict())

    @pytest.mark.parametrize("as_path", [str, lambda path: path], ids=["text", "path"])
    def test_the_folder_of_a_saved_encoder_is_the_encoder(self, encoder, series, as_path, tmp_path):
        encoder.save(tmp_path)
        X, y = two_classes()
        first = classifier(pretrained=encoder).fit(X, y)
        second = classifier(pretrained=as_path(tmp_path)).fit(X, y)
        assert_array_equal(first.predict_proba(series), second.predict_proba(series))

    @pytest.mark.parametrize("kind", ["pretraining", "classification"])
    def test_the_folder_of_a_run_is_a_start(self, kind, tmp_path):
        data = write_npz(tmp_path / "data.npz")
        model = {"intermediate_size": 256}  # which the estimators leave at its default
        run = train(small_recipe(data, tmp_path / "run", kind=kind, model=model))
        fitted = classifier(pretrained=run.folder, freeze=True).fit(*two_classes())
        assert is_same(run.model.base_model.state_dict(), encoder_of(fitted))

    def test_a_classifier_is_no_encoder_but_its_folder_is_a_start(self, tmp_path):
        first = classifier().fit(*two_classes())
        with one_sentence("pretrained", "EADCTransformerEncoder"):
            classifier(pretrained=first).fit(*two_classes())
        first.save(tmp_path)
        second = classifier(pretrained=tmp_path, freeze=True).fit(*two_classes())
        assert is_same(encoder_of(first), encoder_of(second))

    def test_pretraining_epochs_pretrain_on_the_series_first(self):
        X, y = two_classes()
        alone = EADCTransformerEncoder(**SMALL | {"epochs": 2}).fit(X)
        fitted = classifier(pretraining_epochs=np.int64(2), freeze=True).fit(X, y)
        assert is_same(encoder_of(alone), encoder_of(fitted))


class TestMistakes:
    def test_an_encoder_that_is_not_fitted(self):
        with pytest.raises(NotFittedError):
            classifier(pretrained=EADCTransformerEncoder(**SMALL)).fit(*two_classes())

    def test_a_folder_that_holds_none(self, tmp_path):
        with one_sentence(str(tmp_path), "config.json"):
            classifier(pretrained=tmp_path).fit(*two_classes())

    def test_another_width(self, encoder):
        with one_sentence("hidden_size", "16", "8", "the fitted encoder"):
            classifier(pretrained=encoder, hidden_size=16).fit(*two_classes())

    def test_other_differences(self, encoder):
        with one_sentence("differences", "the fitted encoder"):
            classifier(pretrained=encoder, differences=1).fit(*two_classes())

    def test_other_channels(self, encoder):
        with one_sentence("3 channels", "on 2"):
            classifier(pretrained=encoder).fit(*two_classes(channels=3))

    def test_freezing_without_a_start(self):
        with one_sentence("freeze"):
            classifier(freeze=True).fit(*two_classes())

    def test_epochs_that_are_none(self):
        with one_sentence("pretraining.epochs", "-1"):
            classifier(pretraining_epochs=-1).fit(*two_classes())


class TestTools:
    @BOTH
    def test_clone_keeps_the_encoder_fitted_and_copies_the_rest(self, estimator, encoder):
        X, y = ESTIMATORS[estimator]()
        fitted = estimator(**SMALL, pretrained=encoder, model_options={"kernel_size": 3}).fit(X, y)
        copy = clone(fitted)
        assert copy.pretrained is encoder
        assert copy.get_params(deep=False) == fitted.get_params(deep=False)
        assert copy.model_options is not fitted.model_options
        with pytest.raises(NotFittedError):
            copy.predict(X)

    def test_cross_validation_starts_every_fold_there(self, encoder):
        options = {"pretrained": encoder, "freeze": True}
        scores = cross_val_score(classifier(**options), *two_classes(), cv=2, error_score="raise")
        assert len(scores) == 2

    def test_a_grid_search_over_folders_tells_whether_it_helps(self, encoder, tmp_path):
        """Of an encoder in a grid, scikit-learn would make a copy that is not fitted."""
        encoder.save(tmp_path)
        grid = {"pretrained": [None, str(tmp_path)]}
        search = GridSearchCV(classifier(), grid, cv=2, error_score="raise").fit(*two_classes())
        first, second = search.cv_results_["mean_test_score"]
        assert search.best_params_["pretrained"] == (str(tmp_path) if second > first else None)

    def test_every_check_of_aeon_passes_with_pretraining(self):
        params = EADCTransformerClassifier._get_test_params()
        estimator = EADCTransformerClassifier(**params | {"pretraining_epochs": 1, "freeze": True})
        check_estimator(estimator, raise_exceptions=True)


class TestSaving:
    def test_the_encoder_is_saved_too_and_a_second_fit_is_the_same(self, encoder, series, tmp_path):
        X, y = two_classes()
        saved = classifier(pretrained=encoder).fit(X, y)
        saved.save(tmp_path)
        assert {name.rsplit(".", 1)[-1] for name in files_of(tmp_path)} == {"json", "safetensors"}
        loaded = EADCTransformerClassifier.load(tmp_path)
        expected = saved.predict_proba(series)
        assert_array_equal(loaded.predict_proba(series), expected)
        assert_array_equal(loaded.fit(X, y).predict_proba(series), expected)

    def test_a_path_is_saved_as_a_path(self, encoder, tmp_path):
        encoder.save(tmp_path / "encoder")
        saved = classifier(pretrained=tmp_path / "encoder").fit(*two_classes())
        saved.save(tmp_path / "classifier")
        loaded = EADCTransformerClassifier.load(tmp_path / "classifier")
        assert loaded.pretrained == str(tmp_path / "encoder")

    def test_what_it_started_from_is_not_needed_to_predict(self, encoder, series, tmp_path):
        encoder.save(tmp_path / "encoder")
        saved = classifier(pretrained=tmp_path / "encoder", freeze=True).fit(*two_classes())
        saved.save(tmp_path / "classifier")
        (tmp_path / "encoder").rename(tmp_path / "elsewhere")
        loaded = EADCTransformerClassifier.load(tmp_path / "classifier")
        assert_array_equal(loaded.predict_proba(series), saved.predict_proba(series))

    def test_an_encoder_saved_before_does_not_stay(self, encoder, tmp_path):
        classifier(pretrained=encoder).fit(*two_classes()).save(tmp_path)
        classifier().fit(*two_classes()).save(tmp_path)
        assert EADCTransformerClassifier.load(tmp_path).pretrained is None
