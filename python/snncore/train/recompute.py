"""Activation checkpointing: parts of a net keep their input only, and are computed once more in the backward pass.

Chen et al., "Training deep nets with sublinear memory cost", 2016, arXiv:1604.06174.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..errors import ArgumentError, ConfigError, StateError
from ..layer.base import StatefulModule
from ..neuron import BaseNode

__all__ = ["ActivationCheckpointing", "make_checkpointing", "parts_of"]

_SYNAPSES = (nn.Linear, nn.modules.conv._ConvNd)


class ActivationCheckpointing:
    """Within a ``with`` block, the parts of ``net`` keep only their input for the backward pass, which recomputes them.

    Less memory for about one more forward pass. (On a CPU the resident set of the process may not show it, where the C
    library keeps freed blocks.) Gradients are the same bits: the recomputation has the random numbers (torch's, not
    NumPy's or Python's) and the autocast of the first pass, and buffers as they were before it, whose updates are
    thrown away; so running means and variances of batch norms move once a step, as without. Without gradients nothing
    is different. Names in ``state_dict`` stay, and so do the modules.

    A part is

    - a block: a module made of several layers with a neuron among them, which stands in an ``nn.Sequential`` or
      ``nn.ModuleList`` (of a ResNet or a transformer) or is part of a net that has such (a patch embedding), or
    - in an ``nn.Sequential`` of single layers: all from a convolution or linear layer up to the next one that has a
      neuron before it.

    Neurons have to be in step mode 'm': in 's' a second pass would start from the state that the first one left. A net
    under ``torch.compile`` cannot be in the block.

    Args:
        net: any module.

    Attributes:
        parts: the names of the parts; "features.0-3" are four layers.

    Raises:
        ArgumentError: ``net`` has no part that could be computed once more.
        StateError: on a forward pass with gradients: a neuron is in step mode 's'.
    """

    def __init__(self, net: nn.Module) -> None:
        self._forwards = dict(_forwards("", net, True))
        self.parts = tuple(part.name for forward in self._forwards.values() for part in forward.parts)
        if not self.parts:
            raise ArgumentError(
                f"ActivationCheckpointing.net: must have blocks with neurons in an nn.Sequential or nn.ModuleList, got "
                f"{type(net).__name__} without; put its layers into an nn.Sequential"
            )

    def __enter__(self) -> ActivationCheckpointing:
        for module, forward in self._forwards.items():
            if "forward" in vars(module) or module._compiled_call_impl is not None:
                self.__exit__(None, None, None)
                raise StateError(
                    f"ActivationCheckpointing.net: must have forward methods of its own, got {type(module).__name__} "
                    "with another one (of a second such block, or compiled); use one at a time"
                )
            # of this one object: a wrapper around it would change the names of all that is below
            module.forward = forward
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for module, forward in self._forwards.items():
            if vars(module).get("forward") is forward:
                del module.forward


def make_checkpointing(net: nn.Module, wanted: bool, compiles: bool) -> contextlib.AbstractContextManager[Any]:
    """Return the block that ``--checkpoint-activations`` asks for on ``net``; one that does nothing if not ``wanted``.

    Raises:
        ConfigError: ``net`` has no part that could be computed once more, or it ``compiles``.
    """
    if not wanted:
        return contextlib.nullcontext()
    if compiles:
        raise ConfigError(
            "--checkpoint-activations: must be left out with --compile, which decides itself what to compute once "
            "more, got both; use one of them"
        )
    try:
        return ActivationCheckpointing(net)
    except ArgumentError as error:
        raise ConfigError(f"--checkpoint-activations: {error}") from None


def parts_of(net: nn.Module) -> list[tuple[str, list[nn.Module]]]:
    """Return name and modules of every part of ``net``, as `ActivationCheckpointing` says; none if it has no blocks."""
    return [(part.name, part.modules) for _, forward in _forwards("", net, True) for part in forward.parts]


class _Part:
    """Computes ``run`` of one tensor, keeping only that tensor if gradients are wanted."""

    def __init__(self, name: str, modules: list[nn.Module], run: Callable[..., Any]) -> None:
        self.name, self.modules, self._run = name, modules, run
        self._inner = [inner for module in modules for inner in module.modules()]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return self._run(*args, **kwargs)
        for module in self._inner:
            if isinstance(module, (BaseNode, StatefulModule)) and getattr(module, "step_mode", "m") == "s":
                raise StateError(
                    f"ActivationCheckpointing: must have all neurons of {self.name} in step mode 'm', got "
                    f"{type(module).__name__} in 's', whose state a second pass would take up; call "
                    "functional.set_step_mode(net, 'm')"
                )
        before = [
            (module, name, buffer.clone())
            for module in self._inner
            for name, buffer in module._buffers.items()
            if buffer is not None
        ]
        return checkpoint(
            self._run,
            *args,
            use_reentrant=False,
            context_fn=lambda: (contextlib.nullcontext(), _with_buffers(before)),
            **kwargs,
        )


@contextlib.contextmanager
def _with_buffers(values: list[tuple[nn.Module, str, Tensor]]) -> Iterator[None]:
    """Give the modules copies of other buffers for a while: updates of these reach nobody.

    Others in their place, not other values in them: autograd refuses tensors that changed since it saved them.
    """
    own = [(module, name, module._buffers[name]) for module, name, _ in values]
    try:
        for module, name, value in values:
            module._buffers[name] = value.clone()
        yield
    finally:
        for module, name, buffer in own:
            module._buffers[name] = buffer


class _OfBlock:
    """The forward of a block that is one part."""

    def __init__(self, name: str, block: nn.Module) -> None:
        self.parts = [_Part(name, [block], block.forward)]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.parts[0](*args, **kwargs)


class _OfLayers:
    """The forward of an ``nn.Sequential``: its members one after the other, single layers in parts of several."""

    def __init__(self, name: str, sequence: nn.Sequential) -> None:
        self._steps: list[Callable[..., Any]] = []
        self.parts: list[_Part] = []
        layers: list[tuple[str, nn.Module]] = []
        for key, member in sequence.named_children():
            single = isinstance(member, BaseNode) or not _has_neurons(member)
            fired = any(isinstance(layer, BaseNode) for _, layer in layers)
            if not single or (fired and isinstance(member, _SYNAPSES)):
                self._close(name, layers)
                layers = []
            if single:
                layers.append((key, member))
            else:
                self._steps.append(member)
        self._close(name, layers)

    def _close(self, name: str, layers: list[tuple[str, nn.Module]]) -> None:
        """Make a part of some layers, or leave them as they are if there is no neuron among them."""
        modules = [layer for _, layer in layers]
        run = _Chain(modules)
        if any(isinstance(layer, BaseNode) for layer in modules) and len(modules) > 1:
            keys = layers[0][0] + "-" + layers[-1][0]
            self.parts.append(_Part(f"{name}.{keys}" if name else keys, modules, run))
            self._steps.append(self.parts[-1])
        elif modules:
            self._steps.append(run)

    def __call__(self, x: Any) -> Any:
        for step in self._steps:
            x = step(x)
        return x


class _Chain:
    """Modules one after the other."""

    def __init__(self, modules: list[nn.Module]) -> None:
        self._modules = modules

    def __call__(self, x: Any) -> Any:
        for module in self._modules:
            x = module(x)
        return x


def _forwards(name: str, module: nn.Module, outermost: bool = False) -> Iterator[tuple[nn.Module, Any]]:
    """Yield the modules of ``module`` to compute once more, with the forward that does it."""
    if isinstance(module, BaseNode) or not _has_neurons(module):
        return
    if not outermost and not _is_row(module) and not any(_is_row(inner) for inner in module.modules()):
        yield module, _OfBlock(name, module)
        return
    if _is_row(module) and type(module).forward is nn.Sequential.forward:
        assert isinstance(module, nn.Sequential)
        yield module, _OfLayers(name, module)
    for key, child in module.named_children():
        yield from _forwards(f"{name}.{key}" if name else key, child)


def _is_row(module: nn.Module) -> bool:
    """Return whether ``module`` is a row of blocks, or of layers with more than one neuron."""
    if not isinstance(module, (nn.Sequential, nn.ModuleList)):
        return False
    neurons = sum(isinstance(child, BaseNode) for child in module)
    return neurons > 1 or any(_has_neurons(child) and not isinstance(child, BaseNode) for child in module)


def _has_neurons(module: nn.Module) -> bool:
    return any(isinstance(inner, BaseNode) for inner in module.modules())
