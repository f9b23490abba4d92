"""The benchmarks run, and their page is written from what they measured."""

import runpy
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import turns
from peak_memory import peak_growth

ROOT = Path(__file__).parents[1]
STEP = {"steps": 29, "batch": 64, "layers": 8, "gain": 2.0, "of_twin": 1.5}
FORMS = ("evolving", "reference", "twin")
SMALL = "--heads 2 --lengths 8 512 --widths 4 --compiled --parts 2x16x4 --stacks 16 --repeats 1"


def run(script, *arguments):
    """Run a script as a user does, in this process, which has loaded what it needs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [script, *map(str, arguments)])
        patch.syspath_prepend(str((ROOT / script).parent))
        runpy.run_path(str(ROOT / script), run_name="__main__")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder, threads = tmp_path_factory.mktemp("results"), torch.get_num_threads()
    run("benchmarks/attention_cpu.py", *SMALL.split(), "--output", folder)
    torch.set_num_threads(threads)
    measured = {f"{form}_{unit}": 8.0 for form in FORMS for unit in ("ms", "MB", "maps")}
    pd.DataFrame([STEP | measured]).to_csv(folder / "training_step.csv", index=False)
    run("docs/results/performance.py", folder)
    return folder


def failing():
    def work():
        raise ArithmeticError

    return work


def test_work_that_fails_is_told_and_not_waited_for():
    with pytest.raises(RuntimeError, match="ended with code 1"):
        peak_growth(failing)


def test_works_take_turns_and_the_first_rounds_do_not_count(monkeypatch):
    clock, calls = [0.0], []

    def work(name, seconds):
        def run():
            calls.append(name)
            clock[0] += 100.0 if len(calls) <= 2 else seconds

        return run

    monkeypatch.setattr(turns.time, "process_time", lambda: clock[0])
    works = {"quick": work("quick", 1.0), "slow": work("slow", 3.0)}
    assert turns.median_seconds(works, repeats=3) == {"quick": 1.0, "slow": 3.0}
    assert calls == ["quick", "slow"] * 4


def test_every_way_is_measured_and_held_against_the_reference(folder):
    table = pd.read_csv(folder / "attention_cpu.csv")
    assert len(table) == 2 * 5
    for _, rows in table.groupby("N"):
        ways = rows.set_index("way")
        assert set(ways.index) == {"reference", "banded", "auto", "sdpa", "limit"}
        for kind in ("forward", "step"):
            expected = ways.loc["reference", f"{kind}_ms"] / ways[f"{kind}_ms"]
            assert ways[f"{kind}_gain"].to_numpy() == pytest.approx(expected.to_numpy(), rel=5e-3)


def test_the_parts_of_a_layer_make_up_its_time(folder):
    table = pd.read_csv(folder / "attention_cpu_parts.csv")
    parts = table[["convolution_ms", "previous_ms", "rest_ms"]].sum(axis=1)
    assert list(table["pass"]) == ["forward", "step"]
    assert parts.to_numpy() == pytest.approx(table["whole_ms"].to_numpy(), rel=1e-2)


def test_a_stack_of_the_cpu_backend_holds_fewer_maps_than_one_of_the_reference(folder):
    table = pd.read_csv(folder / "attention_cpu_stack.csv").set_index("way")
    for name in ("inference_maps", "overwriting_maps", "training_maps_a_layer"):
        assert table.loc["banded", name] < table.loc["reference", name]


def test_the_page_tells_which_aims_are_met(folder):
    page = (folder / "performance.md").read_text()
    table = pd.read_csv(folder / "attention_cpu.csv").query("N == 512").set_index("way")
    met = table.loc["banded", "step_gain"] >= 3
    told = next(line for line in page.splitlines() if "training: 3 times as fast" in line)
    assert told.endswith("| met |" if met else "| missed at 1 of 1 sizes |")
    assert "Long series" not in page


def test_long_series_join_the_page(folder):
    row = {"series": "random", "steps": 896, "batch": 16, "width": 128, "heads": 4, "layers": 8}
    row |= {"form": "twin", "recomputed": "blocks"}
    row |= {"peak_GB": 3.5, "growth_maps": 14.05, "cpu_seconds": 9.0}
    pd.DataFrame([row]).to_csv(folder / "long_series.csv", index=False)
    run("docs/results/performance.py", folder)
    (folder / "long_series.csv").unlink()
    page = (folder / "performance.md").read_text()
    assert "| random | 896 x 16 | 128 | 4 | 8 | twin | blocks | 3.50 | 14.1 | 9.0 |" in page
