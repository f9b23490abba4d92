"""Evolution of any model of transformers: in place, in a class, saved and loaded."""

import copy
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.auto_factory import _BaseAutoModelClass, _get_model_class

from evolving_attention.models.huggingface.chains import Chain, find_chains
from evolving_attention.models.huggingface.frames import (
    IMPLEMENTATION,
    CloseFrame,
    Link,
    OpenFrame,
    Stack,
)
from evolving_attention.models.huggingface.interface import LayerEvolution
from evolving_attention.models.huggingface.options import EvolutionOptions, options_of
from evolving_attention.models.huggingface.rows import FindCache, can_keep_rows, keep_rows_in

__all__ = ["EvolvingMixin", "evolve", "load_evolved"]


class EvolvingMixin:
    """Makes a model class of transformers evolve as its configuration says; put it first.

    Every attention layer gets a module ``evolution`` with the new parameters; the first of a chain
    has none. Weights that come from a checkpoint without them start by ``map_initialization``.
    """

    #: Parameters that weight decay shall spare, beside biases and norms: this library's training
    #: heeds it, other loops have to be told.
    no_weight_decay = ("alpha", "beta")

    def __init__(self, config: PreTrainedConfig, *inputs: Any, **kwargs: Any) -> None:
        _check_outputs(config)
        super().__init__(config, *inputs, **kwargs)  # type: ignore[call-arg]
        options = options_of(config)
        _attach(self, options, _chains_of(self, options))  # type: ignore[arg-type]

    def _initialize_weights(self, module: nn.Module, is_custom_code: bool = False) -> None:
        is_new = not getattr(module, "_is_hf_initialized", False)
        super()._initialize_weights(module, is_custom_code)  # type: ignore[misc]
        if module is self and is_new:  # type: ignore[comparison-overlap]
            # Last of all, and once. What was loaded stays.
            for evolution in _evolutions(module):
                evolution.reset_parameters()

    def _prepare_cache_for_generation(
        self, generation_config: Any, model_kwargs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Give generation's cache room for rows before it records anything."""
        super()._prepare_cache_for_generation(  # type: ignore[misc]
            generation_config, model_kwargs, *args, **kwargs
        )
        cache = model_kwargs.get("past_key_values")
        looks_back = any(each.needs_rows for each in _evolutions(self))  # type: ignore[arg-type]
        if cache is not None and looks_back:
            keep_rows_in(cache)
            if generation_config.is_assistant:  # transformers told it to layers without rows
                cache.activate_past_recording()

    @classmethod
    def from_pretrained(cls, *inputs: Any, **kwargs: Any) -> Any:
        """Load as transformers does; a saved generation config does not bring the cache back."""
        loaded = super().from_pretrained(*inputs, **kwargs)  # type: ignore[misc]
        _forgo_cache(loaded[0] if isinstance(loaded, tuple) else loaded)
        return loaded

    def set_attn_implementation(self, attn_implementation: Any, *args: Any, **kwargs: Any) -> None:
        """Refuse every attention but the evolving one."""
        if attn_implementation != IMPLEMENTATION:
            raise ValueError(
                f"an evolving model attends with {IMPLEMENTATION!r} only, got "
                f"{attn_implementation!r}; load the plain model for another."
            )
        super().set_attn_implementation(attn_implementation, *args, **kwargs)  # type: ignore[misc]

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Copy and pickle; a class of :func:`evolve` is found by the one it was made from."""
        made_from = type(self).__dict__.get("_made_from")
        if made_from is None:
            return super().__reduce_ex__(protocol)
        return _blank, (made_from,), self.__dict__


def _blank(base: type[PreTrainedModel]) -> PreTrainedModel:
    made = _evolving_class(base)  # type: ignore[arg-type]
    return made.__new__(made)


@cache
def _evolving_class(base: Any) -> type[PreTrainedModel]:
    """Return ``base`` with evolution. It keeps the name, by which transformers finds a class."""
    if issubclass(base, EvolvingMixin):
        return base
    namespace = {
        "__module__": base.__module__,
        "__doc__": base.__doc__,
        "__qualname__": base.__qualname__,
        "_made_from": base,
    }
    return type(base.__name__, (EvolvingMixin, base), namespace)


def evolve(
    model: PreTrainedModel,
    *,
    alpha: float = 0.2,
    beta: float = 0.2,
    kernel_size: int = 3,
    activation: str | None = None,
    initialization: str = "identity",
    learned_mixing: bool | None = None,
    normalize: bool = False,
    chains: Sequence[str] | None = None,
) -> PreTrainedModel:
    """Let the attention maps of a model of transformers evolve from layer to layer, in place.

    Every attention layer but the first of a chain gets an evolution. Chains are kept apart: an
    encoder's, a decoder's (which looks back only), its cross-attention's.

    Parameters
    ----------
    model : PreTrainedModel
        Any whose attention goes through transformers' attention interface, trained or not.
    alpha, beta : float in [0, 1]
        Share of the previous map and of the convolved map; both 0 is the twin, plain attention.
    kernel_size : int, odd
        Kernel of the convolution over maps.
    activation : {"relu", "leaky_relu", "identity"}, optional
        Applied to the convolved map. Default: ``"identity"`` for the identity start, else
        ``"relu"``, as the papers.
    initialization : {"identity", "random"}
        ``"identity"``: the model computes what it computed, until it is trained. ``"random"``: the
        papers' start, after which a pretrained model has to be fine-tuned.
    learned_mixing : bool, optional
        Learn the shares in every layer. Default: for the identity start only, which needs it.
    normalize : bool
        Mix with the previous map after every row of it got mean 0 and variance 1.
    chains : sequence of {"encoder", "decoder", "cross"}, optional
        Which chains evolve; the others stay plain attention. Default: all there are.

    Returns
    -------
    PreTrainedModel
        The same model. ``save_pretrained`` keeps the options as ``config.evolution``;
        :func:`load_evolved` restores it.

    Raises
    ------
    ValueError
        The options do not fit together, or the model cannot evolve; the message says why.

    Notes
    -----
    Padded queries attend to nothing: outputs at padding are not those of the plain model. Decoders
    keep the last rows of their maps beside cached keys, and generate what they would generate
    without a cache. Models that cache part of their keys, as those with sliding windows, go without
    (``config.use_cache = False``).

    The configuration becomes the model's own, a copy: other models may have been made from the same
    object. Of a model with parts, evolve the whole, which is what is saved.

    Examples
    --------
    >>> from transformers import BertConfig, BertModel
    >>> config = BertConfig(
    ...     hidden_size=16, num_attention_heads=2, num_hidden_layers=3, intermediate_size=16
    ... )
    >>> model = evolve(BertModel(config), alpha=0.2, beta=0.2)
    >>> model.encoder.layer[1].attention.self.evolution
    LayerEvolution(
      alpha='learned', beta=0.2, activation='identity', window='bidirectional'
      (convolution): _MapConvolution(2, 2, kernel_size=(3, 3), stride=(1, 1), bias=False)
    )
    """
    if not isinstance(model, PreTrainedModel):
        raise TypeError(
            f"evolve takes a model of transformers, got {type(model).__name__}; for modules of "
            "your own use evolving_attention.attention."
        )
    if isinstance(model, EvolvingMixin) or _evolutions(model):
        raise ValueError(f"this {type(model).__name__} evolves already.")
    if getattr(model.config, "evolution", None) is not None:
        raise ValueError(
            f"this {type(model).__name__} has the configuration of one that evolves, and not its "
            "evolution: load a saved one with load_evolved, or set config.evolution = None before "
            "it evolves anew."
        )
    options = options_of(
        EvolutionOptions(
            alpha=alpha,
            beta=beta,
            map_kernel_size=kernel_size,
            map_activation=activation,
            map_initialization=initialization,
            learned_mixing=learned_mixing,
            normalize_maps=normalize,
            chains=chains if chains is None or isinstance(chains, str) else list(chains),
        )
    )
    _check_outputs(model.config)
    found = _chains_of(model, options)
    _check_loaded(model, found)
    _own_configs(model)
    model.config.evolution = asdict(options)
    model.__class__ = _evolving_class(type(model))  # type: ignore[arg-type]
    _attach(model, options, found)
    return model


def load_evolved(
    folder: str | Path, auto_class: type | None = None, **kwargs: Any
) -> PreTrainedModel:
    """Load what :func:`evolve` made and ``save_pretrained`` saved.

    Parameters
    ----------
    folder : str or Path
        The saved folder, or a name on the Hub.
    auto_class : type, optional
        ``AutoModelForSequenceClassification``, say, or a model class. Default: the class that was
        saved.
    **kwargs
        Of ``from_pretrained``.

    Raises
    ------
    ValueError
        :func:`evolve` did not make it, or the parameters of its evolution were not saved.
    """
    config = kwargs.get("config") or AutoConfig.from_pretrained(folder, **kwargs)
    if getattr(config, "evolution", None) is None:
        raise ValueError(
            f"{folder} holds no model that evolve made; load it with from_pretrained, and evolve "
            "it unless its class does."
        )
    base = auto_class or getattr(transformers, (config.architectures or [""])[0], None)
    if isinstance(base, type) and issubclass(base, _BaseAutoModelClass):
        base = _get_model_class(config, base._model_mapping)
    if base is None:
        raise ValueError(f"{folder} does not name its class; pass auto_class.")
    made: Any = _evolving_class(base)  # type: ignore[arg-type]
    tells = kwargs.pop("output_loading_info", False)
    model, report = made.from_pretrained(folder, output_loading_info=True, **kwargs)
    if missing := [name for name in report["missing_keys"] if ".evolution." in name]:
        raise ValueError(
            f"{folder} was saved without {len(missing)} parameters of its evolution, such as "
            f"{missing[0]}: a plain model had its configuration."
        )
    return (model, report) if tells else model  # type: ignore[return-value]


def _check_outputs(config: PreTrainedConfig) -> None:
    """Refuse what transformers would refuse when the model is saved, after its training."""
    if getattr(config, "output_attentions", False):
        raise ValueError(
            "transformers allows config.output_attentions for its own attention only; pass "
            "output_attentions=True in the call instead."
        )


def _chains_of(model: PreTrainedModel, options: EvolutionOptions) -> list[Chain]:
    """Return the chains of a model; refuse to let one evolve that it has not."""
    found = find_chains(model)
    kinds = list(dict.fromkeys(chain.kind for chain in found))
    for name in options.chains or ():
        if name not in kinds:
            raise ValueError(
                f"{type(model).__name__} has no chain {name!r} that could evolve; it has "
                f"{' and '.join(map(repr, kinds))}."
            )
    for chain in found:
        if chain.attends_in_pieces and (options.chains is None or chain.kind in options.chains):
            raise ValueError(
                f"{type(model).__name__} cannot evolve as a whole: {chain.name} attends to pieces "
                "of its input apart, each with a map of its own; name other chains of "
                f"{' and '.join(map(repr, kinds))}, such as chains=['decoder']."
            )
    return found


def _check_loaded(model: PreTrainedModel, chains: list[Chain]) -> None:
    """Refuse layers whose weights are elsewhere: what they get would have no values either."""
    layers = [layer for chain in chains for layer in chain.layers]
    if any(weight.is_meta for layer in layers for weight in layer.parameters()):
        raise ValueError(
            f"weights of this {type(model).__name__} are not in memory (offloaded, or on the meta "
            "device); load it whole, evolve it, and spread it after that."
        )


def _own_configs(model: PreTrainedModel) -> None:
    """Give a model configurations of its own: others may have been made from the same objects."""
    copies: dict[int, Any] = {}
    for module in model.modules():
        if isinstance(config := vars(module).get("config"), PreTrainedConfig):
            module.config = copy.deepcopy(config, copies)  # type: ignore[assignment]


def _attach(model: PreTrainedModel, options: EvolutionOptions, chains: list[Chain]) -> None:
    """Give every layer of the chains its evolution, and open a frame with every stack."""
    stacks: dict[str, Stack] = {}
    for chain in chains:
        stack = stacks.setdefault(chain.stack, Stack(chain.stack))
        stack.chains = (*stack.chains, chain.name)
        stack.configs = (*stack.configs, *_config_of(chain.layers[0]))
        evolves = options.chains is None or chain.kind in options.chains
        has_residual = evolves and (options.alpha > 0 or bool(options.learned_mixing))
        for index, layer in enumerate(chain.layers):
            link = Link(stack, chain.name, index, has_residual)
            own = options.evolution_options(evolves=evolves and index > 0)
            layer.evolution = _layer_evolution(layer, chain, link, own)
            if layer.evolution.needs_rows:
                layer.register_forward_pre_hook(FindCache(stack), with_kwargs=True)
    for name, stack in stacks.items():
        module = model.get_submodule(name)
        module.register_forward_pre_hook(OpenFrame(stack))
        module.register_forward_hook(CloseFrame(stack), always_call=True)
    model.set_attn_implementation(IMPLEMENTATION)
    for module in model.modules():  # which transformers 5.17 passes over where classes are equal
        for config in _config_of(module):
            config._attn_implementation = IMPLEMENTATION
    _forgo_cache(model)


def _config_of(module: nn.Module) -> list[PreTrainedConfig]:
    config = getattr(module, "config", None)
    return [config] if isinstance(config, PreTrainedConfig) else []


def _layer_evolution(
    layer: nn.Module, chain: Chain, link: Link, options: dict[str, Any]
) -> LayerEvolution:
    evolution = LayerEvolution(chain.num_heads, link, window=chain.window, **options)
    like = next((each for each in layer.parameters() if each.is_floating_point()), torch.empty(0))
    return evolution.to(like.device, like.dtype).train(layer.training)


def _forgo_cache(model: PreTrainedModel) -> None:
    """Decode without a cache where its layers do not keep all keys: rows of maps need them."""
    looks_back = any(each.evolves and each.window == "causal" for each in _evolutions(model))
    if not looks_back or can_keep_rows(model.config):
        return
    for module in model.modules():
        if isinstance(module, PreTrainedModel) and hasattr(module.config, "use_cache"):
            module.config.use_cache = False
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.use_cache = False


def _evolutions(model: nn.Module) -> list[LayerEvolution]:
    return [each for each in model.modules() if isinstance(each, LayerEvolution)]
