"""v_threshold and the surrogate's alpha as tensors: of one number or one per channel, fixed or learned."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from neuron.row import V_THRESHOLD, Row
from snncore.neuron import IFNode, Leaky, LIFNode

CHANNELWISE = torch.tensor([0.75, 0.5, 1.0])

# name -> v_threshold; copied for every neuron that is made of it
THRESHOLDS: dict[str, torch.Tensor] = {
    "fixed": torch.tensor(V_THRESHOLD),
    "fixed_channels": CHANNELWISE,
    "learned": nn.Parameter(torch.tensor(V_THRESHOLD)),
    "learned_channels": nn.Parameter(CHANNELWISE.clone()),
}
NODES: dict[str, tuple[type, dict[str, Any]]] = {
    "if-hard": (IFNode, {"v_reset": 0.0}),
    "if-soft": (IFNode, {"v_reset": None}),
    "lif-hard-0.25": (LIFNode, {"tau": 1.6, "v_reset": -0.25}),
    "lif-soft": (LIFNode, {"tau": 1.6, "decay_input": False, "v_reset": None}),
    "leaky-zero": (Leaky, {"beta": 0.8, "reset_mechanism": "zero", "reset_delay": False}),
    "leaky-subtract": (Leaky, {"beta": 0.8, "reset_mechanism": "subtract", "reset_delay": False}),
    "leaky-zero-delayed": (Leaky, {"beta": 0.8, "reset_mechanism": "zero"}),
    "leaky-subtract-delayed": (Leaky, {"beta": 0.8, "reset_mechanism": "subtract"}),
}
# what one of them is not seen with: the rate of LIF, the decay of Leaky
OWN: dict[str, tuple[type, dict[str, Any]]] = {
    "lif-tau": (LIFNode, {"tau": torch.tensor(1.6)}),
    "lif-tau_channels": (LIFNode, {"tau": torch.tensor([1.6, 2.5, 1.2]), "v_reset": None}),
    "lif-learned_tau": (LIFNode, {"tau": nn.Parameter(torch.tensor(1.6)), "decay_input": False}),
    "lif-learned_tau_channels": (LIFNode, {"tau": nn.Parameter(torch.tensor([1.6, 2.5, 1.2]))}),
}

# the surrogate matters to the gradient of alpha; elsewhere one smooth, one with corners and one without end will do
SOME = ("atan", "piecewise_quadratic", "super_spike")

ROWS = [
    *(
        Row(f"{name}-v_threshold_{kind}", node, {**arguments, "v_threshold": v_threshold}, only=SOME)
        for name, (node, arguments) in NODES.items()
        for kind, v_threshold in THRESHOLDS.items()
    ),
    *(
        Row(f"{name}-alpha_{kind}", node, arguments, alpha=kind, only=only)
        for name, (node, arguments) in NODES.items()
        for kind, only in {
            "fixed": SOME,
            "fixed_channels": SOME,
            "learned": None if node is LIFNode else SOME,
            "learned_channels": None if node is IFNode else SOME,
        }.items()
    ),
    *(Row(name, node, arguments, only=SOME) for name, (node, arguments) in OWN.items()),
    Row(
        "lif-all_learned_channels",
        LIFNode,
        {"tau": nn.Parameter(torch.tensor([1.6, 2.5, 1.2])), "v_threshold": THRESHOLDS["learned_channels"]},
        alpha="learned_channels",
        only=SOME,
    ),
    Row(
        "leaky-all_learned",
        Leaky,
        {"beta": torch.tensor([0.85, 0.2, 0.5]), "learn_beta": True, "v_threshold": THRESHOLDS["learned"]},
        alpha="learned",
        only=SOME,
    ),
]
