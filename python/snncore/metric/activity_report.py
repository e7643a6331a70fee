"""Firing rate and activation sparsity, per layer and time step, from counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

__all__ = ["ActivityReport", "LayerActivity"]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


@dataclass(frozen=True)
class LayerActivity:
    """What one layer did.

    Attributes:
        kind: class of the module.
        neurons: shape of one sample's output at one time step (of the last call, where it changed).
        samples: sequences that were seen.
        spikes: outputs that were not 0, one whole number per time step.
        elements: all outputs, one whole number per time step; samples x neurons where every sequence was that long.
        rasters: the first samples, one bool [T, n] each, on the CPU; n neurons chosen by ``raster_neurons``.
        raster_neurons: int64 [n], which of the neurons (counted row by row) the rasters show.
    """

    kind: str
    neurons: tuple[int, ...]
    samples: int
    spikes: tuple[int, ...]
    elements: tuple[int, ...]
    rasters: tuple[Tensor, ...] = field(default=(), compare=False)
    raster_neurons: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64), compare=False)

    @property
    def firing_rate(self) -> float:
        """The share of (sample, neuron, time step) with an output other than 0, in [0, 1]."""
        return _share(sum(self.spikes), sum(self.elements))

    @property
    def sparsity(self) -> float:
        """The share of outputs that were 0, in [0, 1]: activation sparsity."""
        return _share(sum(self.elements) - sum(self.spikes), sum(self.elements))

    @property
    def firing_rate_per_step(self) -> list[float]:
        """As ``firing_rate``, for each time step."""
        return [_share(fired, all_) for fired, all_ in zip(self.spikes, self.elements, strict=True)]

    @property
    def sparsity_per_step(self) -> list[float]:
        """As ``sparsity``, for each time step."""
        return [_share(all_ - fired, all_) for fired, all_ in zip(self.spikes, self.elements, strict=True)]


@dataclass(frozen=True)
class ActivityReport:
    """What ``Activity`` saw: ``layers``, by module name in the net's order, those that ran."""

    layers: dict[str, LayerActivity]

    @property
    def spikes(self) -> int:
        """Outputs that were not 0, over all layers, steps and samples."""
        return sum(sum(layer.spikes) for layer in self.layers.values())

    @property
    def elements(self) -> int:
        """All outputs, over all layers, steps and samples."""
        return sum(sum(layer.elements) for layer in self.layers.values())

    @property
    def firing_rate(self) -> float:
        """Spikes over outputs of all layers, steps and samples together, in [0, 1]."""
        return _share(self.spikes, self.elements)

    @property
    def sparsity(self) -> float:
        """Zeros over outputs of all layers, steps and samples together, in [0, 1]: NeuroBench's ActivationSparsity."""
        return _share(self.elements - self.spikes, self.elements)

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers for JSON; without the rasters."""
        rows = {
            name: {
                "kind": layer.kind,
                "neurons": list(layer.neurons),
                "samples": layer.samples,
                "spikes": list(layer.spikes),
                "elements": list(layer.elements),
                "firing_rate": layer.firing_rate,
                "sparsity": layer.sparsity,
                "firing_rate_per_step": layer.firing_rate_per_step,
            }
            for name, layer in self.layers.items()
        }
        return {"firing_rate": self.firing_rate, "sparsity": self.sparsity, "layers": rows}
