"""What was counted, as one of the views: per layer, step and sample, with its energy and what that leaves out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ...errors import ArgumentError, StateError
from ...registry import lookup
from .energy import EnergyCost, MemoryCost, energy_cost, memory_cost
from .gather import LayerRow, gather
from .memory_traffic import Neurons, ReluTraffic, Traffic, relu_traffic, traffic
from .record import Record
from .statistics import Statistics, statistics
from .views import VIEWS

__all__ = ["LayerRow", "NotCounted", "Report"]

_FIRST = ("once", "every_step")


@dataclass(frozen=True)
class NotCounted:
    """An operator that holds synapses and is in no total: the layers it is in, and why."""

    layers: tuple[str, ...]
    operator: str
    why: str


@dataclass(frozen=True)
class Report:
    """Counts in one view. ``print(report)`` is a table, ``to_dict`` and ``to_json`` are for programs.

    Attributes:
        mode: one of ``exact``, ``spikingjelly``, ``paper``, ``syops``, ``unrolled``.
        first_layer: "once": what is computed on an input that is the same at every step counts once; "every_step": T
            times.
        dataset: what the samples are from, in words; None: not told.
        samples, steps: how many samples were seen, and T (the largest, if runs differ).
        cost, memory_cost: energy per operation and per byte.
        layers: a row per operator, in the order of the first run.
        not_counted: what is in no total.
        neurons: how many there are and what they keep.
        fewest_steps: the smallest T.
    """

    mode: str
    first_layer: str
    dataset: str | None
    samples: int
    steps: int
    cost: EnergyCost
    memory_cost: MemoryCost
    layers: tuple[LayerRow, ...]
    not_counted: tuple[NotCounted, ...]
    neurons: Neurons
    fewest_steps: int

    @classmethod
    def of(
        cls,
        record: Record,
        mode: str = "exact",
        *,
        first_layer: str = "once",
        dataset: str | None = None,
        cost: str | EnergyCost = "fp32",
        memory: str | MemoryCost = "on_chip",
    ) -> Report:
        """Make a report of what a counter gathered.

        Args:
            record: the counts of one rank or of all.
            mode: a name in ``VIEWS``.
            first_layer: "once" or "every_step".
            dataset: what the samples are from, for whoever reads the report.
            cost: a name in ``ENERGY``, or figures of your own.
            memory: a name in ``MEMORY``, or figures of your own.

        Raises:
            ArgumentError: an argument is none of these.
            StateError: there is no sample, or nothing that ran could be counted; the message says why.
        """
        view = lookup(VIEWS, mode, "SopCounter.report.mode")
        if first_layer not in _FIRST:
            raise ArgumentError(
                f"SopCounter.report.first_layer: must be 'once' or 'every_step', got {first_layer!r}; pass one of them"
            )
        if dataset is not None and not isinstance(dataset, str):
            raise ArgumentError(f"SopCounter.report.dataset: must be a name, got {dataset!r}; pass a string")
        costs = energy_cost(cost), memory_cost(memory)
        samples, missing = sum(record.samples), _merged(record.uncounted)
        if not samples:
            raise StateError("SopCounter.report: must have seen at least one sample, got batches of none; pass some")
        if not record.layers:
            reasons = "; ".join(f"{m.operator} in {', '.join(m.layers)}: {m.why}" for m in missing)
            raise StateError(f"SopCounter.report: nothing that ran could be counted ({reasons}); count another net")
        rows = tuple(gather(layer, record, view, first_layer) for layer in record.layers.values())
        evaluated = sum(B * T for B, T in zip(record.samples, record.steps, strict=True))
        neurons = Neurons.of(record.neurons.values(), samples, evaluated)
        return cls(
            mode, first_layer, dataset, samples, max(record.steps), *costs, rows, missing, neurons, min(record.steps)
        )

    def totals(self) -> tuple[Tensor, Tensor]:
        """Return accumulates and multiply-accumulates of each sample, float64 [samples]."""
        ac, mac = torch.stack([torch.stack([row.ac, row.mac]) for row in self.layers]).sum(0)
        return ac, mac

    def energy(self, cost: str | EnergyCost | None = None) -> Tensor:
        """Return the energy of each sample in mJ, float64 [samples]: AC * e_ac + MAC * e_mac, nothing else."""
        c, (ac, mac) = self.cost if cost is None else energy_cost(cost), self.totals()
        return (ac * c.ac + mac * (c.mac or 0.0)) * 1e-9

    def layer_energy(self, row: LayerRow) -> float | None:
        """Return the energy of one layer in mJ, mean over samples; None where its operations have no figure."""
        ac, mac = float(row.ac.mean()), float(row.mac.mean())
        return None if mac and self.cost.mac is None else self.cost.millijoules(ac, mac)

    @property
    def relu_energy(self) -> float | None:
        """Energy of the dense multiply-accumulates of the net with ReLU in mJ; None where they have no figure."""
        return None if self.cost.mac is None else self.cost.millijoules(0, self.relu_mac)

    @cached_property
    def statistics(self) -> dict[str, Statistics]:
        """Mean, median and confidence interval over samples of "ac", "mac" and "energy_mJ"."""
        ac, mac = self.totals()
        return {"ac": statistics(ac), "mac": statistics(mac), "energy_mJ": statistics(self.energy())}

    @property
    def dense(self) -> float:
        """Multiplications of a dense evaluation of what was counted, in bounds, mean over samples."""
        return sum(row.dense for row in self.layers)

    @property
    def traffic(self) -> Traffic:
        """Estimate of the bytes that move for one sample; `memory_traffic` says what is assumed."""
        return traffic(self.layers, self.neurons, self.cost.value_bytes)

    @property
    def relu_mac(self) -> float:
        """Multiply-accumulates of the same net with ReLU, dense, one pass without T; mean over samples."""
        return sum(row.once.dense for row in self.layers)

    @property
    def relu_traffic(self) -> ReluTraffic:
        """Estimate of the bytes that move for one sample of the net with ReLU."""
        return relu_traffic(self.layers, self.neurons, self.cost.value_bytes)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know beside the numbers, a sentence each."""
        found = [
            f"{row.name or '(net)'}: no operation, because its input never spikes (it is zero everywhere)"
            for row in self.layers
            if row.silent
        ]
        if self.cost.mac is None and (mac := self.statistics["mac"].mean):
            found.append(
                f"{self.cost.name} has no figure for a multiply-accumulate: {mac:,.0f} of them per sample are not in "
                "the energy"
            )
        if self.not_counted:
            found.append("what is named as not counted is in no total: the energy is a lower bound")
        if self.samples == 1:
            found.append("a single sample: no confidence interval can be given")
        if self.fewest_steps != self.steps:
            found.append(f"T differs between runs: {self.fewest_steps} to {self.steps}")
        if self.dataset is None:
            found.append("the data set was not named: report(dataset=...) names it")
        return tuple(found)

    def to_dict(self, per_sample: bool = False) -> dict[str, Any]:
        """Return plain numbers and words under stable keys (docs/energy.md lists them).

        Args:
            per_sample: also give the operations and the energy of each sample.
        """
        from .table import as_dict

        return as_dict(self, per_sample)

    def to_json(self, per_sample: bool = False) -> str:
        """Return ``to_dict`` as JSON."""
        return json.dumps(self.to_dict(per_sample), indent=2, allow_nan=False) + "\n"

    def __str__(self) -> str:
        from .table import as_text

        return as_text(self)


def _merged(uncounted: dict[tuple[str, str], str]) -> tuple[NotCounted, ...]:
    """Return a row for every operator and reason, with all its layers."""
    layers: dict[tuple[str, str], list[str]] = {}
    for (layer, operator), why in uncounted.items():
        layers.setdefault((operator, why), []).append(layer or "(net)")
    return tuple(NotCounted(tuple(names), operator, why) for (operator, why), names in layers.items())
