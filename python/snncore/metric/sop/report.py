"""What was counted, as one of the views, per layer, step and sample; and its energy."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...errors import ArgumentError
from ...registry import lookup
from .energy import EnergyCost, energy_cost
from .record import LayerRecord, Record, ValueClass, value_class
from .views import VIEWS

__all__ = ["LayerRow", "Report"]

_FIRST = ("once", "every_step")


@dataclass(frozen=True)
class LayerRow:
    """One operator of one layer; numbers are per sample (all its steps), means over samples unless said otherwise.

    Attributes:
        name, kind: the module's name in the net, and "conv", "linear" or "matmul".
        values: the class of its input(s): "binary", "ternary", "integer", "real".
        ac, mac: float64 [samples], accumulates and multiply-accumulates of each sample.
        per_step: float64 [T], accumulates and multiply-accumulates of each step, mean over samples.
        dense: multiplications of a dense evaluation, in bounds.
        rate: share of input elements that are not zero.
        static: True if it was computed once for all steps.
    """

    name: str
    kind: str
    values: tuple[ValueClass, ...]
    ac: Tensor
    mac: Tensor
    per_step: Tensor
    dense: float
    rate: float
    static: bool


@dataclass(frozen=True)
class Report:
    """Counts in one view.

    Attributes:
        mode: one of ``exact``, ``spikingjelly``, ``paper``, ``syops``, ``unrolled`` (their docstrings define them).
        first_layer: "once": what is computed on a static input counts once; "every_step": T times.
        samples, steps: how many samples were seen, and T.
        layers: a row per operator, in the order of the first run.
        uncounted: (layer, operator) -> why it is not in these numbers.
    """

    mode: str
    first_layer: str
    samples: int
    steps: int
    layers: tuple[LayerRow, ...]
    uncounted: dict[tuple[str, str], str] = field(default_factory=dict)

    @classmethod
    def of(cls, counter: Record, mode: str = "exact", first_layer: str = "once") -> Report:
        """Make a report of what ``counter`` gathered."""
        view = lookup(VIEWS, mode, "SopCounter.report.mode")
        if first_layer not in _FIRST:
            raise ArgumentError(
                f"SopCounter.report.first_layer: must be 'once' or 'every_step', got {first_layer!r}; pass one of them"
            )
        rows = [_row(layer, counter, view, first_layer) for layer in counter.layers.values()]
        steps = max(counter.steps, default=0)
        return cls(mode, first_layer, sum(counter.samples), steps, tuple(rows), dict(counter.uncounted))

    def totals(self) -> tuple[Tensor, Tensor]:
        """Return accumulates and multiply-accumulates of each sample, float64 [samples]."""
        zero = torch.zeros(self.samples, dtype=torch.float64)
        return sum((r.ac for r in self.layers), zero), sum((r.mac for r in self.layers), zero)

    def energy(self, cost: str | EnergyCost = "fp32") -> Tensor:
        """Return the energy of each sample in mJ, float64 [samples]: ac * e_ac + mac * e_mac, nothing else."""
        c, (ac, mac) = energy_cost(cost), self.totals()
        return (ac * c.ac + mac * c.mac) * 1e-9

    def summary(self, cost: str | EnergyCost = "fp32") -> dict[str, Any]:
        """Return plain numbers: per sample mean, median and half width of the 95 % confidence interval."""
        ac, mac = self.totals()
        return {
            "mode": self.mode, "first_layer": self.first_layer, "samples": self.samples, "T": self.steps,
            "ac": _statistics(ac), "mac": _statistics(mac), "energy_mJ": _statistics(self.energy(cost)),
            "energy_source": energy_cost(cost).source,
            "layers": [
                {
                    "name": r.name, "kind": r.kind, "values": list(r.values), "ac": float(r.ac.mean()),
                    "mac": float(r.mac.mean()), "dense": r.dense, "rate": r.rate, "per_step": r.per_step.tolist(),
                    "static": r.static,
                }
                for r in self.layers
            ],
            "uncounted": [{"name": n, "operator": o, "why": why} for (n, o), why in self.uncounted.items()],
        }  # fmt: skip

    def __str__(self) -> str:
        s = self.summary()
        lines = [f"{'layer':<24}{'kind':<8}{'input':<10}{'rate':>7}{'AC':>14}{'MAC':>14}{'dense':>14}"]
        for r in self.layers:
            name = (r.name or "(net)") + (" (once)" if r.static and self.first_layer == "once" else "")
            numbers = f"{float(r.ac.mean()):>14,.0f}{float(r.mac.mean()):>14,.0f}{r.dense:>14,.0f}"
            lines.append(f"{name:<24}{r.kind:<8}{'x'.join(r.values):<10}{r.rate:>7.3f}{numbers}")
        lines += [f"{n or '(net)':<24}{o}: not counted: {why}" for (n, o), why in self.uncounted.items()]
        e = s["energy_mJ"]
        lines.append(
            f"per sample: {s['ac']['mean']:,.0f} AC, {s['mac']['mean']:,.0f} MAC; energy {e['mean']:.6f} mJ "
            f"(median {e['median']:.6f}, 95 % +- {e['ci95']:.6f})"
        )
        lines.append(
            f"mode {self.mode}, T={self.steps}, {self.samples} samples, static layers counted "
            f"{'once' if self.first_layer == 'once' else 'at every step'}; {s['energy_source']}; operations only, no memory"
        )
        return "\n".join(lines)


def _row(layer: LayerRecord, counter: Record, view: Any, first_layer: str) -> LayerRow:
    columns = (3, 4) if layer.kind == "matmul" else (5,)
    classes = tuple(value_class(layer.flags(c)) for c in columns)
    ac, mac, dense, nonzero, inputs = [], [], 0.0, 0, 0
    per_step = torch.zeros(max(counter.steps), dtype=torch.float64)
    for run, B in enumerate(counter.samples):
        sums = [torch.zeros(B, dtype=torch.float64), torch.zeros(B, dtype=torch.float64)]
        for part in layer.runs.get(run, []):
            repeat = part.T if part.static and first_layer == "every_step" else 1
            both = [v.cpu() * repeat for v in view(part, classes)]
            for total, v in zip(sums, both, strict=True):
                total += v.sum(0)
            of_steps = sum(v.sum(1) for v in both)
            if part.static:
                per_step[: part.T] += of_steps / part.T
            else:
                per_step[part.step : part.step + len(of_steps)] += of_steps
            elements = part.counts.shape[0] * B * repeat
            dense += elements * part.geometry.dense
            nonzero += int(part.counts[..., 1 if layer.kind == "matmul" else 0].sum()) * repeat
            inputs += elements * part.geometry.inputs
        ac.append(sums[0])
        mac.append(sums[1])
    samples = max(sum(counter.samples), 1)
    static = all(part.static for parts in layer.runs.values() for part in parts)
    return LayerRow(
        layer.name, layer.kind, classes, torch.cat(ac), torch.cat(mac), per_step / samples, dense / samples,
        nonzero / max(inputs, 1), static,
    )  # fmt: skip


def _statistics(values: Tensor) -> dict[str, float]:
    n = len(values)
    spread = float(values.std()) if n > 1 else 0.0
    return {
        "mean": float(values.mean()) if n else 0.0,
        "median": float(values.quantile(0.5)) if n else 0.0,
        "ci95": 1.96 * spread / math.sqrt(n) if n else 0.0,
    }
