"""Pretraining on text alone: a network learns to guess masked tokens (Devlin et al., NAACL 2019).

Shape letters: B batch, N tokens.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from transformers import (
    DataCollatorForLanguageModeling,
    DataCollatorForTokenClassification,
    PreTrainedModel,
)

from evolving_attention.errors import InputError
from evolving_attention.recipe import TextProcessingOptions
from evolving_attention.tasks.text_data import LabelledTexts
from evolving_attention.tasks.text_encoding import EncodedTexts, by_text, check_length
from evolving_attention.tasks.text_networks import MASKED_LM, Start
from evolving_attention.tasks.text_task import TextTask

__all__ = ["TextPretrainingTask"]

#: The label of a token that is not to be guessed.
_GIVEN = -100


class TextPretrainingTask(TextTask):
    """Masked language modelling; labels are ignored.

    Parameters
    ----------
    processing : TextProcessingOptions, optional
        How texts become tokens. A longer text becomes several inputs.
    start : Start, optional
        What networks start from. Default: chance.
    masked_share : float
        Share of the tokens to guess.
    """

    kind, metric, greater_is_better = "pretraining", "loss", False
    head = MASKED_LM
    #: The loss is the metric: predictions of every token need not be gathered.
    compute_metrics = None

    def __init__(
        self,
        processing: TextProcessingOptions | None = None,
        start: Start | None = None,
        masked_share: float = 0.15,
    ) -> None:
        super().__init__(processing or TextProcessingOptions(), start or Start())
        if not 0 < masked_share < 1:
            raise InputError(f"masked_share must lie between 0 and 1, got {masked_share!r}.")
        self.masked_share = masked_share

    def examples(self, data: LabelledTexts, what: str) -> EncodedTexts:
        """Encode texts one by one, those of a pair too; a long one becomes several inputs."""
        return EncodedTexts(self._pieces(data.texts, what))

    def validation_examples(self, data: LabelledTexts, seed: int) -> EncodedTexts:
        """Encode the part held out, and mask it once for all."""
        return EncodedTexts(self._masked(data, seed))

    def _pieces(self, texts: Sequence[tuple[str, ...]], what: str) -> list[dict[str, list[int]]]:
        if self.processor.mask_token is None:
            raise InputError(
                f"the tokens of {self.start.pretrained} have no mask: its network cannot learn to "
                "guess masked ones."
            )
        check_length(self.processor, self.processing.max_length)
        encoded = self.processor(
            [text for pair in texts for text in pair],
            truncation=True,
            max_length=self.processing.max_length,
            return_overflowing_tokens=True,
            return_special_tokens_mask=True,
        )
        encoded.pop("overflow_to_sample_mapping", None)
        inputs = [one for one in by_text(encoded) if not all(one["special_tokens_mask"])]
        if not inputs:
            raise InputError(f"there is not a token in the {what}.")
        return inputs

    def _masked(self, data: LabelledTexts, seed: int) -> list[dict[str, list[int]]]:
        """Return inputs whose masks are drawn once, from a seed: at least one in each."""
        hide = DataCollatorForLanguageModeling(
            self.processor, mlm_probability=self.masked_share, seed=seed
        )
        chance = torch.Generator().manual_seed(seed)
        masked = []
        for one in self._pieces(data.texts, "texts"):
            hidden = self._with_a_guess(dict(hide([dict(one)])), [one], chance)
            masked.append({name: hidden[name][0].tolist() for name in hidden})
        return masked

    def collate(self, examples: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Make a padded batch of masked tokens, with ``labels [B, N]``, -100 at those given.

        Masks that an example does not bring are drawn from PyTorch's global generator. At least one
        token is masked: a batch with nothing to guess has no loss.
        """
        if "labels" in examples[0]:
            return dict(DataCollatorForTokenClassification(self.processor)(list(examples)))
        hide = DataCollatorForLanguageModeling(self.processor, mlm_probability=self.masked_share)
        return self._with_a_guess(dict(hide([dict(one) for one in examples])), examples)

    def _with_a_guess(
        self,
        batch: dict[str, Tensor],
        examples: list[dict[str, Any]],
        chance: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Mask one token of a batch in which there is none to guess."""
        if (batch["labels"] != _GIVEN).any():
            return batch
        places = [
            (row, place)
            for row, one in enumerate(examples)
            for place, is_special in enumerate(one["special_tokens_mask"])
            if not is_special
        ]
        row, place = places[int(torch.randint(len(places), (), generator=chance))]
        if self.processor.padding_side == "left":
            place += batch["input_ids"].shape[1] - len(examples[row]["input_ids"])
        batch["labels"][row, place] = batch["input_ids"][row, place]
        batch["input_ids"][row, place] = self.processor.mask_token_id
        return batch

    def build_model(self, options: dict[str, Any]) -> PreTrainedModel:
        """Make a network for the data last split; its loss is a mean over masked tokens."""
        model = super().build_model(options)
        model.loss_weight = _count_masked  # type: ignore[assignment]
        return model

    def can_evaluate(self, data: LabelledTexts) -> bool:
        """Any texts will do."""
        return True

    def evaluate(self, model: PreTrainedModel, data: LabelledTexts) -> dict[str, float]:
        """Measure how well a network guesses tokens; the same ones each time.

        Returns
        -------
        dict
            ``loss``, the cross entropy in nats; ``perplexity``, its exponential; ``accuracy``, the
            share guessed right.
        """
        figures = self.read_out(model, self._masked(data, seed=0), _guesses, self.collate)
        loss, right, count = figures.sum(0, dtype=float).tolist()
        mean = loss / count
        return {
            "loss": mean,
            "perplexity": float(torch.tensor(mean).exp()),
            "accuracy": right / count,
        }

    def predict(self, model: PreTrainedModel, data: LabelledTexts) -> pd.DataFrame:
        """Refuse: there are no labels to predict."""
        raise InputError(
            "the network was pretrained without labels and has none to predict; embed gives its "
            "vectors, and train RECIPE --pretrained RUN makes a classifier of it."
        )


def _count_masked(batch: dict[str, Tensor]) -> Tensor:
    return (batch["labels"] != _GIVEN).sum()


def _guesses(model: PreTrainedModel, batch: dict[str, Tensor]) -> Tensor:
    """Return each text's sum of losses, right guesses, and how many tokens were hidden: [B, 3]."""
    labels_BN = batch.pop("labels")
    logits_BVN = model(**batch).logits.float().transpose(1, 2)
    loss_BN = torch.nn.functional.cross_entropy(logits_BVN, labels_BN, reduction="none")
    right_BN = logits_BVN.argmax(1) == labels_BN
    hidden_BN = labels_BN != _GIVEN
    return torch.stack([loss_BN.sum(1), right_BN.sum(1), hidden_BN.sum(1)], dim=1)
