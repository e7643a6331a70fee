"""Spiking neurons: one class each, fused over time steps on the native engine.

``x_seq`` of a neuron in ``step_mode='m'`` is [T, B, *]; ``x`` in ``step_mode='s'`` is [B, *]. Names and defaults are
those that users of SpikingJelly (``IFNode``, ``LIFNode``, ``ParametricLIFNode``) and snnTorch (``Leaky``) know; where
behaviour differs the class says so.
"""

from .base import BaseNode
from .integrate_fire import IFNode
from .leaky import Leaky
from .lif import LIFNode
from .online import OTTTLIFNode, SLTTLIFNode
from .plif import ParametricLIFNode
from .psn import PSN, MaskedPSN, SlidingPSN
from .stages import Stages

__all__ = [
    "NEURONS",
    "PARALLEL_NEURONS",
    "PSN",
    "BaseNode",
    "IFNode",
    "LIFNode",
    "Leaky",
    "MaskedPSN",
    "OTTTLIFNode",
    "ParametricLIFNode",
    "SLTTLIFNode",
    "SlidingPSN",
    "Stages",
]

# the names of `snncore-train --neuron`
NEURONS: dict[str, type[BaseNode]] = {
    "if": IFNode,
    "lif": LIFNode,
    "plif": ParametricLIFNode,
    "leaky": Leaky,
    "sltt": SLTTLIFNode,
}

# without recursion over time, and built for a number of steps: a table of their own
PARALLEL_NEURONS: dict[str, type[BaseNode]] = {
    "psn": PSN,
    "masked_psn": MaskedPSN,
    "sliding_psn": SlidingPSN,
}
