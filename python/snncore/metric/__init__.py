"""What is measured of a net: counters are objects with a ``with`` block that leave nothing behind."""

from __future__ import annotations

from .accuracy import Accuracy, hits
from .activity import Activity, ActivityReport, LayerActivity
from .firing_rate import FiringRate
from .membrane import LayerUpdates, MembraneReport, MembraneUpdates
from .neuron_operations import operations_per_update
from .size import ConnectionSparsity, LayerConnections, connection_sparsity, footprint, parameter_count

__all__ = [
    "Accuracy",
    "Activity",
    "ActivityReport",
    "ConnectionSparsity",
    "FiringRate",
    "LayerActivity",
    "LayerConnections",
    "LayerUpdates",
    "MembraneReport",
    "MembraneUpdates",
    "connection_sparsity",
    "footprint",
    "hits",
    "operations_per_update",
    "parameter_count",
]
