"""What a counter gathers while a net runs: integers per layer, step and sample, left on their device."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...ops.counters import ABOVE_ONE, FRACTION, NEGATIVE

__all__ = ["Geometry", "LayerRecord", "Part", "ValueClass", "value_class"]

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


@dataclass(frozen=True)
class Part:
    """The counts of one call: ``counts`` int64 [steps, B, columns]; ``static``: computed once for all T steps."""

    counts: Tensor
    geometry: Geometry
    static: bool
    T: int


@dataclass
class LayerRecord:
    """All calls of one operator of one layer, by run (one batch of samples over its steps)."""

    name: str
    kind: str
    runs: dict[int, list[Part]] = field(default_factory=dict)

    def flags(self, column: int) -> int:
        """Return the flags of all calls together."""
        found = 0
        for parts in self.runs.values():
            for part in parts:
                values = part.counts[..., column].flatten()
                for bit in (NEGATIVE, ABOVE_ONE, FRACTION):
                    found |= bit if bool((values & bit).any()) else 0
        return found

    def per_sample(self, column: int, run: int) -> Tensor:
        """Return int64 [B], a column summed over calls and steps of one run."""
        sums = [part.counts[..., column].sum(0) for part in self.runs[run]]
        return torch.stack(sums).sum(0).cpu()
