"""Complementary leaky integrate and fire."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..surrogate import Rect
from .coefficients import require_above
from .fixed_reset import SoftResetNode
from .stages import Coefficient

__all__ = ["ComplementaryLIFNode"]

_RECT = Rect(1.0)


class ComplementaryLIFNode(SoftResetNode):
    """LIF with a complementary potential m that remembers recent spikes and deepens the reset: CLIF.

    h = (1 - 1/tau) * v + x;  m' = m * sigmoid(h / tau) + spike;  v' = h - spike * (v_threshold + sigmoid(m'))
    (Huang et al., "CLIF", ICML 2024, arXiv:2402.04663). The states are v and m, both from 0.

    ``detach_reset`` detaches the spike that gates the reset; m, with the spike in it, keeps its gradient, on which the
    paper's analysis rests (the paper and SpikingJelly detach nothing).

    Args:
        tau: membrane time constant in time steps, > 1; a number, or a tensor [] or [C] like ``v_threshold``.
        decay_input: True to let the input pass through the leak as well, x / tau; the paper's experiments do not.
        **common: see ``BaseNode``; the reset is soft and ``surrogate_function`` by default ``Rect(1.0)``, as published.

    Raises:
        ArgumentError: an argument cannot be used.
    """

    native = "clif"
    tau: Coefficient

    def __init__(self, tau: Coefficient = 2.0, decay_input: bool = False, **common: Any) -> None:
        common.setdefault("surrogate_function", _RECT)
        super().__init__(**common)
        self._coefficient("tau", tau)
        require_above(self, 1.0, "tau")
        self.decay_input = bool(decay_input)

    def charge(self, x: Tensor, *state: Tensor, **own: Any) -> tuple[Tensor, ...]:
        """Return h and the decayed m."""
        v, m = state
        rate = own["rate"]
        h = v - v * rate + (x * rate if self.decay_input else x)
        return h, m * torch.sigmoid(h * rate)

    def settle(
        self, h: tuple[Tensor, ...], spikes: tuple[Tensor, ...], v_threshold: Coefficient, **own: Any
    ) -> tuple[Tensor, ...]:
        """Return v after the deepened reset, and m with the spike."""
        spike = spikes[0]
        m = h[1] + spike
        gate = spike.detach() if self.detach_reset else spike
        return h[0] - gate * (v_threshold + torch.sigmoid(m)), m

    def rest(self) -> tuple[float, ...]:
        """Both potentials start at 0."""
        return (0.0, 0.0)

    def coefficients(self) -> dict[str, Coefficient]:
        """The leak per step, 1/tau."""
        return {"rate": 1.0 / self.tau}

    def constants(self) -> tuple[float, ...]:
        """decay_input."""
        return (float(self.decay_input),)

    def extra_repr(self) -> str:
        """Return the arguments that matter."""
        return f"tau={self.tau}, decay_input={self.decay_input}, {super().extra_repr()}"
