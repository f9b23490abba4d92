"""The estimators: aeon's contract, scikit-learn's tools, seeds, ensembles, saving."""

import inspect
import json
import re
from itertools import count

import numpy as np
import pytest
from aeon.testing.estimator_checking import parametrize_with_checks
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from evolving_attention import EADCTransformerClassifier, EADCTransformerRegressor
from evolving_attention.errors import InputError
from evolving_attention.recipe import (
    AugmentationOptions,
    ProcessingOptions,
    TimeSeriesRecipe,
    TrainingOptions,
)
from evolving_attention.tasks.time_series import TimeSeriesTask, model_options
from tests.small import (
    Killed,
    cut,
    files_of,
    interrupt_training,
    levels,
    one_sentence,
    two_classes,
)

ESTIMATORS = [EADCTransformerClassifier, EADCTransformerRegressor]
BOTH = pytest.mark.parametrize("estimator", ESTIMATORS)
SMALL = {"hidden_size": 8, "num_blocks": 1, "num_attention_heads": 2, "batch_size": 8}
#: What an estimator has beside options of model, training and processing.
OWN = {"model_options", "augmentation", "n_estimators", "class_weight", "random_state", "verbose"}
#: A value that each parameter can take, where not every value goes.
GIVEN = {"normalization": "series", "clip": 7.5, "longer_series": "error"}
GIVEN |= {"freeze": True, "pretraining_epochs": 3, "differences": 2}


def new(estimator, **options):
    return estimator(**SMALL | {"epochs": 1, "random_state": 0} | options)


def classifier(**options):
    return new(EADCTransformerClassifier, **options)


def data_of(estimator, **options):
    make = two_classes if estimator is EADCTransformerClassifier else levels
    return make(**options)


def fitted(estimator, **options):
    return new(estimator, **options).fit(*data_of(estimator))


def ask(estimator, series):
    """Probabilities of a classifier, predictions of a regressor."""
    if isinstance(estimator, EADCTransformerClassifier):
        return estimator.predict_proba(series)
    return estimator.predict(series)


def noise():
    """Series and labels that have nothing to do with one another."""
    return two_classes()[0], np.random.default_rng(5).permutation(np.arange(24) % 2)


def network(estimator, member=0):
    return estimator.members_[member][1]


@pytest.fixture(scope="module")
def series():
    return two_classes(cases=6, seed=9)[0]


@pytest.fixture(scope="module")
def pair():
    """An ensemble of two networks."""
    return classifier(n_estimators=2).fit(*two_classes())


@pytest.fixture
def held_out(monkeypatch):
    """The validation parts that trainings hold out from now on."""
    split, parts = TimeSeriesTask.split, []

    def record(*arguments):
        parts.append(split(*arguments)[1])
        return split(*arguments)

    monkeypatch.setattr(TimeSeriesTask, "split", record)
    return parts


def loss_of(estimator, part):
    task, trained = estimator.members_[0]
    return trained.model(**task.collate([*part])).loss.item()


