"""Write docs/results/time_series.md and its CSVs from finished comparisons; no figure is typed in.

    python docs/results/time_series.py comparisons/classification comparisons/regression \
        [--forms time_series_forms.csv] [--dropout time_series_branch_dropout.csv] \
        [--budget time_series_budget.csv] [--differences time_series_differences.csv] \
        [--earlier time_series_earlier.csv] [--pretraining pretraining.csv]

The comparisons are made by the commands that stand in the page. ``--forms``, ``--dropout``,
``--budget`` and ``--differences`` are tables of ``benchmarks/cross_validation.py``,
``--pretraining`` is one of ``benchmarks/pretraining.py``, ``--earlier`` holds runs of
comparisons with earlier defaults.
"""

import re
import shutil
from argparse import ArgumentParser
from pathlib import Path

import pandas as pd
from page import (
    FOLDER,
    finished_runs,
    keep,
    on_train,
    verdicts,
    without_paths,
    write_page,
    write_runs,
)

from evolving_attention.comparison.statistics import scores_by_data, summarise_gains
from evolving_attention.comparison.tables import markdown, scores_table, title

INTRODUCTION = """# Time series

How the EA-DC-Transformer does with one set of defaults for all data sets, beside its twin without
evolution, its ablations, and aeon's ROCKET, MultiROCKET-Hydra and QUANT on the same splits.
Defaults were chosen on TRAIN parts only ([decisions](../decisions.md)); TEST is read once a run, at
its end, and chooses nothing. This page and the CSVs beside it are written by
`docs/results/time_series.py`.

AppliancesEnergy and IEEEPPG are rebuilt from their raw sources to the published sizes; which
windows of AppliancesEnergy are the test part is our choice (chronological), so its RMSE is not
comparable with published ones. What was tried to make evolution help is told in the
[decisions](../decisions.md).
"""

EARLIER = """## Earlier defaults, on TEST

TEST was read with earlier defaults as well. Each change of them was decided on TRAIN, but whoever
judges the last ones should know: means over seeds, then over data sets."""
EARLIER_REGRESSION = "RMSE, the mean over seeds:"
FORMS = """Three-fold cross-validation by `benchmarks/cross_validation.py`, with a budget of 400
updates; n counts folds. The network whose gains are told has normalised maps, the default;
`papers_form` has not."""
DROPOUT = """The same with `--option model.branch_dropout=0.3`, for all but `without` and `more`
(0.5): series go without a layer's attention in a step of training now and then. These runs, and
only they, used the CPU backend, whose last bits differ: how far a training wanders for such a
reason is seen in `without`, which is the network of the section before."""
BUDGET = """Two of three folds, with branch dropout: 400 updates (`evolving`, `dilated_only`)
against 150 epochs, which are 1000 to 1200 updates (`long`, `dilated_long`)."""
PRETRAINING = """JapaneseVowels, by `benchmarks/pretraining.py`: in each of three folds a network
learns to fill in masked stretches of all series that train, without labels. With a share of the
labels, `none` then starts from chance, `pretrained` from that network, and `vectors` is a logistic
regression on its vectors. Seeds are folds here; gains are in points of accuracy and units of log
loss."""
DIFFERENCES = """Regression by the dilated network alone (`--option model.key_ratio=0 --option
model.value_ratio=0`), which reads first differences between steps too (`evolving`), values alone
(`values`) or second differences as well (`second`)."""


def aims(results: pd.DataFrame) -> str:
    """Tell of each aim whether it is met, with the figures."""
    rows = []
    classified = results[results["kind"] == "classification"]
    scores = scores_by_data(classified, "accuracy")
    for peer in (name for name in ("rocket", "multirocket_hydra", "quant") if name in scores):
        both = scores[["evolving", peer]].dropna()
        own, theirs = both.mean()
        found = f"{own:.4f} against {theirs:.4f}, {len(both)} data sets"
        rows.append([f"mean accuracy at the level of {peer}", found, _met(own >= theirs)])
    for kind, metric in (
        ("classification", "accuracy"),
        ("classification", "log_loss"),
        ("regression", "rmse"),
    ):
        runs = results[results["kind"] == kind]
        for gain in summarise_gains(runs, metric, "evolving").to_dict("records"):
            if gain["against"] not in ("twin", "dilated_only", "attention_only"):
                continue
            found = f"{gain['gain']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]"
            aim = f"{kind}: ahead of {gain['against']} in {metric.replace('_', ' ')}"
            rows.append([aim, found, _met(gain["low"] > 0)])
    return markdown(["aim", "found", ""], rows)


