"""What a counter gathers while a net runs: integers per layer, step and sample, left on their device."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...ops.counters import ABOVE_ONE, COLUMNS, FRACTION, NEGATIVE
from .ledger import Entry, Ledger

__all__ = [
    "Geometry",
    "LayerRecord",
    "NeuronRecord",
    "Part",
    "Record",
    "ValueClass",
    "complete",
    "value_class",
]

NNZ, SUM_ABS, FAN, FAN_ABS, EFF = (COLUMNS.index(name) for name in ("nnz", "sum_abs", "fan", "fan_abs", "eff"))

ValueClass = str  # "binary" {0, 1}, "ternary" {-1, 0, 1}, "integer" or "real"


def value_class(flags: int) -> ValueClass:
    """Name what the values of a tensor are, from the flags of `ops.spike_count`."""
    if flags & FRACTION:
        return "real"
    if flags & ABOVE_ONE:
        return "integer"
    return "ternary" if flags & NEGATIVE else "binary"


@dataclass(frozen=True)
class Geometry:
    """One call of an operator for one sample at one step.

    Attributes:
        kind: "conv", "linear" or "matmul".
        inputs, outputs: elements of its input and output.
        dense: multiplications inside the bounds; dense_pad: with those on padding.
        fan: synapses that every input element reaches, where that is one number; None: counted element by element.
        bias: True if a bias is added to every output.
        other_inputs, fan_other: a matmul's second operand, and what each of its elements reaches.
        weights: elements of the weight and the bias; 0 for a matmul of two activations.
        pruned: False if no weight is zero; "eff" then equals "fan" and is not counted apart.
    """

    kind: str
    inputs: int
    outputs: int
    dense: int
    dense_pad: int
    fan: int | None = None
    bias: bool = False
    other_inputs: int = 0
    fan_other: int = 0
    weights: int = 0
    pruned: bool = False


@dataclass(frozen=True)
class Part:
    """The counts of one call.

    Attributes:
        entry: int64 [steps, B, columns]. Linear and conv: the columns of `ops.counters.COLUMNS`; matmul: pairs of
            non-zeros, non-zeros of the left and of the right operand, flags of the left and of the right operand.
        geometry: of the call, for one sample at one step.
        static: computed once for all T steps; steps is then 1.
        T: the steps of the forward it belongs to.
        step: the first of its steps in its run; not 0 only in step mode 's', where a forward is a step.
    """

    entry: Entry
    geometry: Geometry
    static: bool
    T: int
    step: int = 0

    @property
    def counts(self) -> Tensor:
        """What the entry holds."""
        return self.entry.counts


def complete(counts: Tensor, geometry: Geometry) -> Tensor:
    """Return the counts of a call with all columns: what follows from others is not counted while the net runs."""
    if geometry.kind == "matmul":
        return counts
    counts = counts.clone()
    if geometry.fan is not None:
        counts[..., FAN] = counts[..., NNZ] * geometry.fan
        counts[..., FAN_ABS] = counts[..., SUM_ABS] * geometry.fan
    if not geometry.pruned:
        counts[..., EFF] = counts[..., FAN]
    return counts


@dataclass
class LayerRecord:
    """All calls of one operator of one layer, by run (one batch of samples over its steps)."""

    name: str
    kind: str
    runs: dict[int, list[Part]] = field(default_factory=dict)

    def flags(self, column: int) -> int:
        """Return the flags of all calls together."""
        columns = [part.counts[..., column].flatten() for parts in self.runs.values() for part in parts]
        values = torch.cat([c.cpu() for c in columns]) if columns else torch.zeros(0, dtype=torch.int64)
        return sum(bit for bit in (NEGATIVE, ABOVE_ONE, FRACTION) if bool((values & bit).any()))

    def per_sample(self, column: int, run: int) -> Tensor:
        """Return int64 [B], a column summed over calls and steps of one run."""
        sums = [part.counts[..., column].sum(0) for part in self.runs[run]]
        return torch.stack(sums).sum(0).cpu()


@dataclass
class NeuronRecord:
    """One neuron layer.

    Attributes:
        updates: elements times steps of all its inputs; states: potentials that each element keeps.
    """

    updates: int = 0
    states: int = 1


@dataclass
class Record:
    """All that was gathered.

    Attributes:
        layers: (name, kind, number among the calls of that kind in that layer) -> its counts, in order of first run.
        uncounted: (name, operator) -> why it is not counted.
        neurons: name -> neuron layer.
        samples, steps: B and T of every run.
        forwards: forwards of the net that ended without an exception.
        ledger: where the counts of further forwards go.
    """

    layers: dict[tuple[str, str, int], LayerRecord] = field(default_factory=dict)
    uncounted: dict[tuple[str, str], str] = field(default_factory=dict)
    neurons: dict[str, NeuronRecord] = field(default_factory=dict)
    samples: list[int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    forwards: int = 0
    ledger: Ledger = field(default_factory=Ledger, repr=False, compare=False)
