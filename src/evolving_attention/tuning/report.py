"""What a search leaves: the best recipe, a table of trials, what mattered, and a page about it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from evolving_attention.comparison.tables import markdown
from evolving_attention.errors import needing
from evolving_attention.recipe import Recipe
from evolving_attention.records import write_text
from evolving_attention.tasks.family import family_of
from evolving_attention.tuning.space import rounded, trial_recipe

with needing("tune"):
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances
    from optuna.trial import TrialState

__all__ = ["write_report"]


def write_report(output: Path, study: optuna.Study, recipe: Recipe, command: str) -> Recipe | None:
    """Write all that is known so far; return the best recipe, or None where no trial ended."""
    table = _trials(study)
    write_text(output / "trials.csv", table.to_csv(index=False))
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    if not complete:
        return None
    best = replace(trial_recipe(recipe, study.best_params), output=str(output / "best"))
    write_text(output / "best.yaml", best.to_yaml())
    importance = _importance(study, recipe.seed)
    write_text(
        output / "importance.csv",
        pd.Series(importance, name="importance").to_csv(index_label="option"),
    )
    write_text(output / "README.md", _page(study, table, recipe, best, importance, command))
    return best


def _trials(study: optuna.Study) -> pd.DataFrame:
    """Return a row a trial, but for those that were killed."""
    rows = [
        {
            "trial": trial.number,
            "state": trial.state.name.lower(),
            "score": trial.value,
            **rounded(trial.params),
            "seconds": trial.user_attrs.get("seconds"),
            "error": trial.user_attrs.get("error"),
        }
        for trial in study.trials
        if trial.state.is_finished() and (trial.state != TrialState.FAIL or trial.user_attrs)
    ]
    return pd.DataFrame(rows)


def _importance(study: optuna.Study, seed: int) -> dict[str, float]:
    """Return each option's share of the variance of the scores; nothing to tell: empty."""
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    if len({trial.value for trial in complete}) < 2:
        return {}
    return get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed))


def _page(
    study: optuna.Study,
    table: pd.DataFrame,
    recipe: Recipe,
    best: Recipe,
    importance: dict[str, float],
    command: str,
) -> str:
    metric = family_of(recipe).metric_of(recipe)[0].replace("_", " ")
    chosen = study.best_trial
    states = table["state"].value_counts()
    told = ", ".join(f"{count} {state}" for state, count in states.items())
    rows = [
        [name, str(_value(best, name)), f"{importance[name]:.2f}" if name in importance else "–"]
        for name in chosen.params
    ]
    parts = [
        f"# Tuning on {study.user_attrs['settings']['data.train']}",
        f"Made by\n\n```console\n{command}\n```",
        f"Trials: {told}. Best: trial {chosen.number}, {metric} {chosen.value:.4f}."
        + _baseline(study),
        "The score is that of parts of TRAIN held out; TEST was never opened. The best of many "
        "scores flatters: judge `best.yaml` by `evolving-attention compare best.yaml`, which reads "
        "TEST.",
        markdown(["option", "best", "importance"], rows),
        "Importance is an option's share of the variance of the scores (fANOVA); with few trials "
        "it is a hint.",
    ]
    return "\n\n".join(parts) + "\n"


def _baseline(study: optuna.Study) -> str:
    """Tell the recipe's own score, where it was a trial: the one that was not proposed."""
    for trial in study.get_trials(states=(TrialState.COMPLETE,)):
        if "fixed_params" in trial.system_attrs:
            return f" The recipe itself: {trial.value:.4f}."
    return ""


def _value(recipe: Recipe, name: str) -> Any:
    section, _, option = name.partition(".")
    values = getattr(recipe, section)
    if not option:
        return values
    return values[option] if isinstance(values, dict) else getattr(values, option)
