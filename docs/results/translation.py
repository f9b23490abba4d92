"""Write docs/results/translation.md and its CSVs from finished comparisons; no figure is typed in.

    python docs/results/translation.py comparisons/multi30k_de_en comparisons/multi30k_en_de \
        [--speed speed.csv]

The comparisons are made by the commands that stand in the page. ``--speed`` is a table of
``benchmarks/translation_speed.py``.
"""

import json
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from page import FOLDER, finished_runs, forms_of, keep, made_by, verdict, write_page, write_runs

from evolving_attention.comparison.statistics import paired_gains
from evolving_attention.comparison.tables import markdown, scores_table, title

INTRODUCTION = """# Translation

What evolving attention gives to a small network that translates, beside its twin without
evolution: the same recipe, data, vocabulary, seeds and starting weights. The epoch is chosen by the
loss on the validation part; the test parts are read once a run, at its end. BLEU and chrF are
sacreBLEU's, on text as it is published, cased and not cut into words. This page and the CSVs beside
it are written by `docs/results/translation.py`.
"""
IN_SHORT = "BLEU, the mean over the test parts; what the columns are stands below."
SAID = """Of 100, mean over seeds ± standard deviation. The gain is the mean over seeds of the
difference to the twin with the same seed, with the 95 % interval of a paired t-test. *Ahead* and
*behind* are said where the interval leaves out 0."""
LEARNING = """By epoch, the mean over seeds; of the mean of the last epochs' weights, by which the
epoch is chosen."""
COST = """Seconds by the clock of a machine that had other work: [speed](#speed) is measured apart.
Where the chosen epoch is the last, a network would have learned on."""


def test_parts(results: pd.DataFrame) -> list[str]:
    """Return the names of the test parts that were measured apart."""
    return [name.removeprefix("bleu_") for name in results if name.startswith("bleu_")]


def verdicts(results: pd.DataFrame, metric: str) -> str:
    """Tell, of each test part and of their mean, what evolution gains over the twin."""
    rows = []
    parts = {"mean": metric} | {part: f"{metric}_{part}" for part in test_parts(results)}
    for data, runs in results.groupby("data", sort=False):
        for part, column in parts.items():
            # the statistics know a metric by its name
            renamed = runs.drop(columns=metric).rename(columns={column: metric})
            rows += [
                [str(data), part, *_figures(renamed if column != metric else runs, metric, form)]
                for form in forms_of(results)
            ]
    header = ["data", "part", "evolution", "network", "twin", "gain", "95 % interval", "seeds", ""]
    return markdown(header, rows)


def in_short(folders: Sequence[Path]) -> str:
    """Tell of each comparison what evolution gains over the twin, the mean over test parts."""
    rows = []
    for folder in folders:
        finished = finished_runs(folder)
        for form in forms_of(finished):
            rows.append([folder.name, str(_epochs(folder)), *_figures(finished, "bleu", form)])
    header = ["", "epochs", "evolution", "network", "twin", "gain", "95 % interval", "seeds", ""]
    return "\n\n".join(["## In short", IN_SHORT, markdown(header, rows)])


def _figures(runs: pd.DataFrame, metric: str, form: str) -> list[str]:
    scores = [runs.loc[runs["variant"] == variant, metric].dropna() for variant in (form, "twin")]
    told = [
        f"{each.mean():.2f}" + (f" ± {each.std():.2f}" if len(each) > 1 else "") for each in scores
    ]
    gains = paired_gains(runs, metric, form, "twin").to_numpy()
    return [form, *told, *verdict(gains, "+.2f")]


def section(folder: Path) -> str:
    """Return what a comparison found."""
    finished = finished_runs(folder)
    parts = [
        f"## {folder.name}",
        made_by(folder),
        "### BLEU",
        SAID,
        verdicts(finished, "bleu"),
        _signatures(folder),
        "### chrF",
        verdicts(finished, "chrf"),
        f"### {title('loss').capitalize()} of a token",
        scores_table(finished, "loss"),
        learning(folder, finished),
        "### Cost of a run",
        COST,
        cost(finished, folder),
    ]
    return "\n\n".join(part for part in parts if part)


def _signatures(folder: Path) -> str:
    """Return what sacreBLEU calls its figures, as a run wrote it down."""
    for path in sorted(folder.glob("runs/*/*/seed-*/metrics.json")):
        signatures = json.loads(path.read_text()).get("signatures", {})
        return "\n".join(f"- `{each}`" for each in signatures.values())
    return ""


def learning(folder: Path, results: pd.DataFrame) -> str:
    """Tell the validation loss epoch by epoch, where all runs of the folder have theirs."""
    tables = []
    for run in results.to_dict("records"):
        where = folder / "runs" / run["data"] / run["variant"] / f"seed-{run['seed']}"
        if not (where / "metrics.json").is_file():
            return ""
        history = pd.DataFrame(json.loads((where / "metrics.json").read_text())["history"])
        tables.append(history.assign(variant=run["variant"], seed=run["seed"]))
    table = pd.concat(tables)
    columns = ["variant", "seed", "epoch", "validation_loss"]
    table[columns].to_csv(FOLDER / f"translation_learning_{folder.name}.csv", index=False)
    means = table.pivot_table("validation_loss", "epoch", "variant", sort=False).sort_index()
    last = int(means.index[-1])
    shown = means.loc[means.index.isin(range(last, 0, -max(1, last // 8)))]
    rows = [[str(epoch), *(f"{loss:.3f}" for loss in losses)] for epoch, losses in shown.iterrows()]
    told = markdown(["epoch", *map(str, means.columns)], rows)
    return "\n\n".join(["### Validation loss of a token", LEARNING, told])


def cost(results: pd.DataFrame, folder: Path) -> str:
    """Return epochs, seconds of training by the clock, and parameters."""
    epochs = _epochs(folder)
    groups = results.groupby(["data", "variant"], sort=False)
    rows = [
        [
            str(data),
            str(variant),
            f"{runs['epoch'].mean():.1f} of {epochs}",
            f"{runs['train_seconds'].mean():.0f} s",
            f"{runs['parameters'].iloc[0]:,.0f}",
        ]
        for (data, variant), runs in groups
    ]
    return markdown(["data", "network", "chosen epoch", "training", "parameters"], rows)


def _epochs(folder: Path) -> int:
    """Return how many epochs the runs of a comparison might take."""
    return json.loads((folder / "comparison.json").read_text())["settings"]["training.epochs"]


def speed(path: Path) -> str:
    """Tell how fast networks train and translate."""
    keep(path, "translation_speed.csv")
    table = pd.read_csv(path)
    rows = [
        [row["what"], row["form"], f"{row['per_second']:.0f}", f"{row['ratio_to_twin']:.2f}"]
        for row in table.to_dict("records")
    ]
    text = (
        "By `benchmarks/translation_speed.py`: tokens of source and target that a CPU second of "
        "training takes, and words that one of generation gives, with beams of 5; the networks "
        "took turns. The twin attends through this library too."
    )
    header = ["", "network", "per CPU second", "beside the twin"]
    return "\n\n".join(["## Speed", text, markdown(header, rows)])


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("comparisons", nargs="+", type=Path)
    parser.add_argument("--speed", type=Path)
    options = parser.parse_args()
    write_runs(options.comparisons, "translation.csv")
    parts = [INTRODUCTION, in_short(options.comparisons), *map(section, options.comparisons)]
    parts += [speed(options.speed)] if options.speed else []
    write_page("translation.md", parts)


if __name__ == "__main__":
    main()
