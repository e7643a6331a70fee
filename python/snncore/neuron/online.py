"""LIF neurons for online learning: no gradient goes from one time step to the step before.

The gradient of a step then needs nothing of earlier steps, so a loss may be taken and differentiated at every step,
with memory that does not grow with T. Both neurons run on the fused kernel of LIF, in ``step_mode='m'`` too, where one
backward gives the sum of what backward at every step would give.
"""

from __future__ import annotations

from typing import Any

from .base import Reset
from .lif import LIFNode
from .stages import Coefficient

__all__ = ["OTTTLIFNode", "SLTTLIFNode"]


class OTTTLIFNode(LIFNode):
    """LIF of online training through time (Xiao et al., NeurIPS 2022, arXiv:2210.04195).

    A step sends its gradient to its own input alone. What the weights behind the neuron receive from earlier steps
    comes from the trace of their input spikes: ``layer.TraceLinear`` and ``layer.TraceConv2d`` keep it and use it, so
    this neuron returns spikes alone, in training as in evaluation (SpikingJelly's: spike and trace in training).

    Args:
        tau: as in ``LIFNode``.
        decay_input: as in ``LIFNode``; False in the paper.
        v_reset: as in ``BaseNode``; None (soft) in the paper.
        detach_reset: as in ``BaseNode``; True in the paper.
        **common: see ``LIFNode``.
    """

    detach_state = True

    def __init__(
        self,
        tau: Coefficient = 2.0,
        decay_input: bool = False,
        *,
        v_reset: Reset = None,
        detach_reset: bool = True,
        **common: Any,
    ) -> None:
        super().__init__(tau, decay_input, v_reset=v_reset, detach_reset=detach_reset, **common)


class SLTTLIFNode(LIFNode):
    """LIF of spatial learning through time (Meng et al., ICCV 2023, arXiv:2302.14311).

    A step sends its gradient to its own input alone; ordinary layers stand between such neurons. Leaving out backward
    at some of the steps (SLTT-k) is a matter of the training loop.

    Args:
        tau: as in ``LIFNode``.
        decay_input: as in ``LIFNode``.
        v_reset: as in ``BaseNode``.
        detach_reset: as in ``BaseNode``; True by default, as in SpikingJelly.
        **common: see ``LIFNode``.
    """

    detach_state = True

    def __init__(
        self,
        tau: Coefficient = 2.0,
        decay_input: bool = True,
        *,
        v_reset: Reset = 0.0,
        detach_reset: bool = True,
        **common: Any,
    ) -> None:
        super().__init__(tau, decay_input, v_reset=v_reset, detach_reset=detach_reset, **common)
