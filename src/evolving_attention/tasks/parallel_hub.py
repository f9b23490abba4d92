"""Pairs of sentences from the Hugging Face Hub; needs the extra ``[text]`` and a network."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolving_attention.errors import InputError, needing, reason
from evolving_attention.tasks.parallel_files import kept_pairs
from evolving_attention.tasks.parallel_texts import ParallelTexts

__all__ = ["HubPart", "hub_parts"]


@dataclass(frozen=True)
class HubPart:
    """A split of a data set of the Hub.

    Its pairs are in the column ``translation``, a sentence for each language, or in a column for
    each language.
    """

    name: str
    config: str | None
    revision: str | None
    split: str
    source: str
    target: str

    @property
    def files(self) -> tuple[Path, ...]:
        """None: they lie in a cache."""
        return ()

    def read(self, name: str) -> ParallelTexts:
        """Load it.

        Raises
        ------
        InputError
            The extra is missing, the Hub could not be reached and nothing was kept from before, or
            the data set has no such languages.
        """
        with needing("text"):
            from datasets import load_dataset
        try:
            data = load_dataset(self.name, self.config, split=self.split, revision=self.revision)
        except Exception as error:  # the Hub's, the network's and the file system's
            raise _not_loaded(self.name, error) from error
        return kept_pairs(self._pairs(data), name)

    def _pairs(self, data: Any) -> Iterator[tuple[str, str]]:
        """Return the pairs; a sentence that is missing is an empty one."""
        names, sides = list(data.column_names), (self.source, self.target)
        if "translation" in names:
            pairs = data["translation"]
            names = list(pairs[0]) if len(pairs) else []
            if set(sides) <= set(names):
                return ((pair[self.source] or "", pair[self.target] or "") for pair in pairs)
        elif set(sides) <= set(names):
            columns = zip(*(data[side] for side in sides), strict=True)
            return ((source or "", target or "") for source, target in columns)
        raise InputError(
            f"{self.name} has no sentences in {self.source!r} and {self.target!r}: it has "
            f"{', '.join(map(repr, names))}."
        )


def hub_parts(
    given: str, source: str | None, target: str | None
) -> tuple[dict[str, HubPart], str, str]:
    """Return the splits that ``hub:NAME@REVISION:CONFIG`` has, and the languages.

    Revision and configuration may be missing.

    Raises
    ------
    InputError
        The languages are not named, the extra is missing, or the Hub could not be reached.
    """
    _, place, *configs = given.split(":")
    name, _, revision = place.partition("@")
    if source is None or target is None:
        raise InputError(f"say which languages of {given} to take: --data.source, --data.target.")
    config = configs[0] if configs else None
    with needing("text"):
        from datasets import get_dataset_split_names
    try:
        splits = get_dataset_split_names(name, config, revision=revision or None)
    except Exception as error:
        raise _not_loaded(name, error) from error
    if "train" not in splits:
        raise InputError(f"{name} has no split 'train': it has {', '.join(splits)}.")
    parts = {
        split: HubPart(name, config, revision or None, split, source, target) for split in splits
    }
    return parts, source, target


def _not_loaded(name: str, error: Exception) -> InputError:
    return InputError(
        f"{name} could not be loaded from the Hub: {reason(error)}; where there is no network, "
        "give a folder with train.XX, val.XX and test.XX in both languages, --data.train FOLDER."
    )