class TestContracts:
    @parametrize_with_checks(ESTIMATORS)
    def test_every_check_of_aeon_passes(self, check):
        check()

    @BOTH
    def test_clone_copies_the_parameters_and_not_the_networks(self, estimator):
        original = fitted(estimator, alpha=0.25, model_options={"kernel_size": 5})
        copy = clone(original)
        assert copy.get_params() == original.get_params()
        assert copy.get_params()["alpha"] == 0.25
        with pytest.raises(NotFittedError):
            ask(copy, two_classes()[0])

    @BOTH
    def test_set_params_changes_what_the_next_fit_does(self, estimator):
        changed = fitted(estimator).set_params(beta=0.125, hidden_size=16)
        assert changed.get_params()["beta"] == 0.125
        config = network(changed.fit(*data_of(estimator))).model.config
        assert (config.beta, config.hidden_size) == (0.125, 16)

    @BOTH
    def test_set_params_refuses_an_unknown_name(self, estimator):
        with pytest.raises(ValueError, match="alfa"):
            estimator().set_params(alfa=0.5)

    def test_a_pipeline_hands_on_what_its_transformer_made(self, series):
        double = FunctionTransformer(lambda X: 2 * X)
        X, y = two_classes()
        pipeline = make_pipeline(double, classifier(normalization="none")).fit(X, y)
        alone = classifier(normalization="none").fit(2 * X, y)
        assert_array_equal(pipeline.predict_proba(series), alone.predict_proba(2 * series))
        assert not np.array_equal(pipeline.predict_proba(series), alone.predict_proba(series))

    def test_a_grid_search_trains_each_setting_and_keeps_the_best(self):
        grid = {"alpha": [0.0, 0.5], "hidden_size": [8, 16]}
        search = GridSearchCV(classifier(), grid, cv=2, error_score="raise").fit(*two_classes())
        tried = search.cv_results_["params"]
        assert len({(one["alpha"], one["hidden_size"]) for one in tried}) == 4
        assert search.best_score_ == max(search.cv_results_["mean_test_score"])
        config = network(search.best_estimator_).model.config
        assert {name: getattr(config, name) for name in grid} == search.best_params_

    def test_cross_validation_scores_series_of_unequal_lengths(self):
        X, y = two_classes()
        X, folds = cut(X), KFold(2)
        scores = cross_val_score(classifier(), X, y, cv=folds, error_score="raise")
        train, test = next(folds.split(X))
        by_hand = classifier().fit([X[index] for index in train], y[train])
        assert len(scores) == 2
        assert scores[0] == by_hand.score([X[index] for index in test], y[test])

    @pytest.mark.parametrize(
        "option",
        [
            {"hidden_size": np.int64(8)},
            {"alpha": np.float32(0.5)},
            {"model_options": {"kernel_size": np.int64(5)}},
            {"augmentation": {"jitter": np.float32(0.5)}},
        ],
        ids=str,
    )
    def test_numbers_of_numpy_are_numbers(self, option):
        """A randomised search, and a grid made with NumPy, hand such numbers in."""
        assert fitted(EADCTransformerClassifier, **option).is_fitted


