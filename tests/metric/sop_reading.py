"""What the tests of the counter read: operations per sample, layer by layer, whatever else a report holds."""

from __future__ import annotations

import torch
from torch import Tensor

from snncore.metric import SopCounter


def operations(sop: SopCounter, mode: str = "exact", **options: str) -> list[tuple[str, str, Tensor, Tensor]]:
    """Return (name, kind, accumulates [samples], multiply-accumulates [samples]) of every layer."""
    rows = sop.report(mode, **options).layers
    return [(row.name, row.kind, _per_sample(row.ac), _per_sample(row.mac)) for row in rows]


def _per_sample(counts: Tensor) -> Tensor:
    return counts.sum(0) if counts.dim() == 2 else counts


def total(sop: SopCounter, mode: str = "exact", **options: str) -> Tensor:
    """Return accumulates and multiply-accumulates of all layers together, [samples]."""
    return torch.stack([ac + mac for _, _, ac, mac in operations(sop, mode, **options)]).sum(0)


def per_step(sop: SopCounter, column: int = 0) -> dict[str, list[int]]:
    """Return name -> non-zero inputs of each step, summed over samples, runs and calls; static layers left out."""
    found: dict[str, Tensor] = {}
    for layer in sop.record.layers.values():
        steps = found.setdefault(layer.name, torch.zeros(max(sop.record.steps), dtype=torch.int64))
        for parts in layer.runs.values():
            for part in parts:
                if not part.static:
                    steps[part.step : part.step + part.counts.shape[0]] += part.counts[..., column].sum(1)
    return {name: steps.tolist() for name, steps in found.items()}


def same(a: SopCounter, b: SopCounter) -> bool:
    """Return whether two counters gathered the same: names, kinds, columns of every sample, steps, what is missing."""
    if list(a.record.layers) != list(b.record.layers) or a.record.uncounted != b.record.uncounted:
        return False
    one, other = (sop.report() for sop in (a, b))
    if (one.samples, one.steps) != (other.samples, other.steps):
        return False
    modes = ("exact", "spikingjelly", "unrolled", "paper", "syops")
    pairs = ((operations(a, mode), operations(b, mode)) for mode in modes)
    return all(
        torch.equal(x[2], y[2]) and torch.equal(x[3], y[3]) for xs, ys in pairs for x, y in zip(xs, ys, strict=True)
    )
