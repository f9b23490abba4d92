"""The search: trials, one after the other, that survive in a file."""

import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from evolving_attention.errors import InputError, needing, reason
from evolving_attention.recipe import Recipe, check_supervised
from evolving_attention.records import check_same, refuse_foreign, settings
from evolving_attention.tasks.contracts import Data
from evolving_attention.tasks.family import Space, family_of
from evolving_attention.trainer.processes import check_alone
from evolving_attention.training import check_options, check_seed
from evolving_attention.tuning.report import write_report
from evolving_attention.tuning.scoring import score
from evolving_attention.tuning.space import distributions, own_values, trial_recipe

with needing("tune"):
    import optuna
    from optuna.trial import Trial, TrialState

__all__ = ["tune"]


def tune(
    recipe: Recipe,
    output: str | Path,
    *,
    trials: int = 30,
    folds: int = 1,
    space: Space | None = None,
    prune: bool = False,
    command: str | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Recipe:
    """Search a recipe's options on held-out parts of TRAIN; TEST is never opened.

    The first trial is the recipe itself, where its values lie in the space. Trials are kept in
    ``trials.db``: a killed search goes on where it was, and asking for more trials adds them. The
    sampler of a trial depends on the seed and on the trials done before alone, so that a search
    that was stopped, however often, proposes what an unbroken one would.

    Parameters
    ----------
    recipe : Recipe
        Where the search starts; its seed is that of every trial and of the search.
    output : str or Path
        Folder for ``trials.db``, ``trials.csv``, ``importance.csv``, ``best.yaml``, ``README.md``.
    trials : int
        How many in all, those done before included.
    folds : int
        1: each trial is scored on a held-out part, ``training.validation`` or a fifth; more: by
        cross-validation.
    space : mapping
        What is searched; default: what the recipe's family gives, ``space_of`` the recipe.
    prune : bool
        With folds: stop a trial that after a fold is worse than the median of those before.
    command : str, optional
        What the report names as the command that made it.
    tell : callable
        Is given a line a trial.

    Returns
    -------
    Recipe
        The best trial's, as in ``best.yaml``.

    Raises
    ------
    InputError
        A setting does not work, the folder's trials were made with other settings, another process
        is at it, or no trial came to its end.
    """
    output, space = Path(output), space or family_of(recipe).space_of(recipe)
    _check(recipe, trials, folds, space)
    data = family_of(recipe).load_training(recipe)
    refuse_foreign(output, ["trials.db"])
    output.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(output / "tuning.lock").acquire(blocking=False):
            study = _study(output, recipe, folds, space, prune)
            try:
                _run_trials(study, recipe, data, trials, folds, space, tell)
            except KeyboardInterrupt:
                tell(f"stopped; what is done is kept in {output}")
                raise
            finally:
                best = write_report(output, study, recipe, command or f"tune(recipe, {trials=})")
    except Timeout:
        raise InputError(f"another process is tuning in {output}.") from None
    if best is None:
        raise InputError(f"no trial came to its end; {output / 'trials.csv'} says why.")
    return best


def _check(recipe: Recipe, trials: int, folds: int, space: Space) -> None:
    for name, value in (("trials", trials), ("folds", folds)):
        if value < 1:
            raise InputError(f"{name} must be at least 1, got {value}.")
    check_alone("a search")
    check_supervised(recipe, "a search")
    check_options(recipe.training)
    check_seed(recipe.seed)
    first = {
        name: written["choices"][0] if "choices" in written else written["low"]
        for name, written in space.items()
        if distributions({name: written})
    }
    trial_recipe(recipe, first)  # its names are those of a recipe


def _study(output: Path, recipe: Recipe, folds: int, space: Space, prune: bool) -> optuna.Study:
    """Open the study, or begin it; refuse one that was made with other settings."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{output / 'trials.db'}",
        study_name="trials",
        direction="maximize" if family_of(recipe).metric_of(recipe)[1] else "minimize",
        pruner=optuna.pruners.MedianPruner() if prune else optuna.pruners.NopPruner(),
        load_if_exists=True,
    )
    now = settings(recipe) | {"folds": folds, "prune": prune}
    now |= {f"space {name}": written for name, written in space.items()}
    if (before := study.user_attrs.get("settings")) is not None:
        check_same(before, now, str(output))
    study.set_user_attr("settings", now)
    for trial in study.get_trials(states=(TrialState.RUNNING,)):  # its process was killed
        study.tell(trial.number, state=TrialState.FAIL)
    return study


def _is_done(trial: optuna.trial.FrozenTrial) -> bool:
    """Tell whether a trial came to an end of its own, be it an error."""
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED) or "error" in trial.user_attrs


def _run_trials(
    study: optuna.Study,
    recipe: Recipe,
    data: Data,
    trials: int,
    folds: int,
    space: Space,
    tell: Callable[[str], None],
) -> None:
    done = sum(map(_is_done, study.trials))
    if done:
        tell(f"{done} trials were done before")
    for number in range(done, trials):
        seed = int(np.random.SeedSequence([recipe.seed, number]).generate_state(1)[0])
        study.sampler = optuna.samplers.TPESampler(seed=seed)
        if number == 0 and not study.get_trials(states=(TrialState.WAITING,)):
            _propose_recipe(study, recipe, space)
        trial = study.ask(distributions(space))
        outcome = _run_trial(study, trial, recipe, data, folds)
        tell(f"[{number + 1}/{trials}] {outcome}")


def _propose_recipe(study: optuna.Study, recipe: Recipe, space: Space) -> None:
    """Make the recipe itself the next trial, where its values lie in the space."""
    if (own := own_values(recipe, space)) is not None:
        study.enqueue_trial(own)


def _run_trial(study: optuna.Study, trial: Trial, recipe: Recipe, data: Data, folds: int) -> str:
    """Score one trial; an error is kept with it, and it is not tried again."""

    def after_fold(fold: int, mean: float) -> None:
        trial.report(mean, fold)
        if fold + 1 < folds and trial.should_prune():
            raise optuna.TrialPruned

    started = time.perf_counter()
    try:
        value = score(trial_recipe(recipe, trial.params), data, folds, after_fold)
        if not math.isfinite(value):
            raise InputError(f"the score became {value}")
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
        return "stopped: worse than the median"
    except KeyboardInterrupt:
        study.tell(trial, state=TrialState.FAIL)
        raise
    except Exception as error:  # whatever values that do not work make it raise
        trial.set_user_attr("error", reason(error))
        study.tell(trial, state=TrialState.FAIL)
        return f"failed: {reason(error)}"
    seconds = time.perf_counter() - started
    trial.set_user_attr("seconds", round(seconds, 1))
    study.tell(trial, value)
    name = family_of(recipe).metric_of(recipe)[0].replace("_", " ")
    return f"{name} {value:.4f}, {seconds:.0f} s; best {study.best_value:.4f}"