class TestParameters:
    @BOTH
    def test_every_parameter_is_documented_with_its_default(self, estimator):
        section = inspect.getdoc(estimator).split("Parameters\n---")[1].split("Attributes\n---")[0]
        documented = dict(re.findall(r"^(\w+) : (.+)$", section, re.MULTILINE))
        signature = inspect.signature(estimator).parameters
        assert list(documented) == list(signature)
        for name, parameter in signature.items():
            stated = re.search(r"default=(.+)$", documented[name])
            if stated is None:
                assert documented[name].endswith("optional"), name
                assert parameter.default is None, name
            else:
                assert repr(parameter.default) == repr(_value(stated[1])), name

    @BOTH
    def test_defaults_are_those_of_model_training_and_processing(self, estimator):
        elsewhere = model_options() | vars(TrainingOptions()) | vars(ProcessingOptions())
        recipe = TimeSeriesRecipe()
        elsewhere |= {"pretrained": recipe.pretrained, "freeze": recipe.freeze}
        elsewhere |= {"pretraining_epochs": recipe.pretraining.epochs}
        for name, parameter in inspect.signature(estimator).parameters.items():
            if name not in OWN:
                assert parameter.default == elsewhere[name], name

    @BOTH
    def test_every_parameter_reaches_the_network_or_its_training(self, estimator, monkeypatch):
        """Were a parameter forgotten on its way, its change would change nothing."""
        received = {}

        def record(task, data, options, training, **others):
            received.update(options | vars(training) | vars(task.processing) | others)
            received.update(freeze=task.freeze, pretraining_epochs=task.pretraining.epochs)
            raise KeyboardInterrupt

        monkeypatch.setattr("evolving_attention.ensemble.train_network", record)
        for name, parameter in inspect.signature(estimator).parameters.items():
            if name in OWN:
                continue
            if name == "pretrained":  # see TestPretrained
                continue
            given = GIVEN.get(name, object())
            others = {"pretraining_epochs": 1} if name == "freeze" else {}
            with pytest.raises(KeyboardInterrupt):
                estimator(**others, **{name: given}).fit(*data_of(estimator))
            assert received[name] == given, (name, parameter)

    def test_both_estimators_have_the_same_parameters_but_class_weight(self):
        first, second = (inspect.signature(estimator).parameters for estimator in ESTIMATORS)
        assert set(first) - set(second) == {"class_weight"}
        assert set(second) <= set(first)
        assert all(first[name].default == second[name].default for name in second)

    def test_model_options_reach_options_without_a_parameter(self):
        options = {"kernel_size": 5, "label_smoothing": 0.1}
        config = network(fitted(EADCTransformerClassifier, model_options=options)).model.config
        assert (config.kernel_size, config.label_smoothing) == (5, 0.1)

    @pytest.mark.parametrize(
        ("option", "word"),
        [
            ({"epochs": 0}, "epochs"),
            ({"batch_size": 0}, "batch_size"),
            ({"learning_rate": -1.0}, "learning_rate"),
            ({"validation": 1.0}, "validation"),
            ({"patience": 0}, "patience"),
            ({"n_estimators": 0}, "n_estimators"),
            ({"alpha": 1.5}, "alpha"),
            ({"pooling": "median"}, "pooling"),
            ({"map_kernel_size": 2}, "kernel_size"),
            ({"hidden_size": 9}, "key_ratio"),
            ({"model_options": {"kernel": 3}}, "kernel"),
            ({"normalization": "minmax"}, "normalization"),
            ({"clip": 0.0}, "clip"),
            ({"clip": "5"}, "clip"),
            ({"class_weight": "even"}, "class_weight"),
            ({"class_weight": {7: 2.0}}, "7"),
            ({"optimizer": "lion"}, "optimizer"),
            ({"schedule": "step"}, "schedule"),
            ({"longer_series": "drop"}, "longer_series"),
            ({"augmentation": {"stretch": 0.1}}, "'stretch'"),
            ({"augmentation": {"slicing": 1.5}}, "augmentation.slicing"),
            ({"epochs": "many"}, "training.epochs"),
        ],
        ids=str,
    )
    def test_a_value_that_does_not_work_is_told_in_one_sentence(self, option, word):
        with one_sentence(word):
            fitted(EADCTransformerClassifier, **option)


def _value(stated):
    """The value that a docstring states, such as ``1e-3`` or ``"mean"``."""
    words = {"True": True, "False": False, "None": None}
    return words[stated] if stated in words else json.loads(stated)


class TestAugmentation:
    def test_series_vary_for_classes_and_not_for_numbers_where_nobody_says_so(self):
        for estimator, share in ((EADCTransformerClassifier, 0.2), (EADCTransformerRegressor, 0.0)):
            ((task, _),) = fitted(estimator).members_
            assert task.augmentation == AugmentationOptions(slicing=share)

    def test_the_options_given_are_those_of_the_task(self):
        ((task, _),) = classifier(augmentation={"jitter": 0.1}).fit(*two_classes()).members_
        assert task.augmentation == AugmentationOptions(slicing=0.2, jitter=0.1)

    def test_it_changes_what_is_learned_and_not_what_is_asked(self, series):
        plain = fitted(EADCTransformerClassifier, augmentation={"slicing": 0.0})
        varied = fitted(EADCTransformerClassifier, augmentation={"slicing": 0.0, "jitter": 1.0})
        assert not np.allclose(plain.predict_proba(series), varied.predict_proba(series))
        assert_array_equal(varied.predict_proba(series), varied.predict_proba(series))