def _met(is_met: bool) -> str:
    return "met" if is_met else "missed"


def section(folder: Path) -> str:
    """Return a comparison's report, its headings a level down and its pictures beside this page."""
    text = (folder / "README.md").read_text()
    for picture in folder.glob("ranks*.png"):
        name = f"time_series_{folder.name}_{picture.name}"
        shutil.copyfile(picture, FOLDER / name)
        text = text.replace(f"({picture.name})", f"({name})")
    kind = folder.name.capitalize()
    text = re.sub(r"\A# .*", f"# {kind}", text.replace(f"## {kind}\n\n", "", 1))
    return re.sub(r"^(##?) ", r"#\1 ", without_paths(text), flags=re.M)


def earlier(path: Path, results: pd.DataFrame) -> str:
    """Tell what the runs on TEST gave with earlier defaults, beside those of now."""
    before = pd.read_csv(path)
    keep(path, "time_series_earlier.csv")
    networks = ["evolving", "twin", "dilated_only"]
    runs = pd.concat([before, results.assign(defaults="those of this page")])
    runs = runs[runs["variant"].isin(networks) & runs["data"].isin(before["data"])]
    keys = ["data", "defaults", "variant"]
    scores = {kind: part.groupby(keys, sort=False) for kind, part in runs.groupby("kind")}
    accuracy = scores["classification"]["accuracy"].mean().groupby(keys[1:], sort=False).mean()
    rmse = scores["regression"]["rmse"].mean()
    return "\n\n".join(
        [
            EARLIER,
            _rows(accuracy.unstack()[networks]),
            EARLIER_REGRESSION,
            _rows(rmse.unstack()[networks]),
        ]
    )


def _rows(table: pd.DataFrame) -> str:
    flat = table.map("{:.4f}".format).reset_index()
    return markdown(list(flat.columns), flat.to_numpy().tolist())


def pretraining(path: Path) -> str:
    """Tell whether pretraining helps, by cross-validation on TRAIN."""
    keep(path, "time_series_pretraining.csv")
    table = pd.read_csv(path).rename(columns={"way": "variant", "fold": "seed"})
    table["data"] = [f"{share:.0%} of the labels" for share in table["labels"]]
    parts = ["## Pretraining, on TRAIN alone", PRETRAINING]
    for metric in ("accuracy", "log_loss"):
        parts += [
            f"### {title(metric).capitalize()}, with and without pretraining",
            verdicts(table, metric, [("pretrained", "none"), ("vectors", "none")]),
            scores_table(table, metric),
        ]
    return "\n\n".join(parts)


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("comparisons", nargs="+", type=Path)
    parser.add_argument("--forms", type=Path)
    parser.add_argument("--dropout", type=Path)
    parser.add_argument("--budget", type=Path)
    parser.add_argument("--differences", type=Path)
    parser.add_argument("--earlier", type=Path)
    parser.add_argument("--pretraining", type=Path)
    options = parser.parse_args()
    write_runs(options.comparisons, "time_series.csv")
    finished = pd.concat(map(finished_runs, options.comparisons))
    finished = finished.drop_duplicates(["data", "variant", "seed"])
    parts = [INTRODUCTION, "## Aims", aims(finished), *map(section, options.comparisons)]
    if options.earlier:
        parts.append(earlier(options.earlier, finished))
    if options.forms:
        parts.append(on_train(options.forms, "Forms of evolution", FORMS))
    if options.dropout:
        parts.append(on_train(options.dropout, "Dropping the attention branch", DROPOUT))
    if options.budget:
        parts.append(on_train(options.budget, "Training for longer", BUDGET))
    if options.differences:
        told = on_train(options.differences, "Differences", DIFFERENCES, metrics=["rmse"])
        parts.append(told)
    parts += [pretraining(options.pretraining)] if options.pretraining else []
    write_page("time_series.md", parts)


if __name__ == "__main__":
    main()
