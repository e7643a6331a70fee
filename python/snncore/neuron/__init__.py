"""Spiking neurons: one class each, fused over time steps on the native engine.

``x_seq`` of a neuron in ``step_mode='m'`` is [T, B, *]; ``x`` in ``step_mode='s'`` is [B, *]. Names and defaults are
those that users of SpikingJelly (``IFNode``, ``LIFNode``, ``ParametricLIFNode``) and snnTorch (``Leaky``) know; where
behaviour differs the class says so.
"""

from .base import BaseNode
from .clif import ComplementaryLIFNode
from .glif import GatedLIFNode
from .ilif import ILIFNode
from .integer import IELIFNode, IntegerLIFNode
from .integrate_fire import HalfThresholdIFNode, IFNode
from .leaky import Leaky
from .lif import LIFNode
from .ltmd import LTMDNode
from .non_spiking import READOUTS, NonSpikingIFNode, NonSpikingLIFNode, NonSpikingNode
from .plif import ParametricLIFNode
from .rplif import RPLIFNode
from .stages import Stages
from .stbif import STBIFNode
from .ternary import TernaryIFNode, TernaryLIFNode
from .tslif import TSLIFNode

__all__ = [
    "NEURONS",
    "READOUTS",
    "BaseNode",
    "ComplementaryLIFNode",
    "GatedLIFNode",
    "HalfThresholdIFNode",
    "IELIFNode",
    "IFNode",
    "ILIFNode",
    "IntegerLIFNode",
    "LIFNode",
    "LTMDNode",
    "Leaky",
    "NonSpikingIFNode",
    "NonSpikingLIFNode",
    "NonSpikingNode",
    "ParametricLIFNode",
    "RPLIFNode",
    "STBIFNode",
    "Stages",
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
    "rplif": RPLIFNode,
    "ilif": ILIFNode,
    "glif": GatedLIFNode,
    "ltmd": LTMDNode,
    "half_threshold_if": HalfThresholdIFNode,
}
