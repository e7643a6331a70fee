"""LIF without gradient from step to step. OTTTLIFNode is the same with other defaults: tests/neuron/test_online.py."""

from __future__ import annotations

from neuron.row import Row, with_resets
from snncore.neuron import SLTTLIFNode

ROWS = with_resets(
    [
        Row("sltt", SLTTLIFNode, {"tau": 2.5}),
        Row("sltt-no_decay_input", SLTTLIFNode, {"tau": 1.8, "decay_input": False}),
    ]
)
