"""One forward of a counted net: whose rows an operator's are, and its counts until the forward has ended well."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.weak import TensorWeakRef

from ...errors import StateError
from ...neuron import BaseNode
from ...ops.counters import COLUMNS, spike_count_into
from .fan_out import Margins
from .ledger import Entry, Ledger
from .maps import FanOutMaps
from .record import Geometry, LayerRecord, NeuronRecord, Part, Record
from .weights import Weights

__all__ = ["Forward", "Frame", "Place", "Plan"]


@dataclass(frozen=True)
class Place:
    """Where the rows of a counted tensor belong.

    Attributes:
        steps: T where its rows are those of T * B (t-major), 1 where they are those of B.
        rows: steps * B; the tensor has that many or, with tokens or windows folded in, a multiple.
        axis: which of its leading dimensions are these rows: 0, or 1 where tokens come first.
    """

    steps: int
    rows: int
    axis: int = 0


class Frame(NamedTuple):
    """A module that runs.

    Attributes:
        name: in the net.
        static: its input is known to be the same at every step.
        watched: whether its caller was watched.
        counted: where its counts begin in those of the forward, if it was counted as a module.
    """

    name: str
    static: bool
    watched: bool = True
    counted: int | None = None


class Plan(NamedTuple):
    """How to count one call.

    Attributes:
        kind: "conv" or "linear".
        place: where the rows of its input belong.
        fan, eff: maps for ``ops.spike_count``; none where the same number of synapses follows every element.
        geometry: of the call.
    """

    kind: str
    place: Place
    fan: Tensor | None
    eff: Tensor | None
    geometry: Geometry


class _Call(NamedTuple):
    name: str
    kind: str
    entry: Entry  # [steps, B, columns]
    geometry: Geometry


class Forward:
    """Gathers the counts of one forward; ``commit`` adds them to a record.

    Args:
        T, B: steps and samples.
        weights, maps: of the net.
        ledger: takes the counts.
    """

    def __init__(self, T: int, B: int, weights: Weights, maps: FanOutMaps, ledger: Ledger) -> None:
        self.T, self.B = T, B
        self._ledger = ledger
        self.weights, self.maps = weights, maps
        self.frames: list[Frame] = []
        self.uncounted: dict[tuple[str, str], str] = {}
        self.neurons: dict[str, NeuronRecord] = {}
        self.counted: list[_Call] = []
        self.direct: set[BaseNode] = set()  # neurons whose spikes a layer took that needs no more than their number
        self._single: set[BaseNode] = set()  # neurons in step mode 's' that were called
        self._spikes: list[tuple[TensorWeakRef, int, BaseNode, Tensor | None]] = []  # what neurons put out
        self._padded: list[tuple[TensorWeakRef, Margins]] = []
        # The last views made by folding dimensions: storage, offset, shape, and the shape before. They are not kept
        # alive, so that the net can use their memory again while it lies in the caches.
        self._folded: deque[tuple[StorageWeakRef, int | torch.SymInt, torch.Size, torch.Size]] = deque(maxlen=4)

    # ---- what operators tell and ask --------------------------------------------------------------------------------

    def fold(self, before: Tensor, after: Tensor) -> None:
        """Remember that ``after`` is a view of ``before``, perhaps with leading dimensions folded."""
        if after.dim() in (2, 3):
            storage = StorageWeakRef(after.untyped_storage())  # type: ignore[no-untyped-call]
            self._folded.append((storage, after.storage_offset(), after.shape, before.shape))

    def leading(self, x: Tensor, last: int) -> tuple[int, ...]:
        """Return the dimensions of ``x`` but for its ``last`` ones, as they were before they were folded into one."""
        storage, offset, shape = x.untyped_storage()._cdata, x.storage_offset(), x.shape
        for ref, place, after, before in self._folded:
            if (
                (ref.cdata, place, after) == (storage, offset, shape)
                and before[-last:] == shape[-last:]
                and before[:-last].numel() == shape[:-last].numel()
            ):
                return tuple(before[:-last])
        return tuple(x.shape[:-last])

    def pad(self, padded: Tensor, margins: Margins) -> None:
        """Remember that ``padded`` [N, C, *] has margins of zeros."""
        self._padded = [(ref, m) for ref, m in self._padded if ref() is not None]
        self._padded.append((TensorWeakRef(padded), margins))

    def margins(self, x: Tensor) -> Margins | None:
        """Return the margins of zeros of ``x``; None: it has none."""
        return next((margins for ref, margins in self._padded if ref() is x), None)

    def took(self, name: str, node: BaseNode, x: Tensor) -> None:
        """Check and take note of what ``node`` was given.

        Raises:
            StateError: these are not the steps and samples that the net's input says.
        """
        T, B, shape, many = self.T, self.B, x.shape, node.step_mode == "m"
        if many and len(shape) >= 2 and (shape[0] != T or shape[1] % max(B, 1)):
            raise StateError(
                f"SopCounter: the neuron {name!r} sees steps and samples {list(shape[:2])}, the net's input says "
                f"[{T}, {B}]; pass time_steps to the counter if the net takes [B, *], or batch_dim"
            )
        if not many and len(shape) >= 1 and shape[0] % max(B, 1):
            raise StateError(
                f"SopCounter: the neuron {name!r} sees {shape[0]} samples where the net's input says {B}; pass "
                "batch_dim to the counter"
            )
        if not many and T == 1 and node in self._single:
            raise StateError(
                f"SopCounter: the neuron {name!r} sees more than one step in a forward of one; pass time_steps to the "
                "counter if the net makes its steps inside, and batch_dim=1 if it takes [T, B, *]"
            )
        if not many:
            self._single.add(node)
        known = self.neurons.get(name)
        if known is None:
            known = self.neurons[name] = NeuronRecord(0, node._states())
        known.updates += shape.numel()

    def spiked(self, node: BaseNode, out: Any) -> None:
        """Remember that ``node`` put out ``out``, if that is known to hold zeros and ones only."""
        fires = type(node).fire is BaseNode.fire and type(node).emit is BaseNode.emit and not node.smooth
        if fires and type(node).forward is BaseNode.forward and isinstance(out, Tensor) and not out.is_inference():
            self._spikes = [kept for kept in self._spikes if kept[0]() is not None]
            self._spikes.append((TensorWeakRef(out), out._version, node, node.spike_count))

    def written(self) -> None:
        """Forget what neurons put out: an operator has just written to some tensor."""
        self._spikes.clear()

    def spike_count(self, x: Tensor, place: Place) -> Tensor | None:
        """Return int64 [rows], the spikes in ``x``, if a neuron put it out and has counted them."""
        for ref, version, node, count in self._spikes:
            out = ref()
            if out is None or out.numel() != x.numel() or out._version != version or out.is_inference():
                continue
            if out.data_ptr() != x.data_ptr() or not (out.is_contiguous() and x.is_contiguous()) or place.axis:
                continue
            self.direct.add(node)
            if count is not None and count.numel() == place.rows:
                return count
        return None

    def place(self, sizes: tuple[int, ...]) -> Place | str:
        """Return which rows are whose, from the leading dimensions of a tensor, or why that cannot be told."""
        T, B, first, second = self.T, self.B, sizes[0], sizes[1] if len(sizes) > 1 else None
        steps, once = Place(T, T * B), Place(1, B)
        static = bool(self.frames) and self.frames[-1].static
        if T * B == 1 or 0 in sizes:
            return steps if B or 0 in sizes else f"it has {first} rows and the net's input no samples"
        if static and first == B:
            return once
        if first == T * B or (first, second) == (T, B):
            return steps
        if first == B:
            if second == T:
                return f"its rows [{B}, {T}] may be samples by steps or samples by tokens; put the steps first"
            return once
        if second in (T * B, B):
            return Place(T if second == T * B else 1, int(second), axis=1)
        for found in (once, steps) if static else (steps, once):
            if found.rows and first % found.rows == 0:
                return found
        return f"its {first} rows are no multiple of the {B} samples"

    def count(self, x: Tensor, plan: Plan, counted: Tensor | None = None) -> None:
        """Count ``x``, whose rows are in memory order; ``counted``, int64 [rows]: its ones, if all else is zero."""
        entry = self._ledger.blank((plan.place.steps, self.B, len(COLUMNS)), x.device)
        spike_count_into(entry.page, entry.start, x, plan.place.rows, plan.fan, plan.eff, counted)
        self.counted.append(_Call(self.here, plan.kind, entry, plan.geometry))

    def add(self, kind: str, counts: Tensor, geometry: Geometry, place: Place) -> None:
        """Keep the counts [place.rows, columns] of one call."""
        entry = Entry.of(counts.view(place.steps, self.B, counts.shape[1]))  # kept by commit; a write might be watched
        self.counted.append(_Call(self.here, kind, entry, geometry))

    def not_counted(self, kind: str, why: str) -> None:
        """Name an operator of the running layer that holds synapses and is not counted."""
        self.uncounted[(self.here, kind)] = why

    @property
    def here(self) -> str:
        """The name of the innermost module that runs."""
        return self.frames[-1].name if self.frames else ""

    # ---- the end -----------------------------------------------------------------------------------------------------

    def commit(self, record: Record, goes_on: bool) -> None:
        """Add all counts to ``record``: a new run, or with ``goes_on`` another step of the last one."""
        if goes_on:
            record.steps[-1] += 1
        else:
            record.samples.append(self.B)
            record.steps.append(self.T)
        record.forwards += 1
        record.uncounted.update(self.uncounted)
        for name, neuron in self.neurons.items():
            known = record.neurons.setdefault(name, NeuronRecord(0, neuron.states))
            known.updates += neuron.updates
        run, step = len(record.samples) - 1, record.steps[-1] - 1 if goes_on else 0
        layers: dict[tuple[str, str], list[_Call]] = {}
        for call in self.counted:
            layers.setdefault((call.name, call.kind), []).append(call)
        for (name, kind), calls in layers.items():
            for index, call in enumerate(self._by_step(calls)):
                layer = record.layers.get((name, kind, index))
                if layer is None:
                    layer = record.layers[name, kind, index] = LayerRecord(name, kind)
                static = self.T > 1 and call.entry.shape[0] == 1
                layer.runs.setdefault(run, []).append(
                    Part(self._ledger.keep(call.entry), call.geometry, static, self.T, step)
                )

    def _by_step(self, calls: list[_Call]) -> list[_Call]:
        """Join calls that are the steps of a loop over time: T times the same, each on one step of all samples.

        A layer that a forward of T steps calls T, 2T, ... times on B rows is taken for one of a loop; otherwise a call
        on B rows is one that is computed once for all steps.
        """
        if self.T == 1 or len(calls) % self.T or any(call.entry.shape[0] != 1 for call in calls):
            return calls
        each = len(calls) // self.T
        loops = [calls[i::each] for i in range(each)]
        if any(call.geometry != loop[0].geometry for loop in loops for call in loop):
            return calls
        return [self._joined(loop) for loop in loops]

    def _joined(self, loop: list[_Call]) -> _Call:
        return loop[0]._replace(entry=Entry.of(torch.cat([call.entry.counts for call in loop])))
