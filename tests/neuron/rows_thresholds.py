"""RPLIF, ILIF, gated LIF, LTMD and half-threshold IF."""

from __future__ import annotations

import torch

from neuron.row import CHANNELS, V_THRESHOLD, Row, with_resets
from snncore.neuron import GatedLIFNode, HalfThresholdIFNode, ILIFNode, LTMDNode, RPLIFNode

# the second state, the factor of the threshold, carries no gradient past a step
REFRACTORY = [
    Row("rplif", RPLIFNode, {"tau": 1.6, "alpha": 1.3}, held=(1,)),
    Row("rplif-no_decay_input-v_rest", RPLIFNode,
        {"tau": 2.5, "alpha": 1.6, "decay_input": False, "v_rest": -0.25}, held=(1,)),
    Row("rplif-channels", RPLIFNode,
        {"tau": torch.nn.Parameter(torch.tensor([1.4, 2.0, 3.0])), "decay_input": False,
         "v_threshold": torch.nn.Parameter(torch.tensor([0.75, 0.5, 1.0]))}, held=(1,)),
]  # fmt: skip

# its sigmoid is the kernel's own in the state: the same to rounding, not bit for bit
INHIBITORY = [
    Row("ilif", ILIFNode, {"tau": 1.6}, exact=False),
    Row("ilif-decay_input", ILIFNode, {"tau": 1.25, "decay_input": True, "current_decay": 0.5}, exact=False),
    Row("ilif-decays", ILIFNode, {"tau": 2.5, "current_decay": 0.7, "membrane_decay": 0.6}, exact=False),
    Row("ilif-channels", ILIFNode,
        {"tau": torch.nn.Parameter(torch.tensor([1.4, 2.0, 3.0])), "decay_input": True, "current_decay": 0.4,
         "v_threshold": torch.nn.Parameter(torch.tensor([0.75, 0.5, 0.25]))}, exact=False),
]  # fmt: skip

GATES = {"gates": (0.6, 0.45, 0.3), "tau": 0.4, "linear_decay": 0.2, "v_subreset": 0.35, "conduct": 0.8}
GATED = [
    Row("glif", GatedLIFNode, GATES),
    Row("glif-channels", GatedLIFNode, {**GATES, "channels": CHANNELS}, ("raw_c", (0.4, -0.9, 1.3))),
    Row("glif-thresholds", GatedLIFNode, {**GATES, "channels": CHANNELS}, ("raw_v_threshold", (0.4, -0.9, 1.3))),
]

LEARNED = [
    Row("ltmd", LTMDNode),
    Row("ltmd-decay_input", LTMDNode, {"tau": 1.5, "decay_input": True, "v_threshold": 0.4}),
    Row("ltmd-channels", LTMDNode, {"channels": CHANNELS}, ("w", (0.9, -0.2, 0.5))),
]

HALF = [
    Row("half_threshold_if", HalfThresholdIFNode),
    Row("half_threshold_if-learned", HalfThresholdIFNode,
        {"v_threshold": torch.nn.Parameter(torch.tensor(V_THRESHOLD))}),
    Row("half_threshold_if-channels", HalfThresholdIFNode,
        {"v_threshold": torch.nn.Parameter(torch.tensor([0.75, 0.5, 1.0]))}),
]  # fmt: skip

ROWS = [*with_resets(REFRACTORY), *INHIBITORY, *GATED, *LEARNED, *HALF]
