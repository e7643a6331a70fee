"""Integrate-and-fire neurons whose potential drives itself: quadratic, exponential, and quadratic with adaptation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .base import BaseNode, Reset
from .coefficients import require_above
from .stages import Coefficient

__all__ = ["EIFNode", "IzhikevichNode", "QIFNode"]


class _NonlinearNode(BaseNode):
    """What the three share: tau, v_rest and the checks of their numbers."""

    tau: Coefficient

    def __init__(self, tau: Coefficient, *, v_rest: float, **common: Any) -> None:
        super().__init__(**common)
        self._coefficient("tau", tau)
        require_above(self, 1.0, "tau")
        self.v_rest = self._number("v_rest", v_rest)

    def extra_repr(self) -> str:
        """Return the arguments that matter."""
        return f"tau={self.tau}, v_rest={self.v_rest}, {super().extra_repr()}"


class QIFNode(_NonlinearNode):
    """Quadratic integrate-and-fire neuron: h = v + (x + a0 * (v - v_rest) * (v - v_c)) / tau.

    (Ermentrout and Kopell, SIAM J. Appl. Math. 46, 1986, 233; in this form: Gerstner et al., Neuronal Dynamics, 2014,
    section 5.3.) Above ``v_c`` the potential rises by itself, below it decays to ``v_rest``. Nothing bounds the square:
    with no reset, or far below rest, the potential can run away, as the equation says.

    Args:
        tau: membrane time constant in time steps, > 1.
        v_c: critical potential, above which the neuron fires without input.
        a0: sharpness of the curve, > 0. ``tau``, ``v_c`` and ``a0`` are numbers or, like ``v_threshold``, tensors []
            or [C]; as ``nn.Parameter`` they are learned unbounded.
        v_rest: resting potential; it does not follow ``v_reset``.
        v_reset: as in ``BaseNode``; by default a hard reset below rest.
        **common: see ``BaseNode``.
    """

    native = "qif"
    v_c: Coefficient
    a0: Coefficient

    def __init__(
        self,
        tau: Coefficient = 2.0,
        v_c: Coefficient = 0.8,
        a0: Coefficient = 1.0,
        *,
        v_rest: float = 0.0,
        v_reset: Reset = -0.1,
        **common: Any,
    ) -> None:
        super().__init__(tau, v_rest=v_rest, v_reset=v_reset, **common)
        self._coefficient("v_c", v_c)
        self._coefficient("a0", a0)
        require_above(self, 0.0, "a0")

    def charge(self, x: Tensor, *state: Tensor, **own: Any) -> Tensor:
        """Return h."""
        (v,) = state
        h: Tensor = v + (x + own["a0"] * (v - self.v_rest) * (v - own["v_c"])) * own["rate"]
        return h

    def coefficients(self) -> dict[str, Coefficient]:
        """1/tau, the sharpness and the critical potential."""
        return {"rate": 1.0 / self.tau, "a0": self.a0, "v_c": self.v_c}

    def constants(self) -> tuple[float, ...]:
        """v_rest."""
        return (self.v_rest,)

    def extra_repr(self) -> str:
        """Return the arguments that matter."""
        return f"v_c={self.v_c}, a0={self.a0}, {super().extra_repr()}"


class EIFNode(_NonlinearNode):
    """Exponential integrate-and-fire neuron.

    h = v + (x - (v - v_rest) + delta_T * exp((v - theta_rh) / delta_T)) / tau (Fourcaud-Trocme et al., J. Neurosci.
    23, 2003, 11628; in this form: Gerstner et al., Neuronal Dynamics, 2014, section 5.2). Nothing bounds the
    exponential: where ``v`` stays far above ``theta_rh``, as a soft reset may leave it, it overflows to infinity.

    Args:
        tau: membrane time constant in time steps, > 1.
        delta_T: sharpness of the exponential, > 0, in units of potential.
        theta_rh: rheobase threshold, where the exponential takes over (SpikingJelly's class has 0.8, its function
            1.0). ``tau``, ``delta_T`` and ``theta_rh`` are numbers or, like ``v_threshold``, tensors [] or [C]; as
            ``nn.Parameter`` they are learned unbounded.
        v_rest: resting potential; it does not follow ``v_reset``.
        v_reset: as in ``BaseNode``; by default a hard reset below rest.
        **common: see ``BaseNode``.
    """

    native = "eif"
    delta_T: Coefficient
    theta_rh: Coefficient

    def __init__(
        self,
        tau: Coefficient = 2.0,
        delta_T: Coefficient = 1.0,
        theta_rh: Coefficient = 0.8,
        *,
        v_rest: float = 0.0,
        v_reset: Reset = -0.1,
        **common: Any,
    ) -> None:
        super().__init__(tau, v_rest=v_rest, v_reset=v_reset, **common)
        self._coefficient("delta_T", delta_T)
        require_above(self, 0.0, "delta_T")
        self._coefficient("theta_rh", theta_rh)

    def charge(self, x: Tensor, *state: Tensor, **own: Any) -> Tensor:
        """Return h."""
        (v,) = state
        rise = own["delta_T"] * torch.exp((v - own["theta_rh"]) / own["delta_T"])
        h: Tensor = v + (x - (v - self.v_rest) + rise) * own["rate"]
        return h

    def coefficients(self) -> dict[str, Coefficient]:
        """1/tau, the sharpness and the rheobase threshold."""
        return {"rate": 1.0 / self.tau, "delta_T": self.delta_T, "theta_rh": self.theta_rh}

    def constants(self) -> tuple[float, ...]:
        """v_rest."""
        return (self.v_rest,)

    def extra_repr(self) -> str:
        """Return the arguments that matter."""
        return f"delta_T={self.delta_T}, theta_rh={self.theta_rh}, {super().extra_repr()}"


class IzhikevichNode(_NonlinearNode):
    """Adaptive quadratic integrate-and-fire neuron with a recovery current w, the second state.

    h = v + (x + a0 * (v - v_rest) * (v - v_c) - w) / tau, then, with h before the reset,
    w = w + (a * (h - v_rest) - w) / tau_w + b * spike (Izhikevich, IEEE Trans. Neural Netw. 14, 2003, 1569; in this
    form: Gerstner et al., Neuronal Dynamics, 2014, section 6.1). ``b * spike`` keeps its gradient with
    ``detach_reset``. As in ``QIFNode`` nothing bounds the square.

    The form of 2003 (v' = 0.04 v^2 + 5 v + 140 - u + I, u' = a_ (b_ v - u); at 30 mV v <- c_, u <- u + d_; steps of dt
    ms) is this neuron with tau = 1/dt, a0 = 0.04, v_rest = -82.6556, v_c = -42.3444, tau_w = 1/(a_ dt), a = b_,
    b = d_, v_threshold = 30, v_reset = c_, w = u - b_ v_rest and x = I - b_ v_rest.

    Args:
        tau: membrane time constant in time steps, > 1.
        v_c: critical potential, above which the neuron fires without input; a number.
        a0: sharpness of the curve, > 0; a number.
        v_rest: resting potential; it does not follow ``v_reset``.
        w_rest: what w starts from. It decays to 0.
        tau_w: time constant of w in time steps, > 0.
        a: how far w follows the potential.
        b: how far w rises with a spike. ``tau``, ``tau_w``, ``a`` and ``b`` are numbers or, like ``v_threshold``,
            tensors [] or [C]; as ``nn.Parameter`` they are learned unbounded.
        **common: see ``BaseNode``.
    """

    native = "izhikevich"
    tau_w: Coefficient
    a: Coefficient
    b: Coefficient

    def __init__(
        self,
        tau: Coefficient = 2.0,
        v_c: float = 0.8,
        a0: float = 1.0,
        *,
        v_rest: float = -0.1,
        w_rest: float = 0.0,
        tau_w: Coefficient = 2.0,
        a: Coefficient = 0.0,
        b: Coefficient = 0.0,
        **common: Any,
    ) -> None:
        super().__init__(tau, v_rest=v_rest, **common)
        self.v_c = self._number("v_c", v_c)
        self.a0 = self._number("a0", a0)
        require_above(self, 0.0, "a0")
        self.w_rest = self._number("w_rest", w_rest)
        self._coefficient("tau_w", tau_w)
        require_above(self, 0.0, "tau_w")
        self._coefficient("a", a)
        self._coefficient("b", b)

    def charge(self, x: Tensor, *state: Tensor, **own: Any) -> tuple[Tensor, ...]:
        """Return h, and w as it was."""
        v, w = state
        return v + (x + self.a0 * (v - self.v_rest) * (v - self.v_c) - w) * own["rate"], w

    def settle(
        self, h: tuple[Tensor, ...], spikes: tuple[Tensor, ...], v_threshold: Coefficient, **own: Any
    ) -> tuple[Tensor, ...]:
        """Return v after reset and the new w."""
        potential, w = h
        w = w + (own["a"] * (potential - self.v_rest) - w) * own["rate_w"] + own["b"] * spikes[0]
        return self.after_reset(potential, spikes[0], v_threshold), w

    def rest(self) -> tuple[float, ...]:
        """v and w."""
        return (self.reset_target, self.w_rest)

    def coefficients(self) -> dict[str, Coefficient]:
        """1/tau, 1/tau_w, a and b."""
        return {"rate": 1.0 / self.tau, "rate_w": 1.0 / self.tau_w, "a": self.a, "b": self.b}

    def constants(self) -> tuple[float, ...]:
        """v_rest, v_c and a0."""
        return (self.v_rest, self.v_c, self.a0)

    def extra_repr(self) -> str:
        """Return the arguments that matter."""
        curve = f"v_c={self.v_c}, a0={self.a0}, tau_w={self.tau_w}, a={self.a}, b={self.b}"
        return f"{curve}, {super().extra_repr()}"
