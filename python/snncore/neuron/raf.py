"""Resonate and fire."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .base import BaseNode
from .coefficients import exp_of, shown
from .stages import Coefficient

__all__ = ["RAFNode"]


class RAFNode(BaseNode):
    """Resonate-and-fire neuron (Izhikevich, Neural Networks 14, 2001): z = exp((b + i*omega)*dt) * z + x, z = u + i*v.

    It fires where the imaginary part v reaches the threshold; x enters the real part u, so the neuron answers one step
    late. Only v is reset, u never is (as in SpikingJelly's ``RAFNode``; Izhikevich sets z to i).
    States: v, u (both [B, *]).

    Args:
        b: decay rate per unit of time, < 0. A number or, like ``v_threshold``, a tensor [] or [C]; as a
            ``nn.Parameter`` it is learned unbounded.
        omega: angular frequency, > 0, in radians per unit of time; like ``b``.
        dt: length of a step in units of time, > 0; a number.
        **common: see ``BaseNode``.
    """

    native = "raf"
    b: Coefficient
    omega: Coefficient

    def __init__(self, b: Coefficient = -0.2, omega: Coefficient = 1.0, dt: float = 1.0, **common: Any) -> None:
        super().__init__(**common)
        self._coefficient("b", b)
        self._coefficient("omega", omega)
        self.dt = self._number("dt", dt)
        if (torch.as_tensor(self.b) >= 0).any():
            raise self._bad("b", "be below 0", b, "pass a decay rate per unit of time")
        if (torch.as_tensor(self.omega) <= 0).any():
            raise self._bad("omega", "be above 0", omega, "pass radians per unit of time")
        if self.dt <= 0:
            raise self._bad("dt", "be above 0", dt, "pass the length of a step")

    def charge(self, x: Tensor, *state: Tensor, **own: Any) -> tuple[Tensor, ...]:
        """Return h and the new real part."""
        v, u = state
        along, across = own["along"], own["across"]
        return across * u + along * v, along * u - across * v + x

    def rest(self) -> tuple[float, ...]:
        """Return what v and u start from."""
        return (self.reset_target, 0.0)

    def coefficients(self) -> dict[str, Coefficient]:
        """The turn of a step: exp(b*dt) times cosine (``along``) and sine (``across``) of omega*dt."""
        decay, turn = exp_of(self.b * self.dt), self.omega * self.dt
        if isinstance(turn, Tensor):
            return {"along": decay * torch.cos(turn), "across": decay * torch.sin(turn)}
        return {"along": decay * math.cos(turn), "across": decay * math.sin(turn)}

    def extra_repr(self) -> str:
        """Return the arguments that matter."""
        return f"b={shown(self.b)}, omega={shown(self.omega)}, dt={self.dt:g}, {super().extra_repr()}"
