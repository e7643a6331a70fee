"""What is measured of a net: counters are objects with a ``with`` block that leave nothing behind."""

from __future__ import annotations

from .accuracy import Accuracy, hits
from .activity import Activity
from .activity_report import ActivityReport, LayerActivity
from .classification import Classification, ClassificationReport
from .firing_rate import FiringRate
from .membrane import LayerUpdates, MembraneReport, MembraneUpdates
from .memory import PeakMemory, peak_memory
from .neuron_operations import operations_per_update
from .size import ConnectionSparsity, LayerConnections, connection_sparsity, footprint, parameter_count
from .sop import SopCounter
from .timing import Latency, LatencyRow, latency

__all__ = [
    "Accuracy",
    "Activity",
    "ActivityReport",
    "Classification",
    "ClassificationReport",
    "ConnectionSparsity",
    "FiringRate",
    "Latency",
    "LatencyRow",
    "LayerActivity",
    "LayerConnections",
    "LayerUpdates",
    "MembraneReport",
    "MembraneUpdates",
    "PeakMemory",
    "SopCounter",
    "connection_sparsity",
    "footprint",
    "hits",
    "latency",
    "operations_per_update",
    "parameter_count",
    "peak_memory",
]
