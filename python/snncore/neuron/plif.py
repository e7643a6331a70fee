"""Parametric leaky integrate and fire: a learnable membrane time constant."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from .base import BaseNode
from .lif import lif_charge
from .stages import Coefficient

__all__ = ["ParametricLIFNode"]


class ParametricLIFNode(BaseNode):
    """LIF whose tau is learned: 1/tau = sigmoid(w) (Fang et al., ICCV 2021, arXiv:2007.05785).

    Parameter ``w``: [] (one tau for the layer, as in the paper) or [channels], starting at -ln(init_tau - 1).

    Args:
        init_tau: tau at the start, in time steps, > 1.
        decay_input: as in ``LIFNode``.
        channels: None for one tau; else the size of dimension 1 of a step [B, channels, *], each with its own tau.
        v_rest: as in ``LIFNode``.
        **common: see ``BaseNode``.
    """

    native = "lif"

    def __init__(
        self,
        init_tau: float = 2.0,
        decay_input: bool = True,
        *,
        channels: int | None = None,
        v_rest: float | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.init_tau = self._number("init_tau", init_tau)
        if self.init_tau <= 1.0:
            raise self._bad("init_tau", "be greater than 1 (time steps)", init_tau, "pass a larger init_tau")
        if channels is not None and (type(channels) is not int or not 1 <= channels < 2**31):
            raise self._bad("channels", "be None or a positive integer", channels, "pass the channels of the input")
        self.decay_input = bool(decay_input)
        self.v_rest = self.reset_target if v_rest is None else self._number("v_rest", v_rest)
        start = -math.log(self.init_tau - 1.0)
        self.w = nn.Parameter(torch.tensor(start) if channels is None else torch.full((channels,), start))

    @property
    def tau(self) -> Tensor:
        """The time constants, [] or [channels], in time steps."""
        return 1.0 + torch.exp(-self.w)

    def charge(self, x: Tensor, *state: Tensor, **own: Any) -> Tensor:
        """Return h of the leaky integrator."""
        return lif_charge(x, state[0], own["rate"], self.v_rest, self.decay_input)

    def coefficients(self) -> dict[str, Coefficient]:
        """The leak per step, 1/tau = sigmoid(w)."""
        return {"rate": torch.sigmoid(self.w)}

    def constants(self) -> tuple[float, ...]:
        """v_rest and decay_input."""
        return (self.v_rest, float(self.decay_input))

    def extra_repr(self) -> str:
        """Return the arguments that matter."""
        return f"init_tau={self.init_tau}, decay_input={self.decay_input}, v_rest={self.v_rest}, {super().extra_repr()}"
