"""Spiking neurons: one class each, fused over time steps on the native engine.

``x_seq`` of a neuron in ``step_mode='m'`` is [T, B, *]; ``x`` in ``step_mode='s'`` is [B, *]. Names and defaults are
those that users of SpikingJelly (``IFNode``, ``LIFNode``, ``ParametricLIFNode``) and snnTorch (``Leaky``) know; where
behaviour differs the class says so.
"""

from .alif import ALIFNode
from .base import BaseNode
from .clif import ComplementaryLIFNode
from .integer import IELIFNode, IntegerLIFNode
from .integrate_fire import IFNode
from .klif import KLIFNode
from .leaky import Leaky
from .lif import LIFNode
from .nonlinear import EIFNode, IzhikevichNode, QIFNode
from .plif import ParametricLIFNode
from .stages import Stages
from .stbif import STBIFNode
from .ternary import TernaryIFNode, TernaryLIFNode
from .tslif import TSLIFNode

__all__ = [
    "NEURONS",
    "ALIFNode",
    "BaseNode",
    "ComplementaryLIFNode",
    "EIFNode",
    "IELIFNode",
    "IFNode",
    "IntegerLIFNode",
    "IzhikevichNode",
    "KLIFNode",
    "LIFNode",
    "Leaky",
    "ParametricLIFNode",
    "QIFNode",
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
    "qif": QIFNode,
    "eif": EIFNode,
    "izhikevich": IzhikevichNode,
    "klif": KLIFNode,
    "alif": ALIFNode,
}
