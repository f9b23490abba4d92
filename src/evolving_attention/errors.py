"""The user's mistakes."""

__all__ = ["InputError"]


class InputError(ValueError):
    """A mistake in data, a file or a setting, told in one sentence.

    It says what is wrong, where, and what would be right. The command line prints the sentence and
    exits with code 2.
    """
