"""Leaky integrate and fire."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .base import BaseNode
from .stages import Coefficient

__all__ = ["LIFNode", "lif_charge"]


def lif_charge(x: Tensor, v: Tensor, rate: Coefficient, v_rest: float, decay_input: bool) -> Tensor:
    """Return h of the leaky integrator; ``rate`` = 1/tau is a number or broadcasts against ``v``."""
    return v - (v - v_rest) * rate + (x * rate if decay_input else x)


class LIFNode(BaseNode):
    """Leaky integrate-and-fire neuron.

    ``decay_input``: h = v + (x - (v - v_rest)) / tau; otherwise h = v - (v - v_rest) / tau + x
    (Gerstner et al., Neuronal Dynamics, 2014, section 1.3, in discrete time).

    Args:
        tau: membrane time constant in time steps, > 1. A number or, like ``v_threshold``, a tensor [] or [C]; as a
            ``nn.Parameter`` it is learned unbounded (``ParametricLIFNode`` learns it within bounds).
        decay_input: True to let the input pass through the leak as well.
        v_rest: leak target; None: ``v_reset`` with a hard reset, else 0.
        **common: see ``BaseNode``.
    """

    native = "lif"
    tau: Coefficient

    def __init__(
        self, tau: Coefficient = 2.0, decay_input: bool = True, *, v_rest: float | None = None, **common: Any
    ) -> None:
        super().__init__(**common)
        self._coefficient("tau", tau)
        if (self.tau <= 1.0).any() if isinstance(self.tau, Tensor) else self.tau <= 1.0:
            raise self._bad("tau", "be greater than 1 (time steps)", tau, "pass a larger tau, or use IFNode")
        self.decay_input = bool(decay_input)
        self.v_rest = self.reset_target if v_rest is None else self._number("v_rest", v_rest)

    def charge(self, x: Tensor, *state: Tensor, **own: Any) -> Tensor:
        """Return h of the leaky integrator."""
        return lif_charge(x, state[0], own["rate"], self.v_rest, self.decay_input)

    def coefficients(self) -> dict[str, Coefficient]:
        """The leak per step, 1/tau."""
        return {"rate": 1.0 / self.tau}

    def constants(self) -> tuple[float, ...]:
        """v_rest and decay_input."""
        return (self.v_rest, float(self.decay_input))

    def extra_repr(self) -> str:
        """Return the arguments that matter."""
        return f"tau={self.tau}, decay_input={self.decay_input}, v_rest={self.v_rest}, {super().extra_repr()}"
