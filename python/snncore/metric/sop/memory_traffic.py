"""What an energy figure of operations leaves out: an estimate of the bytes that move, and the same net with ReLU.

Assumed, for one sample at a time (batch size 1):

- weights, biases among them, in two ways. Streamed: a layer reads all of its own once for every evaluation, that is
  once per time step, or once in all where its input is the same at every step and it is counted once. Fetched: every
  counted operation reads its own weight, as a machine driven by events does that keeps none of them;
- spikes: every neuron writes 1 bit per step, whether it fires or not; a layer reads its input at 1 bit per element
  where that is {0, 1}, 2 bits where it is {-1, 0, 1}, else as whole values;
- potentials: every neuron reads and writes each of its states once per step, and sums its input up where it computes;
- a value (weight, potential, activation) has ``EnergyCost.value_bytes``;
- batch norm, pooling and residual sums move nothing.

Nothing is kept near the arithmetic from one step to the next. Lemaire et al. (ICONIP 2022) and Dampfhoffer et al. (IEEE
TETCI 2023) model machines in more detail.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from .energy import MemoryCost
from .gather import LayerRow
from .record import NeuronRecord

__all__ = ["Neurons", "ReluTraffic", "Traffic", "relu_traffic", "traffic"]

_BITS = {"binary": 1, "ternary": 2}  # of an element; all others are whole values


@dataclass(frozen=True)
class Neurons:
    """Neurons per sample: ``updates`` over all steps, those of one step, and states ``kept`` over all steps."""

    updates: float
    per_step: float
    kept: float

    @classmethod
    def of(cls, records: Iterable[NeuronRecord], samples: int, steps: int) -> Neurons:
        """Sum ``records`` of ``samples`` samples that took ``steps`` steps together."""
        found = list(records)
        updates = sum(record.updates for record in found)
        kept = sum(record.updates * record.states for record in found)
        return cls(updates / samples, updates / steps, kept / samples)


@dataclass(frozen=True)
class Traffic:
    """Bytes that move for one sample of the spiking net, mean over samples.

    Attributes:
        weights_streamed, weights_fetched: read, in one way or the other.
        spikes_written, spikes_read: what passes between layers.
        potentials: states of the neurons, read and written.
    """

    weights_streamed: float
    weights_fetched: float
    spikes_written: float
    spikes_read: float
    potentials: float

    def millijoules(self, cost: MemoryCost, fetched: bool = False) -> float:
        """Return the energy of moving them in mJ, weights streamed or fetched."""
        weights = self.weights_fetched if fetched else self.weights_streamed
        spikes = self.spikes_written + self.spikes_read
        return (weights * cost.weights + spikes * cost.spikes + self.potentials * cost.potentials) * 1e-9

    def to_dict(self) -> dict[str, float]:
        """Return the attributes by name."""
        return asdict(self)


@dataclass(frozen=True)
class ReluTraffic:
    """Bytes that move for one sample of the net with ReLU: weights as in `Traffic`, activations written and read."""

    weights_streamed: float
    weights_fetched: float
    activations_written: float
    activations_read: float

    def millijoules(self, cost: MemoryCost, fetched: bool = False) -> float:
        """Return the energy of moving them in mJ, weights streamed or fetched."""
        weights = self.weights_fetched if fetched else self.weights_streamed
        return (weights * cost.weights + (self.activations_written + self.activations_read) * cost.spikes) * 1e-9

    def to_dict(self) -> dict[str, float]:
        """Return the attributes by name."""
        return asdict(self)


def traffic(rows: Iterable[LayerRow], neurons: Neurons, value_bytes: int) -> Traffic:
    """Estimate what moves for one sample of the spiking net."""
    streamed = fetched = bits = 0.0
    for row in rows:
        streamed += row.counted.weights
        if row.counted.weights:
            fetched += float((row.ac + row.mac).mean())
        for elements, values in zip((row.counted.inputs, row.counted.other_inputs), row.values, strict=False):
            bits += elements * _BITS.get(values, 8 * value_bytes)
    return Traffic(
        streamed * value_bytes, fetched * value_bytes, neurons.updates / 8, bits / 8, 2 * neurons.kept * value_bytes
    )


def relu_traffic(rows: Iterable[LayerRow], neurons: Neurons, value_bytes: int) -> ReluTraffic:
    """Estimate what moves for one sample of the same net with ReLU in place of its neurons, dense, in one pass."""
    streamed = fetched = read = 0.0
    for row in rows:
        streamed += row.once.weights
        fetched += row.once.dense if row.once.weights else 0.0
        read += row.once.inputs + row.once.other_inputs
    return ReluTraffic(
        streamed * value_bytes, fetched * value_bytes, neurons.per_step * value_bytes, read * value_bytes
    )
