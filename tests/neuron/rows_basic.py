"""IF, LIF, PLIF and Leaky."""

from __future__ import annotations

from typing import Any

import torch

from neuron.row import CHANNELS, Row, with_resets
from snncore.neuron import IFNode, Leaky, LIFNode, ParametricLIFNode

# the equations of the BaseNodes with a reset of their own choice
CHARGES = [
    Row("if", IFNode),
    Row("lif", LIFNode, {"tau": 1.6}),
    Row("lif-no_decay_input", LIFNode, {"tau": 2.5, "decay_input": False}),
    Row("lif-v_rest", LIFNode, {"tau": 2.0, "v_rest": -0.375}),
    Row("lif-no_decay_input-v_rest", LIFNode, {"tau": 3.0, "decay_input": False, "v_rest": 0.125}),
    Row("plif", ParametricLIFNode, {"init_tau": 1.7}),
    Row("plif-no_decay_input", ParametricLIFNode, {"init_tau": 2.2, "decay_input": False, "v_rest": -0.125}),
    Row("plif-channels", ParametricLIFNode, {"channels": CHANNELS}, ("w", (0.4, -0.3, -1.1))),
    Row(
        "plif-channels-no_decay_input",
        ParametricLIFNode,
        {"channels": CHANNELS, "decay_input": False, "v_rest": 0.25},
        ("w", (0.1, -0.7, 0.9)),
    ),
]

# Leaky brings its resets along: mechanism x timing x kinds of beta
BETAS: dict[str, dict[str, Any]] = {
    "beta": {"beta": 0.8},
    "learn_beta": {"beta": 0.7, "learn_beta": True},
    "betas": {"beta": torch.tensor([0.9, 0.35, 0.6])},
    "learn_betas": {"beta": torch.tensor([0.85, 0.2, 0.5]), "learn_beta": True},
}
LEAKY = [
    Row(
        f"leaky-{mechanism}-{'delayed' if delay else 'at_once'}-{beta}",
        Leaky,
        {"reset_mechanism": mechanism, "reset_delay": delay, **arguments},
    )
    for mechanism in ("subtract", "zero", "none")
    for delay in ((True, False) if mechanism != "none" else (True,))
    for beta, arguments in BETAS.items()
]

ROWS = [*with_resets(CHARGES), *LEAKY]
