"""BLEU and chrF by sacreBLEU, with the signatures that make them comparable."""

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from evolving_attention.errors import InputError, needing, reason

__all__ = ["TranslationMetrics"]


class TranslationMetrics:
    """Measures translations as they are, not cut into tokens by us.

    Parameters
    ----------
    language : str, optional
        Of the translations: for Chinese, Japanese and Korean sacreBLEU cuts words its own way.
    lowercase : bool
        Whether upper and lower case are the same.
    """

    def __init__(self, language: str | None = None, lowercase: bool = False) -> None:
        self.language = re.split("[-_]", (language or "").lower())[0]
        self.lowercase = lowercase

    @staticmethod
    def check() -> None:
        """Raise :class:`InputError` where sacreBLEU is not installed."""
        with needing("text"):
            import sacrebleu  # noqa: F401

    @cached_property
    def _metrics(self) -> dict[str, Any]:
        with needing("text"):
            from sacrebleu.metrics import BLEU, CHRF
        try:
            bleu = BLEU(lowercase=self.lowercase, trg_lang=self.language)
        except Exception as error:  # a package that cuts this language's words is missing
            raise InputError(
                f"BLEU cannot be measured for {self.language!r}: {reason(error)}."
            ) from error
        return {"bleu": bleu, "chrf": CHRF(lowercase=self.lowercase)}

    def measure(self, written: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        """Return ``bleu`` and ``chrf``, both of 100, of a part of the data."""
        return {
            name: metric.corpus_score(list(written), [list(references)]).score
            for name, metric in self._metrics.items()
        }

    def signatures(self) -> dict[str, str]:
        """Return what sacreBLEU names each metric, with its version and options."""
        signatures = {}
        for name, metric in self._metrics.items():
            score = metric.corpus_score(["a"], [["a"]])  # it must know the number of references
            signatures[name] = f"{score.name}|{metric.get_signature()}"
        return signatures
