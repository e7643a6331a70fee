"""A penalty on firing rates beyond bounds."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..errors import ArgumentError, ConfigError, StateError
from ..neuron import BaseNode, STBIFNode, TernaryIFNode, TernaryLIFNode
from ..registry import nearest

if TYPE_CHECKING:
    from .config import TrainConfig

__all__ = ["FiringRatePenalty", "make_penalty"]

_SIGNED = (TernaryIFNode, TernaryLIFNode, STBIFNode)


class FiringRatePenalty:
    """Collects the firing rates of every neuron layer in a ``with`` block, differentiably, for `penalty`.

    The rate r of a neuron for one sample is its mean output per time step (for binary spikes the share of steps at
    which it fired; a spike of -1 counts as one). Each layer adds mean(max(lower - r, 0)^power) +
    mean(max(r - upper, 0)^power), the mean over samples, where r is the mean rate of the layer, or, ``per="neuron"``,
    over samples and neurons. Source: Zenke and Vogels, "The remarkable robustness of surrogate gradient learning...",
    Neural Computation 33(4), 2021, who bound spike counts: the bounds here are theirs divided by T.

    Works in both step modes, with fused and plain kernels, under autocast, DDP and activation checkpointing that is not
    reentrant. Forward passes without gradients are not collected. The block may be entered for each step or once around
    the whole training. A net under ``torch.compile`` needs the latter, from before its first call on: torch looks at
    hooks only when it compiles. Where it saw none, `penalty` raises StateError rather than give 0.

    Example::

        with FiringRatePenalty(net, strength=0.1, upper=0.2) as rates:
            for x, label in batches:
                y_seq = net(x)
                loss = loss_of(y_seq, label) + rates.penalty()

    Args:
        net: any module; its `BaseNode` modules that spike count, each by itself.
        strength: factor of the sum over the layers; 0: nothing is collected and the penalty is 0.
        lower: least rate; 0: no bound.
        upper: greatest rate; None: no bound.
        power: 1 or 2.
        per: "layer" or "neuron". With T steps the rate of one neuron is a multiple of 1 / T: with few of them an upper
            bound below 1 / T punishes every spike.
        exclude: names of modules in ``net`` that do not count, e.g. the output layer.

    Raises:
        ArgumentError: a number or name cannot be used, or there is nothing to bound.
    """

    def __init__(
        self,
        net: nn.Module,
        strength: float = 1.0,
        *,
        lower: float = 0.0,
        upper: float | None = None,
        power: int = 2,
        per: str = "layer",
        exclude: Collection[str] = (),
    ) -> None:
        self.strength, self.lower, self.upper, self.power, self.per = strength, lower, upper, power, per
        self._check()
        self._layers = _layers(net, exclude) if strength else {}
        self._handles: list[RemovableHandle] = []
        self._open = False
        self._rates: list[Tensor] = []  # [B, *] of each pass of a layer in 'm'
        self._counts: dict[str, tuple[Tensor, int]] = {}  # sum [B, *] over so many steps of a layer in 's'

    def _check(self) -> None:
        if self.strength < 0 or self.lower < 0:
            raise ArgumentError(
                f"FiringRatePenalty: must have strength and lower at least 0, got {self.strength} and {self.lower}; "
                "pass 0 for none"
            )
        if self.strength and self.lower == 0 and self.upper is None:
            raise ArgumentError("FiringRatePenalty: must have a bound, got neither; give lower, upper or both")
        if self.upper is not None and self.upper < self.lower:
            raise ArgumentError(
                f"FiringRatePenalty.upper: must be at least lower = {self.lower}, got {self.upper}; raise it"
            )
        if self.power not in (1, 2):
            raise ArgumentError(f"FiringRatePenalty.power: must be 1 or 2, got {self.power}; pass one of them")
        if self.per not in ("neuron", "layer"):
            raise ArgumentError(f"FiringRatePenalty.per: must be 'neuron' or 'layer', got {self.per!r}; pass one")

    def __enter__(self) -> FiringRatePenalty:
        if self._open:
            raise StateError("FiringRatePenalty: must not be entered twice at once; make another one")
        self._forget()
        self._open = True
        for name, module in self._layers.items():
            self._handles.append(module.register_forward_hook(partial(self._add, name)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        while self._handles:
            self._handles.pop().remove()
        if error is not None:
            self._forget()

    def _add(self, name: str, module: nn.Module, args: object, output: Tensor) -> None:
        if not self._open or not torch.is_grad_enabled():
            return
        assert isinstance(module, BaseNode)
        if isinstance(module, _SIGNED):
            output = torch.where(output < 0, -output, output)  # not abs, whose gradient is 0 where there is no spike
        if _in_backward():
            # A checkpointed part of the net is recomputed, and has to save what it saved before: the condition above.
            # The sums below save no tensors.
            return
        if module.step_mode == "m":
            self._rates.append(output.mean(0, dtype=torch.float32))
        elif name in self._counts:
            count, steps = self._counts[name]
            self._counts[name] = count + output.float(), steps + 1
        else:
            self._counts[name] = output.float(), 1

    def penalty(self) -> Tensor | float:
        """Return the penalty of what was collected since the block was entered or since the last call, and forget it.

        A float32 scalar with gradient; 0.0 with strength 0.

        Raises:
            StateError: nothing was collected.
        """
        if not self.strength:
            return 0.0
        rates = [*self._rates, *(count / steps for count, steps in self._counts.values())]
        self._forget()
        if not rates:
            raise StateError(
                "FiringRatePenalty.penalty: must follow a forward pass with gradients inside the block, got none; run "
                "the net in it (a compiled net: only ever in it, in one block around the whole training)"
            )
        terms = [self._beyond(rate) for rate in rates if rate.numel()]
        return self.strength * torch.stack(terms).sum() if terms else 0.0

    def _beyond(self, rate: Tensor) -> Tensor:
        """Return the mean of how far ``rate`` [B, *] is beyond the bounds, to the power."""
        if self.per == "layer":
            rate = rate.flatten(1).mean(1)
        beyond = torch.relu(self.lower - rate)
        if self.upper is not None:  # never both at once
            beyond = beyond + torch.relu(rate - self.upper)
        return (beyond.square() if self.power == 2 else beyond).mean()

    def _forget(self) -> None:
        self._rates.clear()
        self._counts.clear()


def _in_backward() -> bool:
    """Return whether autograd is at work, and so the pass at hand recomputes a checkpointed part of the net."""
    if torch.compiler.is_compiling():
        return False
    task: int = torch._C._current_graph_task_id()
    return task != -1


def make_penalty(net: nn.Module, config: TrainConfig) -> FiringRatePenalty:
    """Return the penalty that ``config`` asks for on ``net``; with strength 0 one that does nothing.

    Raises:
        ConfigError: a number cannot be used, or there is nothing to bound.
    """
    try:
        return FiringRatePenalty(
            net,
            config.firing_rate_strength,
            lower=config.firing_rate_lower,
            upper=config.firing_rate_upper,
            power=config.firing_rate_power,
            per=config.firing_rate_per,
        )
    except ArgumentError as error:
        raise ConfigError(f"train.firing_rate_*: {error}") from None


def _layers(net: nn.Module, exclude: Collection[str]) -> dict[str, BaseNode]:
    found = {name: m for name, m in net.named_modules() if isinstance(m, BaseNode) and m.spiking}
    for name in exclude:
        if name not in found:
            guess = nearest(name, found)
            raise ArgumentError(
                f"FiringRatePenalty.exclude: must name spiking neurons of the net, got {name!r}; "
                + (f"did you mean {guess!r}?" if guess else f"there are {', '.join(found) or 'none'}")
            )
    kept = {name: module for name, module in found.items() if name not in set(exclude)}
    if not kept:
        raise ArgumentError("FiringRatePenalty.net: must have spiking neurons to bound, got none; check the net")
    return kept
