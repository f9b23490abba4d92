"""How long to train where nobody says so: one budget for data sets of any size."""

from evolving_attention.recipe import TrainingOptions, TranslationTrainingOptions

__all__ = ["FEWEST_EPOCHS", "UPDATES", "number_of_epochs", "tokens_of_update"]

#: Updates that ``epochs="auto"`` makes, to the next whole epoch.
UPDATES = 1000

#: Large data sets are passed over at least so many times, whatever number of updates that takes.
FEWEST_EPOCHS = 5


def number_of_epochs(options: TrainingOptions, cases: int, tokens: int | None = None) -> int:
    """Return how often to pass over a training part.

    Parameters
    ----------
    options : TrainingOptions
        How to train.
    cases : int
        Examples of the training part.
    tokens : int, optional
        All their tokens, where an update has a budget of these.
    """
    if options.epochs != "auto":
        return options.epochs
    updates_of_an_epoch = -(-cases // options.batch_size)
    if tokens is not None and (budget := tokens_of_update(options)) is not None:
        updates_of_an_epoch = -(-tokens // budget)
    return max(FEWEST_EPOCHS, -(-UPDATES // updates_of_an_epoch))


def tokens_of_update(options: TrainingOptions) -> int | None:
    """Return the most tokens of an update; None where it is so many examples."""
    return options.batch_tokens if isinstance(options, TranslationTrainingOptions) else None
