"""Membrane updates and neuron operations, as NeuroBench defines them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..errors import ArgumentError, StateError
from ..neuron import BaseNode
from ..neuron.non_spiking import NonSpikingNode
from .neuron_operations import operations_per_update
from .ranks import gathered

__all__ = ["LayerUpdates", "MembraneReport", "MembraneUpdates"]


@dataclass(frozen=True)
class LayerUpdates:
    """Updates of one layer.

    Attributes:
        kind: class of the module.
        samples: sequences that were seen.
        updates: potentials that changed, over neurons, steps and samples; all of the first step.
        dense: potentials, over neurons, steps and samples.
        per_update: operations of one update; None: not known for this class.
    """

    kind: str
    samples: int
    updates: int
    dense: int
    per_update: int | None

    @property
    def operations(self) -> int | None:
        """updates x per_update (NeuroBench: effective neuron operations); None where the constant is not known."""
        return None if self.per_update is None else self.updates * self.per_update

    @property
    def dense_operations(self) -> int | None:
        """Dense x per_update (NeuroBench: dense neuron operations); None where the constant is not known."""
        return None if self.per_update is None else self.dense * self.per_update


@dataclass(frozen=True)
class MembraneReport:
    """What ``MembraneUpdates`` saw.

    Attributes:
        layers: module name -> its updates, in the net's order, those that ran.
        not_counted: module name -> why its potentials could not be seen.
    """

    layers: dict[str, LayerUpdates]
    not_counted: dict[str, str]

    @property
    def updates(self) -> int:
        """Updates of all counted layers."""
        return sum(layer.updates for layer in self.layers.values())

    @property
    def samples(self) -> int:
        """The samples that every layer saw.

        Raises:
            StateError: layers saw different numbers of samples (a layer folded something into its batch).
        """
        seen = {layer.samples for layer in self.layers.values()}
        if len(seen) != 1:
            each = {name: layer.samples for name, layer in self.layers.items()}
            raise StateError(f"MembraneReport.samples: must be one number, got {each}; divide the sums yourself")
        return seen.pop()

    @property
    def updates_per_sample(self) -> float:
        """NeuroBench's MembraneUpdates: updates of all layers over samples."""
        return self.updates / self.samples

    @property
    def operations_per_sample(self) -> float:
        """NeuroBench's "Effective Neuron Ops": updates x constant, summed over layers, over samples.

        Raises:
            StateError: a layer has no constant.
        """
        return self._operations("operations") / self.samples

    @property
    def dense_operations_per_sample(self) -> float:
        """NeuroBench's "Neuron Dense Ops": neurons x steps x constant, summed over layers, over samples.

        Raises:
            StateError: a layer has no constant.
        """
        return self._operations("dense_operations") / self.samples

    def _operations(self, which: str) -> int:
        unknown = {f"{name} ({layer.kind})" for name, layer in self.layers.items() if layer.per_update is None}
        if unknown:
            raise StateError(
                f"MembraneReport.{which}_per_sample: must have the operations per update of every layer, got none for "
                f"{', '.join(sorted(unknown))}; pass MembraneUpdates(net, operations={{class: number}})"
            )
        return sum(getattr(layer, which) for layer in self.layers.values())

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers for JSON."""
        rows = {
            name: {**vars(layer), "operations": layer.operations, "dense_operations": layer.dense_operations}
            for name, layer in self.layers.items()
        }
        return {"updates": self.updates, "layers": rows, "not_counted": self.not_counted}


class _Layer:
    """What is gathered of one module; nothing here waits for the device."""

    def __init__(self, kind: str, per_update: int | None) -> None:
        self.kind = kind
        self.per_update = per_update
        self.calls: list[tuple[Any, ...]] = []  # what to put back after the call that runs, the innermost last
        self.samples = 0
        self.dense = 0
        self.sure = 0  # updates of first steps
        self.changed: Tensor | None = None
        self.unseen = ""

    def add(self, v_seq: Tensor, before: Tensor | None) -> None:
        """Count v_seq [t, B, *], ``before`` [B, *] being the potential ahead of it; None: it is the beginning."""
        self.dense += v_seq.numel()
        changed = torch.count_nonzero(v_seq[1:] != v_seq[:-1])
        if before is not None:
            changed = changed + torch.count_nonzero(v_seq[:1] != before)
        else:
            self.samples += v_seq.shape[1]
            self.sure += v_seq[:1].numel()
        self.changed = changed if self.changed is None else self.changed + changed.to(self.changed.device)

    def result(self) -> LayerUpdates:
        """Return the numbers: here, and here only, the device is waited for."""
        changed = 0 if self.changed is None else int(self.changed)
        return LayerUpdates(self.kind, self.samples, self.sure + changed, self.dense, self.per_update)


class MembraneUpdates:
    """Counts how often the potentials of a net's neurons change while its ``with`` block runs.

    Definition (NeuroBench, arXiv:2304.04640; ``neurobench`` 2.3.0: MembraneUpdates, NeuronOperations): of every neuron,
    all potentials of the first step of a sequence, and after it those that are not what they were one step before; per
    sample: over the number of samples. Neuron operations are updates times a constant per neuron model
    (``operations_per_update``); the dense ones take every neuron at every step. A potential is ``v``, the one after
    the reset.

    The fused kernels keep no potentials, so in step_mode ``"m"`` each neuron's ``store_v_seq`` is switched on for the
    time of its own call and put back after it, also when the call raises: that call takes the memory of v_seq [T, B, *]
    and the spikes are the same. In ``"s"`` the state before and after the step is compared. Sums are int64. At exit the
    hooks are gone and the counts stay; blocks may nest and be entered again one after the other, which adds.

    Example::

        with MembraneUpdates(net) as updates:
            net(direct(x, T))
        updates.compute().updates_per_sample

    Args:
        net: any module; its `BaseNode` modules are counted, inside recurrent containers and readouts too. Seen is what
            is called as a module: not ``node.run(...)``, and nothing inside a compiled net.
        operations: operations of one update by neuron class, for those that ``operations_per_update`` does not know, or
            in its place.

    Raises:
        StateError: on ``with``: the block runs already.
        ArgumentError: ``operations`` holds something other than whole numbers >= 0.
    """

    def __init__(self, net: nn.Module, *, operations: Mapping[type[BaseNode], int] | None = None) -> None:
        self._net = net
        self._operations = dict(operations or {})
        for kind, number in self._operations.items():
            if type(number) is not int or number < 0:
                raise ArgumentError(
                    f"MembraneUpdates.operations: must be whole numbers >= 0, got {number!r} for {kind.__name__}; "
                    "count the arithmetic of one update"
                )
        self._handles: list[RemovableHandle] = []
        self._layers: dict[str, _Layer] = {}

    def __enter__(self) -> MembraneUpdates:
        if self._handles:
            raise StateError("MembraneUpdates: must not be entered twice at once; make another one")
        for name, module in self._net.named_modules():
            if isinstance(module, BaseNode):
                per_update = self._operations.get(type(module), operations_per_update(module))
                layer = self._layers.setdefault(name, _Layer(type(module).__name__, per_update))
                self._handles.append(module.register_forward_pre_hook(partial(_before, layer)))
                # First, so that of nested blocks the inner one puts its things back before the outer one.
                after = module.register_forward_hook(partial(_after, layer), prepend=True, always_call=True)
                self._handles.append(after)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._handles:
            self._handles.pop().remove()

    def compute(self, *, local: bool = False) -> MembraneReport:
        """Return the counts so far, inside the block or after it.

        Args:
            local: False: where ``torch.distributed`` is initialised, the counts are summed over all ranks, and every
                rank has to call this. True: this rank alone.

        Raises:
            StateError: no neuron ran.
        """
        ran = {name: layer.result() for name, layer in self._layers.items() if layer.dense}
        unseen = {name: layer.unseen for name, layer in self._layers.items() if layer.unseen}
        merged: dict[str, LayerUpdates] = {}
        for rows, others in [(ran, unseen)] if local else gathered((ran, unseen)):
            unseen.update(others)
            for name, b in rows.items():
                a = merged.get(name, LayerUpdates(b.kind, 0, 0, 0, b.per_update))
                sums = (a.samples + b.samples, a.updates + b.updates, a.dense + b.dense)
                merged[name] = LayerUpdates(b.kind, *sums, b.per_update)
        if not merged and not unseen:
            raise StateError(
                "MembraneUpdates.compute: must follow a forward pass of neurons inside the block, got none; run the "
                "net in it (a compiled net does not tell what its layers do)"
            )
        order = {name: i for i, (name, _) in enumerate(self._net.named_modules())}
        return MembraneReport({n: merged[n] for n in sorted(merged, key=lambda n: order.get(n, len(order)))}, unseen)


def _before(layer: _Layer, module: nn.Module, args: object) -> None:
    assert isinstance(module, BaseNode)
    if torch.compiler.is_compiling():  # or the compiled net would go on counting when the block is over
        return
    before = module.state[0].detach() if module.step_mode == "s" and module.state else None
    readout = getattr(module, "readout", None)
    layer.calls.append((before, module.store_v_seq, module.v_seq, readout))
    if module.step_mode == "m":
        module.store_v_seq = True
        if isinstance(module, NonSpikingNode):
            module.readout = None  # all potentials leave it; _after reads them out


def _after(layer: _Layer, module: nn.Module, args: object, output: Tensor | None) -> Tensor | None:
    """Count, put back what `_before` changed; ``output`` is None where the call raised."""
    assert isinstance(module, BaseNode)
    if torch.compiler.is_compiling() or not layer.calls:  # none: a hook ahead of ours raised
        return None
    before, stored, v_seq, readout = layer.calls.pop()
    potentials: Tensor | None
    if module.step_mode == "s":
        potentials = module.state[0].unsqueeze(0) if module.state else None
    else:
        potentials = output if isinstance(module, NonSpikingNode) else module.v_seq
        module.store_v_seq = stored
        if not stored:
            module.v_seq = v_seq
        if isinstance(module, NonSpikingNode):
            module.readout = readout
    if output is None:
        return None
    if potentials is None:
        layer.unseen = f"{layer.kind} in step_mode {module.step_mode!r} shows no potential"
        return None
    layer.add(potentials.detach(), before)
    return module.decode(output) if isinstance(module, NonSpikingNode) and readout is not None else None
