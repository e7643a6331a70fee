"""Energy per operation and per byte moved: published figures, each with its source, and the user's own."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...errors import ArgumentError
from ...registry import lookup

__all__ = ["ENERGY", "MEMORY", "EnergyCost", "MemoryCost", "energy_cost", "memory_cost"]

_MJ_PER_PJ = 1e-9  # millijoules in a picojoule


@dataclass(frozen=True)
class EnergyCost:
    """Energy of one operation in picojoules.

    Attributes:
        ac: an accumulate (addition).
        mac: a multiply-accumulate; None where no figure is known: then those operations have no energy here, and the
            report says how many they are.
        source: where the figures come from.
        name: what reports call it.
        value_bytes: bytes of a weight, a potential and a value that is no spike, for the memory estimate.
        memory_included: True if the figures are of a whole synaptic event, its memory included.

    Raises:
        ArgumentError: a figure is not a finite number >= 0, or ``value_bytes`` is not a positive integer.
    """

    ac: float
    mac: float | None
    source: str
    name: str = "user's own"
    value_bytes: int = 4
    memory_included: bool = False

    def __post_init__(self) -> None:
        _check_figure("EnergyCost.ac", self.ac)
        if self.mac is not None:
            _check_figure("EnergyCost.mac", self.mac)
        if isinstance(self.value_bytes, bool) or not isinstance(self.value_bytes, int) or self.value_bytes < 1:
            raise ArgumentError(
                f"EnergyCost.value_bytes: must be a positive integer, got {self.value_bytes!r}; pass 4 for float32, say"
            )

    def millijoules(self, ac: float, mac: float) -> float:
        """Return the energy of ``ac`` accumulates and ``mac`` multiply-accumulates, in mJ."""
        return (ac * self.ac + mac * (self.mac or 0.0)) * _MJ_PER_PJ


@dataclass(frozen=True)
class MemoryCost:
    """Energy of moving one byte, in picojoules.

    Attributes:
        weights: reading weights.
        spikes: writing and reading what passes between layers, spikes or, of a ReLU net, activations.
        potentials: reading and writing the states of the neurons.
        source: where the figures come from.
        name: what reports call it.

    Raises:
        ArgumentError: a figure is not a finite number >= 0.
    """

    weights: float
    spikes: float
    potentials: float
    source: str
    name: str = "user's own"

    def __post_init__(self) -> None:
        for name in ("weights", "spikes", "potentials"):
            _check_figure(f"MemoryCost.{name}", getattr(self, name))


def _check_figure(who: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ArgumentError(f"{who}: must be a finite number of picojoules >= 0, got {value!r}; pass one")


_HOROWITZ = "45 nm, 0.9 V (Horowitz, ISSCC 2014)"

# a multiply-accumulate is a multiplication and an addition
ENERGY: dict[str, EnergyCost] = {
    "fp32": EnergyCost(0.9, 3.7 + 0.9, f"32-bit floating point, {_HOROWITZ}", "fp32", 4),
    "fp16": EnergyCost(0.4, 1.1 + 0.4, f"16-bit floating point, {_HOROWITZ}", "fp16", 2),
    "int32": EnergyCost(0.1, 3.1 + 0.1, f"32-bit integers, {_HOROWITZ}", "int32", 4),
    "int8": EnergyCost(0.03, 0.2 + 0.03, f"8-bit integers, {_HOROWITZ}", "int8", 1),
    # chips: a whole synaptic event, its memory included; what is not driven by spikes they do not do. They are not
    # alike: an estimate, all of a chip's power shared out over its events, and a measured increment.
    "loihi": EnergyCost(
        23.6, None, "one synaptic operation of Loihi, 14 nm, pre-silicon figure (Davies et al., IEEE Micro 2018)",
        "loihi", 1, True,
    ),
    "truenorth": EnergyCost(
        26.0, None, "one synaptic event of TrueNorth, 28 nm, all power of the chip at 20 Hz, 128 synapses per neuron "
        "(Merolla et al., Science 2014)", "truenorth", 1, True,
    ),
    "darwin3": EnergyCost(
        5.47, None, "one synaptic operation of Darwin3, 22 nm, measured mean (Ma et al., National Science Review 2024)",
        "darwin3", 1, True,
    ),
}  # fmt: skip

# Horowitz gives the energy of one access of 64 bits: caches of 8 KB 10 pJ, 32 KB 20 pJ, 1 MB 100 pJ; DRAM 1.3 to 2.6 nJ
_CACHE, _SMALL, _DRAM = 100 / 8, 10 / 8, 1300 / 8
MEMORY: dict[str, MemoryCost] = {
    "on_chip": MemoryCost(
        _CACHE, _CACHE, _CACHE, f"everything in a 1 MB cache, 100 pJ per 64-bit access, {_HOROWITZ}", "on_chip"
    ),
    "dram": MemoryCost(
        _DRAM, _CACHE, _CACHE,
        f"weights in DRAM, 1.3 nJ per 64-bit access (the low end), the rest in a 1 MB cache, {_HOROWITZ}", "dram",
    ),
    "small_cache": MemoryCost(
        _SMALL, _SMALL, _SMALL, f"everything in 8 KB caches, 10 pJ per 64-bit access, {_HOROWITZ}", "small_cache"
    ),
}  # fmt: skip


def energy_cost(cost: str | EnergyCost) -> EnergyCost:
    """Return a preset of ``ENERGY`` by name, or ``cost`` itself.

    Raises:
        ArgumentError: no such preset; the message lists them.
    """
    return cost if isinstance(cost, EnergyCost) else lookup(ENERGY, cost, "energy cost")


def memory_cost(cost: str | MemoryCost) -> MemoryCost:
    """Return a preset of ``MEMORY`` by name, or ``cost`` itself.

    Raises:
        ArgumentError: no such preset; the message lists them.
    """
    return cost if isinstance(cost, MemoryCost) else lookup(MEMORY, cost, "memory cost")