class TestSeeds:
    @BOTH
    def test_the_same_seed_gives_the_same_predictions_to_the_bit(self, estimator, series):
        first, second = (ask(fitted(estimator, random_state=0), series) for _ in range(2))
        assert_array_equal(first, second)

    @BOTH
    def test_another_seed_gives_other_predictions(self, estimator, series):
        first, second = (ask(fitted(estimator, random_state=seed), series) for seed in (0, 1))
        assert not np.allclose(first, second)

    @BOTH
    def test_no_seed_gives_other_predictions_each_time(self, estimator, series):
        first, second = (ask(fitted(estimator, random_state=None), series) for _ in range(2))
        assert not np.allclose(first, second)

    def test_a_generator_is_drawn_from_so_that_a_second_fit_differs(self, series):
        generator = np.random.RandomState(0)
        first, second = (
            fitted(EADCTransformerClassifier, random_state=generator).predict_proba(series)
            for _ in range(2)
        )
        assert not np.allclose(first, second)
        assert_array_equal(first, fitted(EADCTransformerClassifier).predict_proba(series))

    def test_fit_leaves_the_global_random_state_as_it_was(self):
        np.random.seed(3)
        expected = np.random.random()
        np.random.seed(3)
        fitted(EADCTransformerClassifier)
        assert np.random.random() == expected


class TestEnsembles:
    def test_probabilities_are_the_mean_of_the_members(self, pair, series):
        alone = []
        for member in pair.members_:
            one = clone(pair).fit(*two_classes())
            one.members_ = [member]
            alone.append(one.predict_proba(series))
        assert not np.allclose(*alone)
        assert_allclose(pair.predict_proba(series), np.mean(alone, axis=0), rtol=0, atol=1e-12)
        assert_allclose(pair.predict_proba(series).sum(1), 1, atol=1e-6)

    def test_predictions_are_the_mean_of_the_members_in_regression(self, series):
        pair = fitted(EADCTransformerRegressor, n_estimators=2)
        together, members = pair.predict(series), pair.members_
        alone = []
        for member in members:
            pair.members_ = [member]
            alone.append(pair.predict(series))
        assert not np.allclose(*alone)
        assert_allclose(together, np.mean(alone, axis=0), rtol=0, atol=1e-12)

    def test_the_first_member_is_the_network_trained_alone(self, pair):
        alone = fitted(EADCTransformerClassifier)
        for name, weight in network(alone).model.state_dict().items():
            assert_array_equal(weight, network(pair).model.state_dict()[name], err_msg=name)

    def test_the_predicted_class_has_the_largest_probability(self, pair, series):
        best = pair.predict_proba(series).argmax(1)
        assert_array_equal(pair.predict(series), pair.classes_[best])


class TestClassWeights:
    def test_balanced_weighs_classes_inversely_to_their_frequency(self):
        X, y = two_classes()
        y = np.where(np.arange(24) < 18, 0, 1)
        balanced = classifier(class_weight="balanced", validation=0).fit(X, y)
        assert_allclose(network(balanced).model.config.class_weights, [24 / 36, 24 / 12])

    def test_a_dict_weighs_the_classes_it_names(self):
        X, y = two_classes()
        weighted = classifier(class_weight={"b": 5}).fit(X, np.array(["a", "b"])[y])
        assert network(weighted).model.config.class_weights == [1.0, 5.0]

    def test_a_heavier_class_is_predicted_more_often(self):
        X, y = two_classes()
        X = np.zeros_like(X)  # nothing to learn but how often a class pays
        shares = [
            classifier(class_weight=weights, epochs=5, learning_rate=0.05)
            .fit(X, y)
            .predict_proba(X)
            for weights in ({0: 9.0}, {1: 9.0})
        ]
        assert shares[0][:, 1].mean() < 0.5 < shares[1][:, 1].mean()


