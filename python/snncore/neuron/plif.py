"""Parametric leaky integrate and fire: a learnable membrane time constant."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..ops.neuron import state_dtype
from .base import BaseNode
from .lif import lif_charge

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
        if channels is not None and (type(channels) is not int or channels < 1):
            raise self._bad("channels", "be None or a positive integer", channels, "pass the channels of the input")
        self.decay_input = bool(decay_input)
        self.v_rest = self.rest()[0] if v_rest is None else self._number("v_rest", v_rest)
        start = -math.log(self.init_tau - 1.0)
        self.w = nn.Parameter(torch.tensor(start) if channels is None else torch.full((channels,), start))

    @property
    def tau(self) -> Tensor:
        """The time constants, [] or [channels], in time steps."""
        return 1.0 + torch.exp(-self.w)

    def _check_channels(self, shape: torch.Size) -> None:
        if self.w.dim() and (len(shape) < 2 or shape[1] != self.w.shape[0]):
            raise self._bad(
                "channels", f"equal dimension 1 of a step, here of shape {list(shape)}", self.w.shape[0],
                "pass channels=... of this layer's input",
            )  # fmt: skip

    def charge(self, x: Tensor, *state: Tensor) -> Tensor:
        """Return h of the leaky integrator."""
        (v,) = state
        self._check_channels(x.shape)
        tau = self.tau.to(v.dtype)
        tau = tau.view(-1, *(1,) * (v.dim() - 2)) if tau.dim() else tau
        return lif_charge(x, v, tau, self.v_rest, self.decay_input)

    def constants(self) -> tuple[float, ...]:
        """A place for tau (taken from ``parameter_rows``), then v_rest and decay_input."""
        return (self.init_tau, self.v_rest, float(self.decay_input))

    def parameter_rows(self, x_seq: Tensor) -> tuple[Tensor, int]:
        """tau as [1, channels] and the lanes per channel."""
        self._check_channels(x_seq.shape[1:])
        tau = self.tau.to(state_dtype(x_seq.dtype)).view(1, -1)
        return tau, math.prod(x_seq.shape[3:]) if self.w.dim() else 1

    def extra_repr(self) -> str:
        """Return the arguments that matter."""
        return f"init_tau={self.init_tau}, decay_input={self.decay_input}, v_rest={self.v_rest}, {super().extra_repr()}"
