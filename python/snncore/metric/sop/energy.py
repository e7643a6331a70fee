"""Energy per operation, and what a count of operations leaves out."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import ArgumentError
from ...registry import lookup

__all__ = ["ENERGY", "EnergyCost", "energy_cost"]


@dataclass(frozen=True)
class EnergyCost:
    """Energy of one operation in picojoules.

    Attributes:
        ac: an accumulate (addition).
        mac: a multiply-accumulate.
        source: where the figures come from.
    """

    ac: float
    mac: float
    source: str

    def __post_init__(self) -> None:
        for name in ("ac", "mac"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
                raise ArgumentError(f"EnergyCost.{name}: must be a number of picojoules >= 0, got {value!r}; pass one")

    def millijoules(self, ac: float, mac: float) -> float:
        """Return the energy of ``ac`` accumulates and ``mac`` multiply-accumulates, in mJ."""
        return (ac * self.ac + mac * self.mac) * 1e-9


_HOROWITZ = "45 nm, 0.9 V (Horowitz, ISSCC 2014)"

# a multiply-accumulate is a multiplication and an addition
ENERGY: dict[str, EnergyCost] = {
    "fp32": EnergyCost(ac=0.9, mac=3.7 + 0.9, source=f"32-bit floating point, {_HOROWITZ}"),
    "fp16": EnergyCost(ac=0.4, mac=1.1 + 0.4, source=f"16-bit floating point, {_HOROWITZ}"),
    "int32": EnergyCost(ac=0.1, mac=3.1 + 0.1, source=f"32-bit integers, {_HOROWITZ}"),
    "int8": EnergyCost(ac=0.03, mac=0.2 + 0.03, source=f"8-bit integers, {_HOROWITZ}"),
}


def energy_cost(cost: str | EnergyCost) -> EnergyCost:
    """Return a preset by name, or ``cost`` itself.

    Raises:
        ArgumentError: no such preset; the message lists them.
    """
    return cost if isinstance(cost, EnergyCost) else lookup(ENERGY, cost, "energy")