class TestVerbosity:
    @BOTH
    def test_nothing_is_shown_by_default(self, estimator, capfd):
        ask(fitted(estimator), two_classes()[0])
        assert capfd.readouterr() == ("", "")

    @BOTH
    def test_verbose_shows_progress_on_stderr_only(self, estimator, capfd):
        fitted(estimator, verbose=1, epochs=2)
        shown = capfd.readouterr()
        assert shown.out == ""
        assert re.search(r"/2 \[.*epoch", shown.err)


class TestEpochs:
    def test_a_fixed_budget_trains_on_everything_for_all_epochs(self):
        X, _ = two_classes()
        budget = fitted(EADCTransformerClassifier, validation=0, epochs=3, normalization="standard")
        assert network(budget).epoch == 3
        assert [entry["epoch"] for entry in network(budget).history] == [1, 2, 3]
        assert not any("validation_loss" in entry for entry in network(budget).history)
        center = budget.members_[0][0].processor.center
        assert_allclose(center, X.mean(axis=(0, 2)))

    def test_the_weights_of_the_lowest_validation_loss_are_kept(self, held_out):
        options = {"epochs": 7, "learning_rate": 0.1, "schedule": "constant", "validation": 0.2}
        trained = classifier(**options).fit(*noise())
        kept = network(trained)
        losses = [entry["validation_loss"] for entry in kept.history]
        assert len(losses) == 7
        assert losses[-1] > min(losses), "the last weights must not be the best ones by chance"
        assert kept.epoch == 1 + losses.index(min(losses))
        assert loss_of(trained, held_out[0]) == pytest.approx(min(losses), rel=1e-4)

    def test_patience_stops_after_so_many_epochs_without_improvement(self):
        options = {"epochs": 40, "patience": 2, "learning_rate": 0.1, "schedule": "constant"}
        options["validation"] = 0.2
        stopped = network(classifier(**options).fit(*noise()))
        assert len(stopped.history) < 40
        assert len(stopped.history) == stopped.epoch + 2

    def test_refit_trains_on_everything_for_the_chosen_epochs(self):
        X, _ = two_classes()
        options = {"epochs": 4, "learning_rate": 0.05, "normalization": "standard"}
        options["validation"] = 0.2
        first = fitted(EADCTransformerClassifier, **options)
        again = fitted(EADCTransformerClassifier, **options, refit=True)
        chosen = network(first).epoch
        assert network(again).epoch == chosen
        assert network(again).history[:4] == network(first).history
        assert [entry["epoch"] for entry in network(again).history[4:]] == [*range(1, chosen + 1)]
        assert_allclose(again.members_[0][0].processor.center, X.mean(axis=(0, 2)))
        assert not np.allclose(first.members_[0][0].processor.center, X.mean(axis=(0, 2)))

    def test_refit_knows_the_length_of_the_longest_series(self):
        X, y = two_classes()
        assert classifier(validation=0.2, refit=True, pooling="flatten").fit(X, y).predict(
            X
        ).shape == (24,)


