"""Synaptic operations: exact counts of a running net, views of them, energy."""

from __future__ import annotations

from .counter import SopCounter
from .energy import ENERGY, EnergyCost
from .report import LayerRow, Report
from .views import VIEWS

__all__ = ["ENERGY", "VIEWS", "EnergyCost", "LayerRow", "Report", "SopCounter"]
