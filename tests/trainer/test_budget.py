import pytest

from evolving_attention import train
from evolving_attention.recipe import TrainingOptions, TranslationTrainingOptions
from evolving_attention.trainer.budget import FEWEST_EPOCHS, UPDATES, number_of_epochs
from tests.small import small_recipe, two_classes, write_npz


@pytest.mark.parametrize("cases", [1, 15, 16, 17, 270, 1000])
def test_small_data_sets_are_passed_over_until_the_updates_are_made(cases):
    options = TrainingOptions(batch_size=16)
    epochs, updates = number_of_epochs(options, cases), -(-cases // 16)
    assert (epochs - 1) * updates < UPDATES <= epochs * updates


def test_large_data_sets_are_passed_over_a_few_times():
    assert number_of_epochs(TrainingOptions(batch_size=16), 100_000) == FEWEST_EPOCHS


def test_a_number_that_is_given_is_taken():
    assert number_of_epochs(TrainingOptions(epochs=3), 10) == 3


def test_with_a_budget_of_tokens_they_are_what_counts():
    options = TranslationTrainingOptions(epochs="auto", batch_tokens=100, batch_size=1)
    assert number_of_epochs(options, 7, tokens=950) == UPDATES // 10
    options.batch_tokens = None
    assert number_of_epochs(options, 8, tokens=950) == UPDATES // 8


def test_a_run_without_a_number_trains_for_the_budget(tmp_path):
    data = write_npz(tmp_path / "data.npz", two_classes)
    training = {"validation": 0.0, "batch_size": 24}
    recipe = small_recipe(data, tmp_path / "run", epochs="auto", training=training)
    run = train(recipe)
    assert run.metrics["epoch"] == UPDATES