class TestCtrlC:
    """18 series train in 3 batches an epoch, 6 are held out in one: 4 batches an epoch."""

    OPTIONS = {"validation": 0.25, "learning_rate": 0.05, "schedule": "constant", "epochs": 8}

    def test_the_best_weights_so_far_are_kept(self, monkeypatch, held_out):
        interrupt_training(monkeypatch, after=4 * 4 + 1)
        stopped = classifier(**self.OPTIONS).fit(*noise())
        monkeypatch.undo()
        kept = network(stopped)
        losses = [entry["validation_loss"] for entry in kept.history]
        assert kept.interrupted
        assert len(losses) == 4
        assert losses[-1] > min(losses), "the last weights must not be the best ones by chance"
        assert kept.epoch == 1 + losses.index(min(losses))
        assert loss_of(stopped, held_out[0]) == pytest.approx(min(losses), rel=1e-4)
        assert stopped.predict(noise()[0]).shape == (24,)

    def test_the_first_network_is_kept_when_the_refit_has_hardly_begun(self, monkeypatch, series):
        options = self.OPTIONS | {"epochs": 2}
        first = fitted(EADCTransformerClassifier, **options)
        interrupt_training(monkeypatch, after=2 * 4 + 1)
        stopped = fitted(EADCTransformerClassifier, **options, refit=True)
        assert_array_equal(stopped.predict_proba(series), first.predict_proba(series))

    def test_a_network_without_a_single_step_does_not_join_the_ensemble(self, monkeypatch, series):
        options = self.OPTIONS | {"epochs": 2}
        first = fitted(EADCTransformerClassifier, **options)
        interrupt_training(monkeypatch, after=2 * 4)
        stopped = fitted(EADCTransformerClassifier, **options, n_estimators=3)
        assert_array_equal(stopped.predict_proba(series), first.predict_proba(series))

    def test_no_further_networks_are_trained(self, monkeypatch):
        interrupt_training(monkeypatch, after=4 + 2)
        stopped = fitted(EADCTransformerClassifier, **self.OPTIONS, n_estimators=3)
        assert len(stopped.members_) == 1


