"""Where the maps of a chain are while a stack of layers runs.

transformers calls an attention function layer by layer, with no room for the map of the layer
before. So a stack opens a *frame* when it is called and closes it when it returns, and its layers
find their maps there. A frame belongs to one call of one stack in one thread: nested and concurrent
models have frames of their own, every call starts new chains, and no map outlives the call but for
what autograd keeps for the backward pass.

Gradient checkpointing runs a layer a second time during the backward pass, when the frame is long
closed. :class:`ChainCheckpoint` therefore takes the maps through the checkpoint explicitly, as
inputs and outputs of the function that runs again: that run finds the same maps as the first, and
gradients flow from layer to layer, re-entrant or not.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedConfig

__all__ = [
    "IMPLEMENTATION",
    "ChainCheckpoint",
    "CloseFrame",
    "Frame",
    "Link",
    "OpenFrame",
    "Stack",
    "frame_of",
]

#: The name under which transformers knows evolving attention.
IMPLEMENTATION = "evolving"


@dataclass(eq=False)
class Stack:
    """Identity of a stack of layers; one frame is open for it while it runs.

    Attributes
    ----------
    name : str
        Of the stack's module within the model, for messages.
    chains : tuple of str
        Names of the chains in this stack.
    configs : tuple of PreTrainedConfig
        By these the layers of the chains look their attention up.
    is_checked : bool
        Whether a mask was seen that fits the window of the convolutions.
    """

    name: str
    chains: tuple[str, ...] = ()
    configs: tuple[PreTrainedConfig, ...] = ()
    is_checked: bool = False


@dataclass(eq=False)
class Link:
    """A layer's place: which stack, which of its chains, and where in the chain.

    Attributes
    ----------
    hands_on : bool
        Whether the chain has a residual, for which maps are kept.
    """

    stack: Stack
    chain: str
    index: int
    hands_on: bool


@dataclass(eq=False)
class Frame:
    """One call of a stack.

    Attributes
    ----------
    maps : dict
        The latest map of each chain with the index of its layer; older ones are let go.
    query_mask : bool Tensor of shape [B, 1, N], optional
        Real queries, as the stack's self-attention saw them; cross-attention cannot know them.
    cache : Cache, optional
        Where the layer that runs keeps the last rows of its maps, when decoding goes step by step.
    """

    stack: Stack
    maps: dict[str, tuple[int, Tensor]] = field(default_factory=dict)
    query_mask: Tensor | None = None
    cache: Cache | None = None

    def previous_map(self, link: Link, device: torch.device) -> Tensor | None:
        """Return the map that this layer mixes with: of the nearest layer before that ran.

        It comes along where a model is spread over devices, layer by layer.
        """
        if link.chain not in self.maps:
            return None
        index, map_BHNM = self.maps[link.chain]
        if index >= link.index:
            raise RuntimeError(
                f"layer {link.index} of the chain {link.chain} was called after layer {index}; "
                "layers that run more than once in a forward pass cannot evolve."
            )
        return map_BHNM.to(device)

    def hand_on(self, link: Link, map_BHNM: Tensor) -> None:
        """Keep a layer's map for the next layer of its chain."""
        if link.hands_on:
            self.maps[link.chain] = (link.index, map_BHNM)


_local = threading.local()


def _open_frames() -> list[Frame]:
    if not hasattr(_local, "frames"):
        _local.frames = []
    return _local.frames


def frame_of(stack: Stack) -> Frame:
    """Return the open frame of a stack; raise ``RuntimeError`` when there is none."""
    for frame in reversed(_open_frames()):
        if frame.stack is stack:
            return frame
    raise RuntimeError(
        f"an attention layer of {stack.name or 'the model'} was called outside of its stack, "
        "without the map of the layer before; call the model as a whole, and checkpoint gradients "
        "with gradient_checkpointing_enable()."
    )


def _close(stack: Stack) -> None:
    """Drop the stack's frame, and what an interrupted call left above it."""
    frames = _open_frames()
    for position, frame in enumerate(frames):
        if frame.stack is stack:
            del frames[position:]
            return


class OpenFrame:
    """Forward pre-hook of a stack."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    def __call__(self, module: nn.Module, args: Any) -> None:
        """Open a frame; see that checkpoints within the stack take the maps along.

        Raises
        ------
        RuntimeError
            The layers would attend with something else, and nothing would evolve.
        """
        for config in self.stack.configs:
            # Whisper's generation asks so for attentions, which ours returns, and leaves it.
            if config._attn_implementation == "eager":
                config._attn_implementation = IMPLEMENTATION
            if config._attn_implementation != IMPLEMENTATION:
                raise RuntimeError(
                    f"{self.stack.name or 'this model'} evolves, but was set to attend with "
                    f"{config._attn_implementation!r}; load the plain model for that."
                )
        _close(self.stack)
        _open_frames().append(Frame(self.stack))
        if torch.is_grad_enabled():  # a layer may train where its stack does not
            for layer in module.modules():
                ChainCheckpoint.put_around(layer)


class CloseFrame:
    """Forward hook of a stack, called after errors too."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        """Close the frame."""
        _close(self.stack)


class ChainCheckpoint:
    """A checkpoint function of transformers with the maps of the open frame as inputs and outputs.

    Parameters
    ----------
    checkpoint : callable
        ``torch.utils.checkpoint.checkpoint`` with its options.
    """

    def __init__(self, checkpoint: Callable[..., Any]) -> None:
        self.checkpoint = checkpoint

    @classmethod
    def put_around(cls, layer: nn.Module) -> None:
        """Replace the checkpoint function of a layer, if it has one."""
        checkpoint = getattr(layer, "_gradient_checkpointing_func", None)
        if checkpoint is not None and not isinstance(checkpoint, cls):
            layer._gradient_checkpointing_func = cls(checkpoint)  # type: ignore[assignment]

    def __call__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run ``function``, now and again in the backward pass, on the maps of now."""
        frames = _open_frames()
        if not frames:
            return self.checkpoint(function, *args, **kwargs)
        frame = frames[-1]
        chains = frame.stack.chains
        indices = tuple(frame.maps[chain][0] if chain in frame.maps else -1 for chain in chains)
        maps = tuple(frame.maps[chain][1] if chain in frame.maps else None for chain in chains)

        def run(query_mask: Tensor | None, *inputs: Any) -> tuple[Any, ...]:
            given = zip(chains, indices, inputs[: len(chains)], strict=True)
            inner = Frame(
                frame.stack,
                {chain: (index, each) for chain, index, each in given if each is not None},
                query_mask,
            )
            opened = _open_frames()
            opened.append(inner)
            try:
                output = function(*inputs[len(chains) :], **kwargs)
            finally:
                opened.remove(inner)
            held = [inner.maps.get(chain, (-1, None)) for chain in chains]
            # Flat, because the re-entrant checkpoint differentiates no nested output.
            outputs = output if isinstance(output, tuple) else (output,)
            return (
                isinstance(output, tuple),
                inner.query_mask,
                *(each[0] for each in held),
                *(each[1] for each in held),
                *outputs,
            )

        is_tuple, frame.query_mask, *rest = self.checkpoint(run, frame.query_mask, *maps, *args)
        count = len(chains)
        for chain, index, each in zip(chains, rest[:count], rest[count : 2 * count], strict=True):
            if each is not None:
                frame.maps[chain] = (index, each)
        outputs = tuple(rest[2 * count :])
        return outputs if is_tuple else outputs[0]
