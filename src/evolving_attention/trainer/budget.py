"""How long to train where nobody says so: one budget for data sets of any size."""

from evolving_attention.recipe import TrainingOptions

__all__ = ["FEWEST_EPOCHS", "UPDATES", "number_of_epochs"]

#: Updates that ``epochs="auto"`` makes, to the next whole epoch.
UPDATES = 1000

#: Large data sets are passed over at least so many times, whatever number of updates that takes.
FEWEST_EPOCHS = 5


def number_of_epochs(options: TrainingOptions, cases: int) -> int:
    """Return how often to pass over a training part of so many cases."""
    if options.epochs != "auto":
        return options.epochs
    updates_of_an_epoch = -(-cases // options.batch_size)
    return max(FEWEST_EPOCHS, -(-UPDATES // updates_of_an_epoch))
