"""What is measured of a net: counters are objects with a ``with`` block that leave nothing behind."""

from __future__ import annotations

from .accuracy import Accuracy, hits
from .firing_rate import FiringRate

__all__ = ["Accuracy", "FiringRate", "hits"]
