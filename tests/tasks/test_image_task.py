import json
from dataclasses import replace
from itertools import count

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torch.testing import assert_close
from transformers import ResNetConfig, ResNetForImageClassification

from evolving_attention.attention.overwriting import maps_may_be_overwritten
from evolving_attention.models import EAAAResNetConfig, EAAAResNetForImageClassification
from evolving_attention.models.ea_aa_resnet_config import VARIANTS
from evolving_attention.recipe import (
    ImageAugmentationOptions,
    ImageDataOptions,
    ImageProcessingOptions,
    ImageRecipe,
    TrainingOptions,
    bundled_recipes,
    read_recipe,
)
from evolving_attention.runs import Run, train
from evolving_attention.tasks.family import family_of
from evolving_attention.tasks.image_data import ImageData
from evolving_attention.tasks.image_family import FAMILY
from evolving_attention.tasks.image_model import image_config, start_from
from evolving_attention.tasks.image_task import ImageTask
from evolving_attention.training import check_options
from tests.small import Killed, files_of, one_sentence
from tests.tasks.image_files import bright_or_dark, small_images, write_folder

#: Attention at 4 x 4 in both stages.
SMALL = {
    "variant": "tiny",
    "depths": [1, 1],
    "hidden_sizes": [8, 16],
    "embedding_size": 8,
    "attention_strides": [2, 1],
}
#: Two evaluated examples of six classes.
LOGITS = np.array([[9.0, 1, 2, 3, 4, 0], [0.0, 1, 2, 3, 4, 5]])


def small_archive(path):
    train, test = bright_or_dark(), bright_or_dark(10, seed=1)
    parts = {"X_train": train[0], "y_train": train[1], "X_test": test[0], "y_test": test[1]}
    np.savez(path, **parts)
    return str(path)


