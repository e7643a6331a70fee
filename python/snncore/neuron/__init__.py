"""Spiking neurons: one class each, fused over time steps on the native engine.

``x_seq`` of a neuron in ``step_mode='m'`` is [T, B, *]; ``x`` in ``step_mode='s'`` is [B, *]. Names and defaults are
those that users of SpikingJelly (``IFNode``, ``LIFNode``, ``ParametricLIFNode``) and snnTorch (``Leaky``) know; where
behaviour differs the class says so.
"""

from .alif import ALIFNode
from .alpha import Alpha
from .base import BaseNode
from .clif import ComplementaryLIFNode
from .cuba_lif import CUBALIFNode
from .glif import GatedLIFNode
from .ilif import ILIFNode
from .integer import IELIFNode, IntegerLIFNode
from .integrate_fire import HalfThresholdIFNode, IFNode
from .klif import KLIFNode
from .lapicque import Lapicque
from .leaky import Leaky
from .lif import LIFNode
from .ltmd import LTMDNode
from .non_spiking import READOUTS, NonSpikingIFNode, NonSpikingLIFNode, NonSpikingNode
from .nonlinear import EIFNode, IzhikevichNode, QIFNode
from .online import OTTTLIFNode, SLTTLIFNode
from .plif import ParametricLIFNode
from .psn import PSN, MaskedPSN, SlidingPSN
from .raf import RAFNode
from .rplif import RPLIFNode
from .stages import Stages
from .stbif import STBIFNode
from .synaptic import Synaptic
from .ternary import TernaryIFNode, TernaryLIFNode
from .tslif import TSLIFNode

__all__ = [
    "NEURONS",
    "ONLINE_NEURONS",
    "PARALLEL_NEURONS",
    "PSN",
    "READOUTS",
    "ALIFNode",
    "Alpha",
    "BaseNode",
    "CUBALIFNode",
    "ComplementaryLIFNode",
    "EIFNode",
    "GatedLIFNode",
    "HalfThresholdIFNode",
    "IELIFNode",
    "IFNode",
    "ILIFNode",
    "IntegerLIFNode",
    "IzhikevichNode",
    "KLIFNode",
    "LIFNode",
    "LTMDNode",
    "Lapicque",
    "Leaky",
    "MaskedPSN",
    "NonSpikingIFNode",
    "NonSpikingLIFNode",
    "NonSpikingNode",
    "OTTTLIFNode",
    "ParametricLIFNode",
    "QIFNode",
    "RAFNode",
    "RPLIFNode",
    "SLTTLIFNode",
    "STBIFNode",
    "SlidingPSN",
    "Stages",
    "Synaptic",
    "TSLIFNode",
    "TernaryIFNode",
    "TernaryLIFNode",
]

# the names of `snncore-train --neuron`
NEURONS: dict[str, type[BaseNode]] = {
    "if": IFNode,
    "lif": LIFNode,
    "plif": ParametricLIFNode,
    "leaky": Leaky,
    "ternary_if": TernaryIFNode,
    "ternary_lif": TernaryLIFNode,
    "integer_lif": IntegerLIFNode,
    "ielif": IELIFNode,
    "clif": ComplementaryLIFNode,
    "tslif": TSLIFNode,
    "stbif": STBIFNode,
    "cubalif": CUBALIFNode,
    "synaptic": Synaptic,
    "alpha": Alpha,
    "lapicque": Lapicque,
    "raf": RAFNode,
    "rplif": RPLIFNode,
    "ilif": ILIFNode,
    "glif": GatedLIFNode,
    "ltmd": LTMDNode,
    "half_threshold_if": HalfThresholdIFNode,
    "qif": QIFNode,
    "eif": EIFNode,
    "izhikevich": IzhikevichNode,
    "klif": KLIFNode,
    "alif": ALIFNode,
}

# whose gradient stays within a step, for training online
ONLINE_NEURONS: dict[str, type[BaseNode]] = {
    "ottt": OTTTLIFNode,
    "sltt": SLTTLIFNode,
}

# without recursion over time, and built for a number of steps: a table of their own
PARALLEL_NEURONS: dict[str, type[BaseNode]] = {
    "psn": PSN,
    "masked_psn": MaskedPSN,
    "sliding_psn": SlidingPSN,
}
