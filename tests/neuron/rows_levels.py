"""Spikes that are ternary, counts or weighted sums, and CLIF: ternary IF and LIF, I-LIF, IE-LIF, TS-LIF, ST-BIF."""

from __future__ import annotations

import torch
from torch import nn

from neuron.row import Row, with_resets
from snncore.neuron import (
    ComplementaryLIFNode,
    IELIFNode,
    IntegerLIFNode,
    STBIFNode,
    TernaryIFNode,
    TernaryLIFNode,
    TSLIFNode,
)

AMPLITUDES = nn.Parameter(torch.tensor([0.6, 1.1, -0.4]))
# two surrogates in the gradient of every step, one of them far from its threshold
BOTH_SIDES = {"error": 2.0}
TERNARY = [
    Row("ternary_if", TernaryIFNode, {"amplitude": nn.Parameter(torch.tensor(0.7))}, **BOTH_SIDES),
    Row("ternary_lif", TernaryLIFNode, {"tau": 1.6}, **BOTH_SIDES),
    Row(
        "ternary_lif-no_decay_input",
        TernaryLIFNode,
        {"tau": nn.Parameter(torch.tensor(2.5)), "decay_input": False, "v_rest": 0.125, "amplitude": AMPLITUDES},
        **BOTH_SIDES,
    ),
]

# gradients of single numbers, whose sums over the lanes cancel
SUMS = {"error": 4.0}
INTEGER = [
    Row("integer_lif", IntegerLIFNode),
    Row("integer_lif-normalize", IntegerLIFNode, {"levels": 3, "tau": 2.5, "normalize": True}),
    Row(
        "integer_lif-learn",
        IntegerLIFNode,
        {"levels": 2, "tau": nn.Parameter(torch.tensor(1.75)), "v_threshold": nn.Parameter(torch.tensor(0.75))},
    ),
    Row("ielif", IELIFNode),
    Row("ielif-tau", IELIFNode, {"levels": 3, "scale": 0.5, "tau": nn.Parameter(torch.tensor(1.5))}, **SUMS),
    Row("ielif-learn", IELIFNode, {"levels": 5, "v_threshold": nn.Parameter(torch.tensor([0.75, 1.5, 2.5]))}),
]

# no two alike, and none what it starts as
D = (0.7, 0.9, 0.35, 0.6)
TSLIF = [
    Row("tslif", TSLIFNode, {"decay": D, "k": 0.3, "y": 0.15, "alpha_s": 0.75, "gamma": 0.4}, **SUMS),
    Row(
        "tslif-features",
        TSLIFNode,
        {"decay": D, "k": 0.2, "y": -0.1, "alpha_s": torch.tensor([0.9, 0.5, 2.0]), "alpha_l": AMPLITUDES},
        **SUMS,
    ),
    Row("tslif-fixed", TSLIFNode, {"decay": D, "k": 0.1, "learn": False}),
]

# the core's own exp is not torch's to the last bit
OWN_EXP = {"exact": False}
CLIF = [
    Row("clif", ComplementaryLIFNode, {"tau": nn.Parameter(torch.tensor(1.8))}, **OWN_EXP),
    Row("clif-decay_input", ComplementaryLIFNode, {"tau": 1.5, "decay_input": True}, **OWN_EXP),
]

# few levels, so that the count reaches its limits
STBIF = [
    Row("stbif", STBIFNode, {"level": 4}),
    Row("stbif-sym", STBIFNode, {"level": 4, "sym": True, "v_threshold": nn.Parameter(torch.tensor(0.625))}),
]

ROWS = [*with_resets(TERNARY), *INTEGER, *TSLIF, *CLIF, *STBIF]
