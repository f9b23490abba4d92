"""The report of a comparison: ``results.csv``, ``summary.csv``, ``gains.csv``, ``README.md``, ranks."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from evolving_attention.comparison.pictures import draw_ranks
from evolving_attention.comparison.results import METRICS, read_results, write_text
from evolving_attention.comparison.statistics import scores_by_data, summarise, summarise_gains
from evolving_attention.comparison.tables import gains_table, scores_table, seconds_table

__all__ = ["write_report"]

#: What the report tells of each kind; ``results.csv`` holds every metric.
_TOLD = {"classification": ("accuracy", "log_loss"), "regression": ("rmse",)}

_READING = """\
A cell is the mean over seeds ± their standard deviation. The gain is how much better {name} is than
the other with the same data, seed and start: in points (hundredths) of accuracy, in per cent of the
other's RMSE, in units of the log loss; positive where {name} is better. Its mean is over data sets,
its interval from a bootstrap over {levels}; p is Wilcoxon's signed-rank test over
data sets, two-sided, not corrected for the number of variants, and only there with 6 data sets or
more. n is data sets × seeds."""


def write_report(output: Path, name: str, commands: Sequence[str]) -> pd.DataFrame:
    """Write tables, report and picture of all finished runs; return the runs.

    Parameters
    ----------
    output : Path
        The comparison's folder.
    name : str
        What the recipe's own network is called.
    commands : sequence of str
        What made the runs.
    """
    results = read_results(output)
    finished = results[results["status"] == "finished"]
    others = [variant for variant in results["variant"].unique() if variant != name]
    parts = [f"# {name} against {', '.join(others)}" if others else f"# {name}"]
    parts += ["Made by", "```console\n" + "\n".join(commands) + "\n```"]
    parts.append(_sizes(results, finished))
    gains = []
    for kind, runs in finished.groupby("kind"):
        parts += _section(output, str(kind), runs, name)
        gains += [summarise_gains(runs, metric, name) for metric in _TOLD[str(kind)]]
    parts += _notes(results)
    write_text(output / "results.csv", results.to_csv(index=False))
    write_text(output / "summary.csv", summarise(finished).to_csv(index=False))
    if gains:
        write_text(output / "gains.csv", pd.concat(gains).to_csv(index=False))
    write_text(output / "README.md", "\n\n".join(parts) + "\n")
    return results


def _sizes(results: pd.DataFrame, finished: pd.DataFrame) -> str:
    failed = len(results) - len(finished)
    return (
        f"{len(finished)} runs on {finished['data'].nunique()} data sets with "
        f"{finished['seed'].nunique()} seeds{f'; {failed} failed' if failed else ''}. The test part "
        "is read once, at the end of a run. evolving-attention "
        f"{version('evolving-attention')}, torch {version('torch')}, aeon {version('aeon')}."
    )


def _section(output: Path, kind: str, runs: pd.DataFrame, name: str) -> list[str]:
    metric = _TOLD[kind][0]
    levels = "data sets and seeds" if runs["data"].nunique() > 1 else "seeds"
    parts = [f"## {kind.capitalize()}", _READING.format(name=name, levels=levels)]
    parts += [f"### Gains of {name}", gains_table(runs, _TOLD[kind], name)]
    picture = output / f"ranks_{kind}.png"
    missing = draw_ranks(
        scores_by_data(runs, metric), picture, lower_better=not METRICS[kind][metric]
    )
    parts.append(missing or f"![Mean ranks by {metric}]({picture.name})")
    for told in _TOLD[kind]:
        parts += [f"### {told.replace('_', ' ').capitalize()}", scores_table(runs, told)]
    return [*parts, "### Cost of a run", seconds_table(runs)]


def _notes(results: pd.DataFrame) -> list[str]:
    """Tell what failed, and what was done to the data for peers; alike runs in one line."""
    told = results[results["message"] != ""].groupby(["data", "variant", "message"], sort=False)
    lines = [f"- {data}, {variant}: {message}" for (data, variant, message), _ in told]
    return ["## Notes", "\n".join(lines)] if lines else []