class TestSaving:
    @BOTH
    def test_a_loaded_estimator_predicts_the_same_to_the_bit(self, estimator, series, tmp_path):
        saved = fitted(estimator, n_estimators=2, alpha=0.25, validation=0.2, patience=3)
        saved.save(tmp_path / "deep" / "folder")
        loaded = estimator.load(tmp_path / "deep" / "folder")
        assert_array_equal(ask(loaded, series), ask(saved, series))
        assert_array_equal(ask(loaded, cut(series)), ask(saved, cut(series)))
        assert loaded.get_params() == saved.get_params()
        assert network(loaded, 1).history == network(saved, 1).history

    def test_the_folder_holds_only_json_and_safetensors(self, pair, tmp_path):
        pair.save(tmp_path)
        assert {name.rsplit(".", 1)[-1] for name in files_of(tmp_path)} == {"json", "safetensors"}

    def test_a_loaded_estimator_can_be_saved_and_fitted_again(self, pair, series, tmp_path):
        pair.save(tmp_path / "one")
        loaded = EADCTransformerClassifier.load(tmp_path / "one")
        loaded.save(tmp_path / "two")
        twice = EADCTransformerClassifier.load(tmp_path / "two")
        for estimator in (twice, loaded.fit(*two_classes())):
            assert_array_equal(estimator.predict_proba(series), pair.predict_proba(series))

    def test_saving_over_a_larger_ensemble_leaves_none_of_its_networks(self, pair, tmp_path):
        pair.save(tmp_path)
        fitted(EADCTransformerClassifier).save(tmp_path)
        assert len(EADCTransformerClassifier.load(tmp_path).members_) == 1
        assert sorted(path.name for path in tmp_path.iterdir()) == ["estimator.json", "network_0"]

    def test_an_estimator_that_was_half_written_over_another_is_none(
        self, pair, tmp_path, monkeypatch
    ):
        fitted(EADCTransformerClassifier, alpha=0.25).save(tmp_path)
        model = type(network(pair).model)
        save, saved = model.save_pretrained, count()

        def save_or_die(*arguments):
            if next(saved):
                raise Killed
            save(*arguments)

        monkeypatch.setattr(model, "save_pretrained", save_or_die)
        with pytest.raises(Killed):
            pair.save(tmp_path)
        with one_sentence("estimator.json is missing"):
            EADCTransformerClassifier.load(tmp_path)

    def test_class_weights_survive(self, tmp_path):
        X, y = two_classes()
        fitted = classifier(class_weight={0: 1.0, 1: 2.0}).fit(X, y)
        fitted.save(tmp_path)
        loaded = EADCTransformerClassifier.load(tmp_path)
        assert loaded.class_weight == {0: 1.0, 1: 2.0}
        assert network(loaded.fit(X, y)).model.config.class_weights == [1.0, 2.0]

    def test_class_weights_keyed_by_labels_of_numpy_can_be_saved(self, tmp_path):
        X, y = two_classes()
        weights = dict(zip(np.unique(y), (1.0, 2.0), strict=True))
        classifier(class_weight=weights).fit(X, y).save(tmp_path)
        assert EADCTransformerClassifier.load(tmp_path).class_weight == {0: 1.0, 1: 2.0}

    def test_a_seed_of_numpy_survives(self, tmp_path):
        fitted(EADCTransformerClassifier, random_state=np.int64(3)).save(tmp_path)
        assert EADCTransformerClassifier.load(tmp_path).random_state == 3

    def test_the_state_of_a_generator_is_not_saved(self, tmp_path):
        generator = np.random.RandomState(0)
        fitted(EADCTransformerClassifier, random_state=generator).save(tmp_path)
        assert EADCTransformerClassifier.load(tmp_path).random_state is None

    def test_an_unfitted_estimator_is_not_saved(self, tmp_path):
        with pytest.raises(NotFittedError):
            classifier().save(tmp_path / "new")
        assert not (tmp_path / "new").exists()

    def test_loading_with_another_class_names_the_right_one(self, pair, tmp_path):
        pair.save(tmp_path)
        with one_sentence("EADCTransformerClassifier", "EADCTransformerRegressor"):
            EADCTransformerRegressor.load(tmp_path)

    @pytest.mark.parametrize("missing", ["nothing is there", "estimator.json", "network_1"])
    def test_loading_an_incomplete_folder_says_what_is_missing(self, pair, tmp_path, missing):
        folder = tmp_path / "saved"
        if missing != "nothing is there":
            pair.save(folder)
            (folder / missing).rename(tmp_path / "away")
        with one_sentence("estimator.json" if missing == "nothing is there" else missing):
            EADCTransformerClassifier.load(folder)

    def test_loading_parameters_of_another_version_is_an_error_in_one_sentence(
        self, pair, tmp_path
    ):
        pair.save(tmp_path)
        state = json.loads((tmp_path / "estimator.json").read_text())
        state["parameters"]["gamma"] = 0.5
        (tmp_path / "estimator.json").write_text(json.dumps(state))
        with one_sentence("estimator.json", "gamma"):
            EADCTransformerClassifier.load(tmp_path)

    @pytest.mark.parametrize("content", ["{", "{}", "[]"])
    def test_loading_another_json_file_is_an_error_in_one_sentence(self, tmp_path, content):
        (tmp_path / "estimator.json").write_text(content)
        with one_sentence("estimator.json"):
            EADCTransformerClassifier.load(tmp_path)


