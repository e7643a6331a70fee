"""From what a counter gathered to a row for each layer, in one view."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .record import LayerRecord, Part, Record, ValueClass, value_class
from .views import View

__all__ = ["LayerRow", "LayerSize", "gather"]


@dataclass(frozen=True)
class LayerSize:
    """What a dense evaluation of a layer takes for a sample, mean over samples.

    Attributes:
        dense: multiplications in bounds.
        weights, inputs, other_inputs: numbers it reads; ``other_inputs`` is a matmul's second operand.
    """

    dense: float
    weights: float
    inputs: float
    other_inputs: float


@dataclass(frozen=True)
class LayerRow:
    """One operator of one layer.

    Attributes:
        name, kind: the module's name in the net, and "conv", "linear" or "matmul".
        values: the class of its input(s): "binary", "ternary", "integer", "real".
        ac_steps, mac_steps: float64 [T, samples], accumulates and multiply-accumulates. What is computed once for all
            steps stands in the first one.
        rate_per_step: float64 [T], share of the elements of its (left) input that are not zero, over all samples.
        rate: the same over all steps.
        once: one evaluation of it.
        counted: all evaluations that count: those of T steps, or one where it is counted once.
        static: True if its input is the same at every step.
    """

    name: str
    kind: str
    values: tuple[ValueClass, ...]
    ac_steps: Tensor
    mac_steps: Tensor
    rate_per_step: Tensor
    rate: float
    once: LayerSize
    counted: LayerSize
    static: bool

    @property
    def ac(self) -> Tensor:
        """Accumulates of each sample, float64 [samples]."""
        return self.ac_steps.sum(0)

    @property
    def mac(self) -> Tensor:
        """Multiply-accumulates of each sample, float64 [samples]."""
        return self.mac_steps.sum(0)

    @property
    def per_step(self) -> Tensor:
        """Operations of each step, of both kinds, mean over samples, float64 [T]."""
        return (self.ac_steps + self.mac_steps).mean(1)

    @property
    def dense(self) -> float:
        """Multiplications of a dense evaluation of all steps that count, in bounds, mean over samples."""
        return self.counted.dense

    @property
    def silent(self) -> bool:
        """True if its input is zero everywhere."""
        return self.rate == 0


def gather(layer: LayerRecord, record: Record, view: View, first_layer: str) -> LayerRow:
    """Return the row of ``layer``; copies its counts to the CPU."""
    columns = (3, 4) if layer.kind == "matmul" else (5,)
    classes = tuple(value_class(layer.flags(column)) for column in columns)
    total = _Totals(max(record.steps))
    ac, mac = [], []
    for run, (B, T) in enumerate(zip(record.samples, record.steps, strict=True)):
        of_run = torch.zeros(2, max(record.steps), B, dtype=torch.float64)
        for part in layer.runs.get(run, []):
            counted = torch.stack([v.cpu() for v in view(part, classes)])  # [2, steps, B]
            repeat = part.T if part.static and first_layer == "every_step" else 1
            last = part.step + (repeat if part.static else counted.shape[1])
            of_run[:, part.step : last] += counted
            total.add(part, _nonzero(part, layer.kind), B, T, last)
        ac.append(of_run[0])
        mac.append(of_run[1])
    static = all(part.static for parts in layer.runs.values() for part in parts)
    once, counted_size = total.per_sample(sum(record.samples))
    rate_per_step, rate = total.rates()
    return LayerRow(
        layer.name, layer.kind, classes, torch.cat(ac, 1), torch.cat(mac, 1), rate_per_step, rate, once, counted_size,
        static,
    )  # fmt: skip


def _nonzero(part: Part, kind: str) -> Tensor:
    """Return the elements of the (left) input that are not zero, float64 [steps], over samples."""
    return part.counts[..., 1 if kind == "matmul" else 0].sum(1).cpu().to(torch.float64)


class _Totals:
    """Sums over the runs of one layer."""

    def __init__(self, T: int) -> None:
        self._nonzero = torch.zeros(T, dtype=torch.float64)
        self._elements = torch.zeros(T, dtype=torch.float64)
        self._once = [0.0, 0.0, 0.0, 0.0]
        self._counted = [0.0, 0.0, 0.0, 0.0]

    def add(self, part: Part, nonzero: Tensor, B: int, T: int, last: int) -> None:
        """Add a part that is counted up to step ``last`` of a run of ``B`` samples and ``T`` steps."""
        seen = slice(part.step, part.step + part.T if part.static else last)
        self._nonzero[seen] += nonzero
        self._elements[seen] += B * part.geometry.inputs
        g, share = part.geometry, 1.0 if part.static else part.counts.shape[0] / T
        for i, value in enumerate((g.dense, g.weights, g.inputs, g.other_inputs)):
            self._once[i] += B * share * value
            self._counted[i] += B * (last - part.step) * value

    def rates(self) -> tuple[Tensor, float]:
        """Return the rate of each step, and of all."""
        return self._nonzero / self._elements.clamp(min=1), float(
            self._nonzero.sum() / self._elements.sum().clamp(min=1)
        )

    def per_sample(self, samples: int) -> tuple[LayerSize, LayerSize]:
        """Return the means of one evaluation, and of all that count."""
        once, counted = ([value / samples for value in sums] for sums in (self._once, self._counted))
        return LayerSize(*once), LayerSize(*counted)
