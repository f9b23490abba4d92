"""The report of a comparison: tables as CSV, ``README.md``, and the picture of ranks."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from textwrap import fill

import pandas as pd

from evolving_attention.comparison.pictures import draw_ranks
from evolving_attention.comparison.results import METRICS, read_results
from evolving_attention.comparison.statistics import (
    FEWEST_DATA_SETS,
    scores_by_data,
    summarise,
    summarise_gains,
)
from evolving_attention.comparison.tables import gains_table, scores_table, seconds_table, title
from evolving_attention.records import write_text

__all__ = ["TOLD", "write_report"]

#: What the report tells of each kind, the first ranks; ``results.csv`` holds every metric.
TOLD = {
    "classification": ("accuracy", "log_loss"),
    "regression": ("rmse",),
    "glue": ("score",),
    "translation": ("bleu", "chrf", "loss"),
}

#: Below, the bootstrap's percentile interval holds the mean noticeably less often than it says.
_MANY = 10

_GAINS = """How much better {name} is than the other with the same data, seed and start: in points
(hundredths) of accuracy or score, in units of log loss or loss, in per cent of the other's RMSE, in
BLEU and chrF as they are, of 100; positive where {name} is better. The gain is the mean over data
sets of their means over seeds; its interval is from a bootstrap over {levels}; won, drawn and lost
count data sets; p is Wilcoxon's signed-rank test over data sets, two-sided, not corrected for the
number of variants, and left out below {fewest} data sets; n is data sets × seeds."""


def write_report(output: Path, variants: Sequence[str], commands: Sequence[str]) -> pd.DataFrame:
    """Write tables, report and picture of all finished runs; return the runs.

    Parameters
    ----------
    output : Path
        The comparison's folder.
    variants : sequence of str
        Names, in their order; the recipe's own network is the first.
    commands : sequence of str
        What made the runs.
    """
    results = read_results(output, variants)
    finished = results[results["status"] == "finished"]
    name, *others = variants
    parts = [f"# {name} against {', '.join(others)}" if others else f"# {name}"]
    parts += ["Made by", "```console\n" + "\n".join(commands) + "\n```"]
    parts.append(_sizes(results, finished))
    gains = [pd.DataFrame()]
    kinds = {str(kind): runs for kind, runs in finished.groupby("kind")}
    for kind, runs in kinds.items():
        picture = output / ("ranks.png" if len(kinds) == 1 else f"ranks_{kind}.png")
        parts += _section(kind, runs, name, picture)
        gains += [summarise_gains(runs, metric, name) for metric in TOLD[kind]]
    parts += _notes(results)
    write_text(output / "results.csv", results.to_csv(index=False))
    write_text(output / "summary.csv", summarise(finished).to_csv(index=False))
    write_text(output / "gains.csv", pd.concat(gains).to_csv(index=False))
    write_text(output / "README.md", "\n\n".join(parts) + "\n")
    return results


def _sizes(results: pd.DataFrame, finished: pd.DataFrame) -> str:
    failed = len(results) - len(finished)
    return (
        f"Data sets: {finished['data'].nunique()}. Seeds: {finished['seed'].nunique()}. Runs: "
        f"{len(finished)} finished, {failed} failed. The test part is read once, at the end of a "
        f"run. Versions: evolving-attention {version('evolving-attention')}, torch "
        f"{version('torch')}, aeon {version('aeon')}."
    )


def _section(kind: str, runs: pd.DataFrame, name: str, picture: Path) -> list[str]:
    metric = TOLD[kind][0]
    several = runs["data"].nunique() > 1
    levels = "data sets and, within them, seeds" if several else "seeds"
    scores = scores_by_data(runs, metric)
    missing = draw_ranks(scores, picture, lower_better=not METRICS[kind][metric])
    parts = [f"## {kind.capitalize()}"]
    parts += [f"### Gains of {name}", gains_table(runs, TOLD[kind], name)]
    explained = _GAINS.format(name=name, levels=levels, fewest=FEWEST_DATA_SETS)
    if runs["data" if several else "seed"].nunique() < _MANY:
        explained += (
            f" From fewer than {_MANY} {'data sets' if several else 'seeds'}, intervals are "
        )
        explained += "narrower than they should be."
    parts += [fill(explained, 100)]
    parts += [missing or f"![Mean ranks by {metric}]({picture.name})"]
    for told in TOLD[kind]:
        parts += [f"### {title(told)[0].upper()}{title(told)[1:]}", scores_table(runs, told)]
    parts += ["Means over seeds ± their standard deviation (n - 1)."]
    parts += ["### Cost of a run", seconds_table(runs)]
    return [*parts, "Seconds of training by the clock; a peer's first run compiles its code too."]


def _notes(results: pd.DataFrame) -> list[str]:
    """Tell what failed, and what was done to the data for peers; alike runs in one line."""
    told = results[results["message"] != ""]
    seeds = told.groupby(["data", "variant", "message"], sort=False)["seed"].unique()
    lines = [
        f"- {data}, {variant}, seed {', '.join(map(str, numbers))}: {message}"
        for (data, variant, message), numbers in seeds.items()
    ]
    return ["## Notes", "\n".join(lines)] if lines else []
