"""Synaptic operations: exact counts of a running net, views of them, energy."""

from __future__ import annotations

from .counter import SopCounter
from .energy import ENERGY, MEMORY, EnergyCost, MemoryCost
from .report import LayerRow, NotCounted, Report
from .views import VIEWS

__all__ = [
    "ENERGY", "MEMORY", "VIEWS", "EnergyCost", "LayerRow", "MemoryCost", "NotCounted", "Report", "SopCounter",
]  # fmt: skip
