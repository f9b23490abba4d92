"""What an evolution of a model of transformers can be told, under the names of all our models."""

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from transformers import PreTrainedConfig

from evolving_attention.models.evolving_config import HasEvolution
from evolving_attention.models.huggingface.chains import CHAINS

__all__ = ["EvolutionOptions", "EvolvingConfigMixin", "options_of"]


@dataclass(kw_only=True, repr=False)
class EvolutionOptions(HasEvolution):
    """Options of an evolution, as configurations save them.

    Parameters
    ----------
    alpha, beta : float in [0, 1]
        Share of the previous map and of the convolved map; both 0 is the twin.
    map_kernel_size : int, odd
        Kernel of the convolution over maps.
    map_activation : {"relu", "leaky_relu", "identity"}, optional
        Applied to the convolved map. Default: ``"identity"`` for the identity start, which needs
        it, else the papers' ``"relu"``.
    map_initialization : {"random", "identity"}
        See :class:`~evolving_attention.attention.EvolvingAttention`. ``"identity"``: the model
        computes what it computed without evolution, until it is trained.
    learned_mixing : bool, optional
        Learn the shares in every layer. Default: for the identity start only, which needs it.
    normalize_maps : bool
        Mix with the previous map after every row of it got mean 0 and variance 1.
    chains : list of {"encoder", "decoder", "cross"}, optional
        Which chains evolve: of self-attention to both sides, of self-attention that looks back, of
        cross-attention. The others are plain attention. Default: all there are.
    """

    alpha: float | int = 0.2
    beta: float | int = 0.2
    map_kernel_size: int = 3
    map_activation: str | None = None
    map_initialization: str = "random"
    learned_mixing: bool | None = None
    normalize_maps: bool = False
    chains: list[str] | str | None = None  # a single name is refused, in words

    def check_evolution(self) -> None:
        """Raise ``ValueError`` in one sentence unless the options make an evolution."""
        super().check_evolution()
        is_list = isinstance(self.chains, list) and len(self.chains) > 0
        if self.chains is not None and not (is_list and set(self.chains) <= set(CHAINS)):
            raise ValueError(
                f"chains must be a list of {', '.join(map(repr, CHAINS))}, or None for all, got "
                f"{self.chains!r}."
            )


def options_of(holder: Any) -> EvolutionOptions:
    """Return the options of a configuration, defaults filled in; raise ``ValueError``.

    They are its own, or the dictionary ``evolution`` that :func:`evolve` leaves in others.
    """
    given = getattr(holder, "evolution", None)
    if given is None:
        given = {each.name: getattr(holder, each.name) for each in fields(EvolutionOptions)}
    options = EvolutionOptions(**given)
    starts_as_identity = options.map_initialization == "identity"
    if options.map_activation is None:
        options.map_activation = "identity" if starts_as_identity else "relu"
    if options.learned_mixing is None:
        options.learned_mixing = starts_as_identity and options.alpha != 0
    options.check_evolution()
    return options


class EvolvingConfigMixin(EvolutionOptions):
    """Adds the options of an evolution to a configuration of transformers; put it first."""

    model_type: ClassVar[str]

    def __post_init__(self, **kwargs: Any) -> None:
        """Check the options; raise ``ValueError`` in one sentence."""
        super().__post_init__(**kwargs)  # type: ignore[misc]
        options_of(self)

    @classmethod
    def get_config_dict(cls, *args: Any, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read a saved configuration; the plain model's is read without a warning.

        That of a model that :func:`evolve` made has the options of its evolution in a dictionary.
        """
        read, kwargs = super().get_config_dict(*args, **kwargs)  # type: ignore[misc]
        read |= read.pop("evolution", None) or {}
        plain = next(base for base in cls.__mro__ if _is_plain_config(base))
        if read.get("model_type") == plain.model_type:  # type: ignore[attr-defined]
            read["model_type"] = cls.model_type
        return read, kwargs


def _is_plain_config(base: type) -> bool:
    return issubclass(base, PreTrainedConfig) and not issubclass(base, EvolutionOptions)
