"""What classifier and regressor share beyond an ensemble: starting from a pretrained encoder."""

import shutil
from pathlib import Path
from typing import Any, Self

from sklearn.base import clone

from evolving_attention.encoder import EADCTransformerEncoder
from evolving_attention.ensemble import NetworkEnsemble, plain
from evolving_attention.errors import InputError
from evolving_attention.recipe import AugmentationOptions, PretrainingOptions
from evolving_attention.tasks.pretrained import PretrainedEncoder
from evolving_attention.tasks.time_series_fine_tuning import FineTuningTask

__all__ = ["FineTunedEnsemble"]


class FineTunedEnsemble(NetworkEnsemble):
    """An ensemble whose networks may start from a pretrained encoder, or pretrain themselves.

    A clone keeps the encoder fitted. Of an encoder in the grid of a search scikit-learn makes a
    copy that is not; give the search the folder of a saved one.
    """

    def _task_to_train(self) -> FineTuningTask:
        own = self._settings(("pretraining_epochs", "freeze"))
        return FineTuningTask(
            self._kind,
            self._processing(),
            getattr(self, "class_weight", None),
            self._augmentation(),
            pretrained=self._start(),
            pretraining=PretrainingOptions(epochs=own["pretraining_epochs"]),
            training=self._training(),
            freeze=own["freeze"],
            progress=self.verbose > 0,
        )

    def _augmentation(self) -> AugmentationOptions:
        names = tuple(AugmentationOptions.__dataclass_fields__)
        if unknown := [name for name in self.augmentation or {} if name not in names]:
            raise InputError(
                f"augmentation has no option {unknown[0]!r}: it has {', '.join(names)}."
            )
        return AugmentationOptions(**plain(self.augmentation or {}))

    def _start(self) -> PretrainedEncoder | None:
        if self.pretrained is None:
            return None
        if isinstance(self.pretrained, EADCTransformerEncoder):
            return self.pretrained.as_start()
        if not isinstance(self.pretrained, str | Path):
            raise InputError(
                "pretrained must be a fitted EADCTransformerEncoder, the folder of a run or of a "
                f"saved encoder, or None, got a value of type {type(self.pretrained).__name__}."
            )
        folder = Path(self.pretrained)
        is_saved_estimator = (folder / "estimator.json").is_file()
        return PretrainedEncoder.load(folder / "network_0" if is_saved_estimator else folder)

    def __sklearn_clone__(self) -> Self:
        """Copy the parameters; a pretrained encoder stays fitted, as others are not copied."""
        return type(self)(
            **{
                name: value if name == "pretrained" else clone(value, safe=False)
                for name, value in self.get_params(deep=False).items()
            }
        )

    def _save_start(self, folder: Path) -> None:
        shutil.rmtree(folder / "pretrained", ignore_errors=True)  # of one saved here before
        if isinstance(self.pretrained, EADCTransformerEncoder):
            self.pretrained.save(folder / "pretrained")

    def _state(self) -> dict[str, Any]:
        state = super()._state()
        if isinstance(self.pretrained, EADCTransformerEncoder):
            state["parameters"]["pretrained"] = None  # saved beside, in a folder of its own
        elif isinstance(self.pretrained, Path):
            state["parameters"]["pretrained"] = str(self.pretrained)
        return state

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Load a saved estimator; it predicts what the saved one predicts.

        Raises
        ------
        InputError
            The folder holds no estimator of this class, or something in it is damaged.
        """
        estimator = super().load(folder)
        if estimator.pretrained is None and (Path(folder) / "pretrained").is_dir():
            estimator.pretrained = EADCTransformerEncoder.load(Path(folder) / "pretrained")
        return estimator