class TestData:
    @pytest.mark.parametrize(
        "labels",
        [
            np.array([0, 1]),
            np.array([-7, 40]),
            np.array(["no", "yes, very"]),
            np.array(["a", "b"], dtype=object),
            np.array([False, True]),
            np.array([1.0, 2.0]),
        ],
        ids=lambda labels: f"{labels.dtype}{labels.tolist()}",
    )
    def test_labels_keep_their_type_saved_and_loaded(self, labels, tmp_path):
        X, y = two_classes()
        saved = classifier().fit(X, labels[y])
        saved.save(tmp_path)
        for estimator in (saved, EADCTransformerClassifier.load(tmp_path)):
            assert estimator.classes_.tolist() == labels.tolist()
            predicted = estimator.predict(X)
            assert predicted.dtype == labels.dtype
            assert set(predicted.tolist()) <= set(labels.tolist())
            assert 0 <= estimator.score(X, labels[y]) <= 1

    @BOTH
    def test_a_series_is_predicted_the_same_alone_and_among_longer_ones(self, estimator):
        X, y = data_of(estimator)
        X = cut(X)
        trained = new(estimator).fit(X, y)
        together = ask(trained, X)
        alone = np.concatenate([ask(trained, [values]) for values in X[:6]])
        assert_allclose(together[:6], alone, rtol=1e-4, atol=1e-5)

    def test_a_missing_value_is_interpolated(self):
        X, y = two_classes()
        X[:, :, 3] = (X[:, :, 2] + X[:, :, 4]) / 2
        trained = classifier().fit(X, y)
        holes = X.copy()
        holes[:, :, 3] = np.nan
        assert_allclose(trained.predict_proba(holes), trained.predict_proba(X), atol=1e-5)

    @pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of aeon, at a channel without values
    def test_missing_values_in_training_do_no_harm(self):
        X, y = two_classes()
        X[::3, 0, 1:3] = np.nan
        X[1, 1] = np.nan
        assert np.isfinite(classifier().fit(X, y).predict_proba(X)).all()

    @pytest.mark.parametrize("validation", [0.0, 0.25])
    def test_a_series_that_does_not_work_is_told_by_its_number(self, validation):
        X, y = two_classes()
        X[17, 1, 2] = np.inf
        with one_sentence("series 17", "channel 1", "step 2"):
            classifier(validation=validation).fit(X, y)

    def test_a_matrix_is_a_collection_of_univariate_series(self):
        X, y = two_classes()
        matrix = classifier().fit(X[:, 0], y).predict_proba(X[:, 0])
        assert_array_equal(matrix, classifier().fit(X[:, :1], y).predict_proba(X[:, :1]))

    @BOTH
    def test_series_of_one_step_are_series(self, estimator):
        X, y = data_of(estimator)
        trained = new(estimator).fit(X[:, :, :1], y)
        assert np.isfinite(ask(trained, X[:, :, :1])).all()

    def test_longer_series_than_in_training_are_read_whole_by_default(self):
        X, y = two_classes(steps=12)
        trained = classifier().fit(X[:, :, :6], y)
        whole, half = trained.predict_proba(X), trained.predict_proba(X[:, :, :6])
        assert np.isfinite(whole).all()
        assert not np.allclose(whole, half)

    def test_longer_series_are_truncated_where_asked(self):
        X, y = two_classes(steps=12)
        trained = classifier(longer_series="truncate").fit(X[:, :, :6], y)
        assert_array_equal(trained.predict_proba(X), trained.predict_proba(X[:, :, :6]))

    def test_longer_series_are_an_error_with_a_flatten_head(self):
        X, y = two_classes(steps=12)
        trained = classifier(pooling="flatten").fit(X[:, :, :6], y)
        with one_sentence("12 steps", "6", "longer_series"):
            trained.predict(X)

    def test_a_class_with_one_example_is_learned_from(self):
        X, y = two_classes()
        y = np.where(np.arange(24) == 5, 2, y)
        assert classifier().fit(X, y).predict_proba(X).shape == (24, 3)

    def test_a_diverging_training_is_an_error_not_a_network(self):
        with pytest.raises(InputError, match="learning_rate"):
            fitted(EADCTransformerClassifier, learning_rate=1e30, epochs=3)


class TestLearning:
    @pytest.mark.parametrize("alpha", [0.0, 0.5])
    def test_a_classifier_learns_what_can_be_told_apart(self, alpha):
        X, y = two_classes(cases=48)
        trained = classifier(epochs=10, learning_rate=0.01, alpha=alpha).fit(cut(X), y)
        X, y = two_classes(cases=48, seed=1)
        assert trained.score(cut(X), y) > 0.9

    def test_a_regressor_learns_the_level_of_a_series(self):
        options = {"epochs": 15, "learning_rate": 0.01}
        trained = new(EADCTransformerRegressor, **options).fit(*levels(cases=48))
        X, y = levels(cases=48, seed=1)
        assert r2_score(y, trained.predict(X)) > 0.5
