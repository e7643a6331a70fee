"""Firing rate of every neuron layer."""

from __future__ import annotations

from functools import partial
from types import TracebackType

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..errors import StateError
from ..neuron import BaseNode
from .nonzero import nonzero

__all__ = ["FiringRate"]


class FiringRate:
    """Counts the spikes of every neuron layer of a net while its ``with`` block runs.

    The rate is the share of (sample, neuron, time step) at which the neuron fired, that is, put out anything but 0.
    Sums are whole numbers (int64), so the result does not depend on the batch size. At exit the hooks are removed and
    the counts stay.

    Example::

        with FiringRate(net) as rate:
            for x, _ in batches:
                net(direct(x, T))
        rate.compute()  # {"conv_fc.2": 0.12, ...}

    Args:
        net: any module; its `BaseNode` modules that spike are counted, in both step modes, under the names they have
            in it. A neuron that is used in two places of the net is counted as one layer.
    """

    def __init__(self, net: nn.Module) -> None:
        self._net = net
        self._handles: list[RemovableHandle] = []
        self._spikes: dict[str, Tensor] = {}
        self._chances: dict[str, int] = {}

    def __enter__(self) -> FiringRate:
        if self._handles:
            raise StateError("FiringRate: must not be entered twice at once; make another one")
        for name, module in self._net.named_modules():
            if isinstance(module, BaseNode) and module.spiking:
                self._handles.append(module.register_forward_hook(partial(self._add, name)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._handles:
            self._handles.pop().remove()

    def _add(self, name: str, module: nn.Module, args: object, spikes: Tensor) -> None:
        fired = nonzero(spikes.detach().unsqueeze(0))[0]
        before = self._spikes.get(name)
        self._spikes[name] = fired if before is None else before + fired
        self._chances[name] = self._chances.get(name, 0) + spikes.numel()

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return (spikes, neuron steps) of every layer that ran: module name -> whole numbers."""
        return {name: (int(fired), self._chances[name]) for name, fired in self._spikes.items()}

    def compute(self) -> dict[str, float]:
        """Return the firing rate of every layer that ran: module name -> [0, 1], in the order of the first run."""
        return {name: fired / chances if chances else 0.0 for name, (fired, chances) in self.counts().items()}
