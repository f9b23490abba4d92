"""What a comparison will run, before anything is trained."""

from collections import Counter

from evolving_attention.comparison.plan import plan_runs
from evolving_attention.comparison.variants import parse_variants
from evolving_attention.recipe import DataOptions, TimeSeriesRecipe
from evolving_attention.tasks.time_series_family import TimeSeriesFamily
from tests.small import one_sentence, two_classes, write_npz, write_ts


def planned(sources, output, against=("twin",), seeds=2, recipe=None):
    variants, sources = parse_variants(against, "evolving"), [str(each) for each in sources]
    return plan_runs(recipe or TimeSeriesRecipe(), variants, sources, seeds, output)


def test_a_file_may_have_any_name(tmp_path):
    (first, *_) = planned([write_npz(tmp_path / "my data, cleaned.npz")], tmp_path / "out")
    assert first.data == "my data, cleaned"


def test_what_is_neither_a_file_nor_a_name_is_refused(tmp_path):
    with one_sentence("../nowhere", "neither a file"):
        planned(["../nowhere"], tmp_path)


def test_a_test_file_that_is_not_there_is_refused(tmp_path):
    recipe = TimeSeriesRecipe(data=DataOptions(test=str(tmp_path / "missing.ts")))
    with one_sentence("there is no file", "missing.ts"):
        planned([write_npz(tmp_path / "data.npz")], tmp_path / "out", recipe=recipe)


def test_a_data_set_is_looked_at_once_for_all_variants_and_seeds(tmp_path, monkeypatch):
    place, placed = TimeSeriesFamily.place, Counter()

    def counting(self, recipe, source):
        placed[source] += 1
        return place(self, recipe, source)

    monkeypatch.setattr(TimeSeriesFamily, "place", counting)
    numbers = write_ts(tmp_path / "numbers.ts", *two_classes(), kind="regression")
    classes = write_ts(tmp_path / "classes.ts", *two_classes())
    runs = planned([numbers, classes], tmp_path / "out", ("twin", "kernel_1"), seeds=3)
    assert len(runs) == 2 * 3 * 3
    assert set(placed.values()) == {1}
    assert {run.data: run.recipe.kind for run in runs} == {
        "numbers": "regression",
        "classes": "classification",
    }