def small_recipe(tmp_path, data=None, **changes):
    training = {"epochs": 4, "batch_size": 8, "validation": 0.25} | changes.pop("training", {})
    return ImageRecipe(
        data=ImageDataOptions(train=data or small_archive(tmp_path / "images.npz")),
        model=SMALL | changes.pop("model", {}),
        training=TrainingOptions(**training),
        output=str(tmp_path / "run"),
        **changes,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A network that has learned to tell bright images from dark ones."""
    return train(small_recipe(tmp_path_factory.mktemp("images"), training={"epochs": 6}))


def prepared(task=None, data=None):
    task = task or ImageTask()
    datasets = task.split(data or small_images(), 0.25, seed=0)
    return task, *datasets


# Data to batches


def test_a_split_holds_images_of_every_class_out_and_takes_statistics_from_the_rest():
    data = small_images()
    task, training, validation = prepared(data=data)
    assert (len(training), len(validation)) == (18, 6)
    assert np.bincount(validation.targets).tolist() == [3, 3]
    values = np.stack([training.data.images[index] for index in range(18)]) / 255
    assert task.processor.mean == pytest.approx(values.mean((0, 1, 2)).tolist())
    assert len(training.lengths) == 18


def test_training_images_vary_and_validation_images_do_not():
    torch.manual_seed(0)
    task, training, validation = prepared(ImageTask(augmentation=ImageAugmentationOptions(shift=2)))
    for dataset, varies in ((training, True), (validation, False)):
        first, second = (task.collate([dataset[0], dataset[1]]) for _ in range(2))
        assert first["labels"].tolist() == dataset.targets[:2].tolist()
        assert torch.equal(first["pixel_values"], second["pixel_values"]) is not varies


def test_the_seed_decides_the_variations_however_many_threads_work(tmp_path):
    write_folder(tmp_path / "a")
    recipe = small_recipe(tmp_path, str(tmp_path / "a"), processing=ImageProcessingOptions(8))
    data = FAMILY.load_training(recipe)
    batches = []
    for workers in (1, 4):
        augmentation = ImageAugmentationOptions(scale=0.3, flip=True)
        task, training, _ = prepared(
            ImageTask(ImageProcessingOptions(8), None, augmentation, workers=workers), data
        )
        torch.manual_seed(5)
        batches.append(task.collate([training[index] for index in range(6)]))
    assert torch.equal(batches[0]["pixel_values"], batches[1]["pixel_values"])


def test_mixup_mixes_batches_of_training_alone():
    task, training, validation = prepared(
        ImageTask(augmentation=ImageAugmentationOptions(mixup=0.5))
    )
    mixed = task.collate([training[index] for index in range(8)])["labels"]
    assert mixed.shape == (8, 2)
    assert_close(mixed.sum(1), torch.ones(8))
    assert task.collate([validation[0]])["labels"].shape == (1,)


def test_images_without_classes_do_not_train():
    images, _ = bright_or_dark()
    with one_sentence("no classes"):
        ImageTask().split(ImageData(images), 0.0, 0)


# The network


def test_outputs_that_are_not_finite_are_no_prediction():
    task, *_ = prepared()
    model = task.build_model(SMALL)
    torch.nn.init.constant_(model.get_parameter("classifier.bias"), float("nan"))
    with one_sentence("case 0", "not finite", "learning rate"):
        task.predict(model, small_images())


@pytest.mark.parametrize(("side", "variant"), [(8, "tiny"), (32, "cifar"), (100, "50")])
def test_the_size_of_the_images_chooses_the_network(side, variant):
    task, *_ = prepared(ImageTask(ImageProcessingOptions(image_size=side)))
    with torch.device("meta"):
        config = task.build_model({}).config
    for name, value in VARIANTS[variant].items():
        if name != "image_size":
            assert getattr(config, name) == value, name
    assert config.image_size == [side, side]
    assert config.id2label == {0: "0", 1: "1"}


def test_classes_are_weighed_by_how_rare_they_are():
    images, labels = bright_or_dark(20)
    keep = np.concatenate([np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)[:2]])
    task = ImageTask(class_weight="balanced")
    task.split(ImageData(images[keep], labels[keep]), 0.0, 0)
    assert task.build_model(SMALL).config.class_weights == pytest.approx([0.6, 3.0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"alhpa": 0.1}, ["'alhpa'", "did you mean 'alpha'"]),
        ({"image_size": 8}, ["'image_size'"]),
        ({"variant": "18"}, ["model.variant", "'18'", "'cifar'"]),
        ({"alpha": 2.0}, ["alpha must lie in"]),
    ],
    ids=str,
)
def test_options_that_the_model_does_not_have_are_refused(options, words):
    task, *_ = prepared()
    with one_sentence(*words):
        task.build_model(options)


# A run


def test_a_network_learns_and_is_measured(run):
    test = run.metrics["test"]
    assert test["accuracy"] == 1.0
    assert {*test} == {"accuracy", "f1_macro", "log_loss"}
    assert run.metrics["validation"]["accuracy"] == 1.0
    assert run.metrics["pretrained"] is None
    assert run.evaluate() == test


def test_a_run_read_back_predicts_the_same(run, tmp_path):
    loaded = Run.load(run.folder)
    images, labels = bright_or_dark(5, seed=2)
    np.savez(tmp_path / "new.npz", X=images, y=labels)
    expected = run.predict(tmp_path / "new.npz")
    pd.testing.assert_frame_equal(loaded.predict(tmp_path / "new.npz"), expected)
    assert expected.columns.tolist() == ["prediction", "probability_0", "probability_1"]
    assert (expected["prediction"] == labels).all()
    assert loaded.evaluate(tmp_path / "new.npz")["accuracy"] == 1.0
    assert "EA-AA-ResNet, classification" in (run.folder / "README.md").read_text()


def test_files_are_predicted_by_name(run, tmp_path):
    write_folder(tmp_path, 6, side=20)
    table = run.predict(tmp_path)
    assert len(table) == 6
    bright = table["file"].str.contains("bright")
    assert (table["prediction"] == bright.astype(int)).all()


def test_every_image_has_a_vector(run):
    vectors, labels = run.embed()
    assert vectors.shape == (10, 16)
    assert labels.tolist() == bright_or_dark(10, seed=1)[1].tolist()
    data = run.data()[1]
    output = run.model(run.task.processor(data.images), output_hidden_states=True)
    assert_close(torch.from_numpy(vectors), output.hidden_states[-1].mean((2, 3)).detach())


def test_a_network_that_is_read_may_write_over_its_maps(run):
    leaves = []

    def read(model, batch):
        leaves.append(maps_may_be_overwritten())
        return model(batch).logits

    logits = run.task.outputs(run.model, run.data()[1], read)
    assert leaves == [True]
    assert np.array_equal(logits, run.task.logits(run.model, run.data()[1]))


def test_the_resolved_recipe_trains_the_same_network(run, tmp_path):
    recipe = read_recipe(run.folder / "recipe.yaml")
    assert type(recipe) is ImageRecipe
    assert recipe.processing.image_size == [8, 8]
    assert recipe.processing.channels == "colour"
    assert recipe.model["alpha"] == EAAAResNetConfig().alpha
    again = train(replace(recipe, output=str(tmp_path / "again")))
    weights = "model.safetensors"
    assert files_of(again.folder)[weights] == files_of(run.folder)[weights]


def test_a_run_that_was_killed_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    augmentation = ImageAugmentationOptions(shift=2, flip=True, mixup=0.3)
    recipe = small_recipe(
        tmp_path,
        augmentation=augmentation,
        training={"validation": 0.0, "checkpoint_every": 0.0, "average": 0.9},
    )
    undisturbed = files_of(train(replace(recipe, output=str(tmp_path / "whole"))).folder)
    collate, made = ImageTask.collate, count()

    def dying(self, examples):
        if next(made) == 7:  # in the third epoch of three batches each
            raise Killed
        return collate(self, examples)

    with monkeypatch.context() as patched:
        patched.setattr(ImageTask, "collate", dying)
        with pytest.raises(Killed):
            train(recipe)
    resumed = files_of(train(recipe, resume=True).folder)
    assert next(made) == 8
    assert resumed["model.safetensors"] == undisturbed["model.safetensors"]


def test_labels_that_training_did_not_know_are_told(run, tmp_path):
    images, _ = bright_or_dark(3)
    np.savez(tmp_path / "new.npz", X=images, y=np.array([0, 1, 7]))
    with one_sentence("7", "training classes"):
        run.evaluate(tmp_path / "new.npz")
    np.savez(tmp_path / "unknown.npz", X=images)
    with one_sentence("unknown.npz", "labelled"):
        run.evaluate(tmp_path / "unknown.npz")


def test_top_five_is_measured_where_there_are_more_classes():
    task = ImageTask()
    figures = task.compute_metrics(_Prediction(LOGITS, np.array([0, 0])))
    assert figures["accuracy"] == 0.5
    assert figures["top_5_accuracy"] == 0.5
    assert "top_5_accuracy" not in task.compute_metrics(
        _Prediction(LOGITS[:, :5], np.array([0, 0]))
    )


class _Prediction:
    def __init__(self, predictions, label_ids):
        self.predictions, self.label_ids = predictions, label_ids


# Starting from other weights


def test_a_network_starts_from_a_run_but_for_its_classifier(run, tmp_path):
    images, labels = bright_or_dark()
    np.savez(tmp_path / "three.npz", X_train=images, y_train=labels + (np.arange(24) % 4 == 0))
    recipe = small_recipe(tmp_path, str(tmp_path / "three.npz"), pretrained=str(run.folder))
    task = family_of(recipe).task_to_train(recipe)
    task.split(FAMILY.load_training(recipe), 0.0, 0)
    model = task.build_model(recipe.model)
    for name, tensor in run.model.model.state_dict().items():
        assert torch.equal(model.model.state_dict()[name], tensor), name
    assert "2 left as they started" in task.report()["pretrained"]


def test_a_network_starts_from_a_plain_resnet(tmp_path):
    sizes = {"embedding_size": 8, "depths": [1, 1], "hidden_sizes": [8, 16]}
    ResNetForImageClassification(ResNetConfig(layer_type="basic", **sizes)).save_pretrained(
        tmp_path / "plain"
    )
    recipe = small_recipe(
        tmp_path,
        model={"stem": "imagenet"},
        pretrained=str(tmp_path / "plain"),
        training={"epochs": 1},
    )
    told = train(recipe).metrics["pretrained"]
    assert "4 kernels but for the channels that attention makes" in told
    assert "unused: classifier.1.weight, classifier.1.bias" not in told  # it has two classes too


def test_a_network_starts_from_a_folder_of_timm(tmp_path):
    network = EAAAResNetForImageClassification(image_config(SMALL, [8, 8], num_labels=2))
    kernel = torch.randn_like(network.model.stem.convolution.weight)
    save_file({"conv1.weight": kernel}, tmp_path / "model.safetensors")
    settings = {"architecture": "resnet18", "pretrained_cfg": {"num_classes": 1000}}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert start_from(network, str(tmp_path)).whole == ["model.stem.convolution.weight"]
    assert torch.equal(network.model.stem.convolution.weight, kernel)


def test_weights_of_another_network_are_refused(run, tmp_path):
    recipe = small_recipe(tmp_path, pretrained=str(run.folder), model={"hidden_sizes": [8, 32]})
    task = FAMILY.task_to_train(recipe)
    task.split(FAMILY.load_training(recipe), 0.0, 0)
    with one_sentence("is another", "model.stages.1"):
        task.build_model(recipe.model)
    with one_sentence("no weights", "nowhere"):
        FAMILY.task_to_train(replace(recipe, pretrained="nowhere"))


# The family


@pytest.mark.parametrize(
    ("section", "options", "words"),
    [
        ("data", {"broken": "mend"}, ["data.broken", "'mend'"]),
        ("data", {"workers": 0}, ["data.workers", "0"]),
        ("data", {"train_images": 0}, ["data.train_images", "0"]),
        ("processing", {"crop": 2.0}, ["processing.crop"]),
        ("augmentation", {"scale": 2.0}, ["augmentation.scale"]),
    ],
)
def test_a_recipe_that_cannot_work_is_refused(section, options, words):
    recipe = ImageRecipe()
    changed = replace(recipe, **{section: replace(getattr(recipe, section), **options)})
    with one_sentence(*words):
        FAMILY.check(changed)


@pytest.mark.parametrize(
    "name", sorted(name for name in bundled_recipes() if name.startswith("images/"))
)
def test_bundled_recipes_work_and_build_their_networks(name):
    recipe = read_recipe(bundled_recipes()[name])
    assert type(recipe) is ImageRecipe
    FAMILY.check(recipe)
    check_options(recipe.training)
    config = image_config(recipe.model, [64, 64])
    for option, value in recipe.model.items():
        if option != "variant":
            assert getattr(config, option) == value


def test_every_option_of_a_named_network_is_known_before_the_data():
    options = FAMILY.model_options(ImageRecipe(model={"variant": "cifar", "alpha": 0.1}))
    assert options["depths"] == [3, 3, 3]
    assert options["alpha"] == 0.1
    unknown = FAMILY.model_options(ImageRecipe(model={"alpha": 0.1}))
    assert (unknown["variant"], unknown["alpha"], unknown["beta"]) == ("auto", 0.1, 1.0)
    assert "depths" not in unknown


def test_data_sets_are_placed_by_name_and_by_path(tmp_path):
    recipe = ImageRecipe()
    assert FAMILY.place(recipe, "digits")[0] == "digits"
    assert FAMILY.place(recipe, "hub:owner/animals")[0] == "animals"
    archive = small_archive(tmp_path / "pictures.npz")
    name, placed = FAMILY.place(recipe, archive)
    assert (name, placed.data.train) == ("pictures", archive)
    assert "pictures.npz" in FAMILY.data_settings(placed)["train"]
    with one_sentence("no images", "nowhere"):
        FAMILY.place(recipe, "nowhere")
    write_folder(tmp_path / "more")
    others = ImageRecipe(data=ImageDataOptions(test=str(tmp_path / "more")))
    assert FAMILY.place(others, archive)[1].data.test == str(tmp_path / "more")
    with one_sentence("no folder", "nowhere"):
        FAMILY.place(ImageRecipe(data=ImageDataOptions(test="nowhere")), archive)


def test_a_subset_is_drawn_from_every_class_alike_and_is_always_the_same(tmp_path):
    recipe = small_recipe(tmp_path)
    subset = replace(recipe, data=replace(recipe.data, train_images=8, test_images=4))
    parts = FAMILY.load(subset)
    assert [np.bincount(part.targets).tolist() for part in parts] == [[4, 4], [2, 2]]
    again = FAMILY.load_training(subset)
    assert again.fingerprint() == parts[0].fingerprint()
    whole = FAMILY.load_training(recipe)
    assert len(whole) == 24
    assert {each.tobytes() for each in again.images} < {each.tobytes() for each in whole.images}
    many = replace(recipe, data=replace(recipe.data, train_images=100))
    assert FAMILY.load_training(many).fingerprint() == whole.fingerprint()
    assert FAMILY.data_settings(subset) != FAMILY.data_settings(recipe)


def test_fewer_images_than_classes_can_be_tested_on_but_not_trained_on(tmp_path):
    recipe = small_recipe(tmp_path)
    subset = replace(recipe, data=replace(recipe.data, test_images=1))
    assert [len(part) for part in FAMILY.load(subset)] == [24, 1]
    few = replace(recipe, data=replace(recipe.data, train_images=1))
    for load in (FAMILY.load, FAMILY.load_training):
        with one_sentence("data.train_images=1", "2 classes"):
            load(few)


# The command line


def test_commands_train_compare_and_predict_images(call, tmp_path):
    archive = small_archive(tmp_path / "images.npz")
    options = [f"--model.{name}={value}" for name, value in SMALL.items()]
    data = ["--data.train", archive, *options, "--training.epochs", 2, "--training.batch_size", 8]
    told = call("train", "images/default", *data, "--output", tmp_path / "run")
    assert "accuracy" in told
    write_folder(tmp_path / "new", 4)
    table = tmp_path / "predictions.csv"
    call("predict", tmp_path / "run", tmp_path / "new", "--output", table)
    assert len(pd.read_csv(table)) == 4
    call(
        *("compare", "images/default", "--data", archive, "--against", "twin", "--seeds", 1),
        *data[2:],
        *("--output", tmp_path / "comparison"),
    )
    report = (tmp_path / "comparison" / "README.md").read_text()
    assert "twin" in report


def test_a_search_tries_the_recipe_itself_first_and_leaves_one_that_works(call, tmp_path):
    archive = small_archive(tmp_path / "images.npz")
    options = [f"--model.{name}={value}" for name, value in SMALL.items() if name != "variant"]
    training = ["--training.epochs", 1, "--training.batch_size", 8]
    told = call(
        *("tune", "images/default", "--data.train", archive, *options, *training),
        *("--trials", 2, "--output", tmp_path / "tuning"),
    )
    assert told.startswith("[1/2] log loss ")
    trials = pd.read_csv(tmp_path / "tuning" / "trials.csv")
    assert trials["model.beta"][0] == 1.0
    assert (trials["state"] == "complete").all()
    assert set(FAMILY.search_space) <= set(trials)
    FAMILY.check(read_recipe(tmp_path / "tuning" / "best.yaml"))
