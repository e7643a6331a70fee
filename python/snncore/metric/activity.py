"""What the neurons of a net do while it runs: firing rate, activation sparsity, and rasters of a few samples."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import zip_longest
from types import TracebackType

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..errors import ArgumentError, StateError
from ..neuron import BaseNode
from .activity_report import ActivityReport, LayerActivity
from .nonzero import nonzero
from .ranks import gathered

__all__ = ["Activity"]


class _Layer:
    """What is gathered of one module; nothing here waits for the device."""

    def __init__(self, module: nn.Module) -> None:
        self.kind = type(module).__name__
        self.neurons: tuple[int, ...] = ()
        self.samples = 0
        self.step = 0  # of the next output in 's'
        self.spikes: Tensor | None = None
        self.elements: list[int] = []
        self.taken = 0  # samples whose raster is taken
        self.taking = 0  # of them, those of the running sequence
        self.rasters: list[list[Tensor]] = []  # of each sequence, blocks [t, samples, n]
        self.chosen: Tensor | None = None

    def add(self, output: Tensor, first: int) -> None:
        """Count output [t, B, *], whose steps are ``first``, ``first`` + 1, ..."""
        steps, end = output.shape[0], first + output.shape[0]
        fired = nonzero(output)
        if self.spikes is None:
            self.spikes = fired.new_zeros(end)
        elif self.spikes.numel() < end:
            self.spikes = torch.cat((self.spikes, fired.new_zeros(end - self.spikes.numel())))
        self.spikes[first:end] += fired.to(self.spikes.device)
        self.elements += [0] * (end - len(self.elements))
        for t in range(first, end):
            self.elements[t] += output.numel() // steps

    def draw(self, output: Tensor, begins: bool, samples: int, limit: int) -> None:
        """Keep the raster of the first ``samples`` samples of output [t, B, *], at most ``limit`` neurons."""
        if begins:
            alike = not self.rasters or self.neurons == tuple(output.shape[2:])  # else they show other neurons
            self.taking = min(samples - self.taken, output.shape[1]) if alike else 0
            self.taken += self.taking
            if self.taking:
                self.rasters.append([])
        if not self.taking:
            return
        rows = output[:, : self.taking].flatten(2) if output.dim() > 2 else output[:, : self.taking].unsqueeze(2)
        n, shown = rows.shape[2], min(rows.shape[2], limit)
        if self.chosen is None:
            self.chosen = torch.arange(shown, device=rows.device) * n // max(shown, 1)
        self.rasters[-1].append(rows.index_select(2, self.chosen) != 0)

    def result(self) -> LayerActivity:
        """Return the numbers: here, and here only, the device is waited for."""
        rasters = [torch.cat(blocks).cpu().unbind(1) for blocks in self.rasters]
        return LayerActivity(
            self.kind,
            self.neurons,
            self.samples,
            tuple([] if self.spikes is None else self.spikes.tolist()),
            tuple(self.elements),
            tuple(raster for one in rasters for raster in one),
            torch.zeros(0, dtype=torch.int64) if self.chosen is None else self.chosen.cpu(),
        )


class Activity:
    """Counts the spikes of every neuron layer per time step while its ``with`` block runs, and keeps a few rasters.

    Definitions: an output counts as a spike if it is not 0 (also graded and negative ones). Activation sparsity is
    zeros over all outputs, over layers, steps and samples (NeuroBench, arXiv:2304.04640; ``neurobench`` 2.3.0:
    ActivationSparsity, ActivationSparsityByLayer); the firing rate is what it lacks to 1. Sums are int64, so nothing
    depends on batch sizes. At exit, also by an exception, the hooks are gone and the counts stay; blocks may nest and
    be entered again one after the other, which adds.

    Time steps: in step_mode ``"m"`` the first dimension of the output; in ``"s"`` the calls since the neuron had no
    state (``functional.reset_net``), or since the block began. A sequence shorter than others has no elements in the
    steps it lacks. A module used in two places of the net is one layer.

    Example::

        with Activity(net, raster_samples=2) as activity:
            for x, _ in batches:
                net(direct(x, T))
        report = activity.compute()
        report.layers["conv_fc.2"].firing_rate_per_step  # [0.08, 0.14, ...]
        report.layers["conv_fc.2"].rasters[0]  # bool [T, n]

    Args:
        net: any module; its `BaseNode` modules that spike are counted, inside recurrent containers too. Seen is what
            is called as a module: not ``node.run(...)``, and nothing inside a compiled net.
        activations: further types of module whose output counts, e.g. ``(nn.ReLU, nn.Sigmoid)``, which NeuroBench
            counts as well. They know no time: their output [N, *] counts as one step of N samples, without raster.
        raster_samples: of how many samples, the first ones, the raster is kept (of those with as many neurons as the
            first, where the layer's size changes).
        raster_neurons: at most how many neurons of a layer a raster shows, evenly spaced over the layer.

    Raises:
        ArgumentError: an argument cannot be used.
        StateError: on ``with``: the block runs already.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        activations: Sequence[type[nn.Module]] = (),
        raster_samples: int = 0,
        raster_neurons: int = 256,
    ) -> None:
        if raster_samples < 0:
            raise ArgumentError(f"Activity.raster_samples: must be >= 0, got {raster_samples}; pass 0 for none")
        if raster_neurons < 1:
            raise ArgumentError(f"Activity.raster_neurons: must be >= 1, got {raster_neurons}; pass 1 or more")
        self._net = net
        self._activations = tuple(activations)
        self._raster = (raster_samples, raster_neurons)
        self._handles: list[RemovableHandle] = []
        self._layers: dict[str, _Layer] = {}

    def __enter__(self) -> Activity:
        if self._handles:
            raise StateError("Activity: must not be entered twice at once; make another one")
        for name, module in self._net.named_modules():
            if isinstance(module, BaseNode) and module.spiking:
                self._handles.append(module.register_forward_pre_hook(partial(self._before, name)))
                self._handles.append(module.register_forward_hook(partial(self._after, name)))
            elif self._activations and isinstance(module, self._activations):
                self._handles.append(module.register_forward_hook(partial(self._other, name)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._handles:
            self._handles.pop().remove()

    def _layer(self, name: str, module: nn.Module) -> _Layer:
        return self._layers.setdefault(name, _Layer(module))

    def _before(self, name: str, module: nn.Module, args: object) -> None:
        assert isinstance(module, BaseNode)
        if torch.compiler.is_compiling():  # or the compiled net would go on counting when the block is over
            return
        if module.step_mode == "m" or module.state is None:
            self._layer(name, module).step = 0

    def _after(self, name: str, module: nn.Module, args: object, output: Tensor) -> None:
        if torch.compiler.is_compiling():
            return
        layer = self._layer(name, module)
        output = output.detach()
        if module.step_mode == "s":
            output = output.unsqueeze(0)
        begins = layer.step == 0
        layer.samples += output.shape[1] if begins else 0
        layer.add(output, layer.step)
        if self._raster[0]:
            layer.draw(output, begins, *self._raster)
        layer.neurons = tuple(output.shape[2:])
        layer.step += output.shape[0]

    def _other(self, name: str, module: nn.Module, args: object, output: Tensor) -> None:
        if torch.compiler.is_compiling():
            return
        layer = self._layer(name, module)
        layer.neurons = tuple(output.shape[1:])
        layer.samples += output.shape[0]
        layer.add(output.detach().unsqueeze(0), 0)

    def compute(self, *, local: bool = False) -> ActivityReport:
        """Return the counts so far, inside the block or after it.

        Args:
            local: False: where ``torch.distributed`` is initialised, the counts are summed over all ranks, and every
                rank has to call this. True: this rank alone. Rasters are always this rank's.

        Raises:
            StateError: no layer ran.
        """
        mine = {name: layer.result() for name, layer in self._layers.items() if layer.spikes is not None}
        everyone = [mine] if local else gathered(_plain(mine))
        merged: dict[str, LayerActivity] = {}
        for one in everyone:
            for name, layer in one.items():
                merged[name] = _sum(merged[name], layer) if name in merged else layer
        if not merged:
            raise StateError(
                "Activity.compute: must follow a forward pass of neurons inside the block, got none; run the net in it "
                "(a compiled net does not tell what its layers do)"
            )
        order = {name: i for i, (name, _) in enumerate(self._net.named_modules())}
        rows = {name: merged[name] for name in sorted(merged, key=lambda name: order.get(name, len(order)))}
        return ActivityReport({name: _with_rasters(row, mine.get(name)) for name, row in rows.items()})


def _plain(layers: dict[str, LayerActivity]) -> dict[str, LayerActivity]:
    """Return the numbers without the rasters."""
    return {n: LayerActivity(a.kind, a.neurons, a.samples, a.spikes, a.elements) for n, a in layers.items()}


def _sum(a: LayerActivity, b: LayerActivity) -> LayerActivity:
    spikes = tuple(x + y for x, y in zip_longest(a.spikes, b.spikes, fillvalue=0))
    elements = tuple(x + y for x, y in zip_longest(a.elements, b.elements, fillvalue=0))
    return LayerActivity(a.kind, a.neurons, a.samples + b.samples, spikes, elements)


def _with_rasters(row: LayerActivity, mine: LayerActivity | None) -> LayerActivity:
    if mine is None:
        return row
    return LayerActivity(
        row.kind, row.neurons, row.samples, row.spikes, row.elements, mine.rasters, mine.raster_neurons
    )
