"""What the configurations of evolving networks have in common."""

import copy
from typing import Any, Self

from evolving_attention.attention.modules import check_evolution

__all__ = ["HasEvolution"]


class HasEvolution:
    """Options of an evolution, under the names of all our configurations; adds no field itself."""

    alpha: Any
    beta: Any
    map_kernel_size: Any
    map_activation: Any
    map_initialization: Any
    learned_mixing: Any
    normalize_maps: Any

    @property
    def is_twin(self) -> bool:
        """Whether nothing evolves."""
        return self.alpha == self.beta == 0 and not self.learned_mixing

    def twin(self) -> Self:
        """Return the same network without evolution, and without its parameters."""
        twin = copy.deepcopy(self)
        twin.map_initialization, twin.learned_mixing = "random", False
        twin.alpha = twin.beta = 0.0
        return twin

    def check_evolution(self) -> None:
        """Raise ``ValueError`` in one sentence unless the options make an evolution."""
        check_evolution(
            self.alpha,
            self.beta,
            self.map_kernel_size,
            self.map_activation,
            self.learned_mixing,
            self.map_initialization,
            prefix="map_",
        )

    def evolution_options(self, evolves: bool) -> dict[str, Any]:
        """Return options of :class:`~evolving_attention.attention.EvolvingAttention` for a layer.

        A layer that does not evolve, the first of a chain, is plain attention.
        """
        return {
            "alpha": self.alpha if evolves else 0.0,
            "beta": self.beta if evolves else 0.0,
            "kernel_size": self.map_kernel_size,
            "activation": self.map_activation,
            "learned_mixing": bool(self.learned_mixing) and evolves,
            "initialization": self.map_initialization if evolves else "random",
            "normalize": self.normalize_maps,
        }
