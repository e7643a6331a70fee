"""Lapicque's neuron: a resistor and a capacitor, as snnTorch takes it in discrete time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .coefficients import exp_of, log_of, shown
from .delayed import DelayedReset
from .stages import Coefficient

__all__ = ["Lapicque"]


class Lapicque(DelayedReset):
    """RC circuit C dv/dt = -v/R + x (Lapicque 1907; Brunel and van Rossum, Biol. Cybern. 97, 2007, translate it).

    In discrete time, with rate = time_step / (R*C):
    ``exact=False`` (snnTorch's, forward Euler): u = (1 - rate)*v + (time_step/C)*x;
    ``exact=True`` (the circuit with x constant during a step): u = exp(-rate)*v + R*(1 - exp(-rate))*x.
    ``beta`` stands for exp(-rate). Only ``exact=True`` decays by it: forward Euler, and so snnTorch, decays by
    1 + ln(beta) instead (beta = 0.5: 0.307), which below 1/e would be negative.

    ``reset_delay=True`` (all that snnTorch has): the reset comes with the next step, without gradient, by
    r = [v >= v_threshold]: subtract: h = u - r*v_threshold; zero: h = (1 - r)*u. ``reset_delay=False``: the reset
    follows the spike at once. A potential exactly at threshold fires (snnTorch: does not).

    Args:
        beta: see above; in (0, 1), at least 1/e without ``exact``. Give R and C, or beta, or beta and one of them.
            beta alone: R = 1. None of the three: R = 1 and C = 10 time steps. Each is a number or a tensor of the
            features: [C] for steps [B, C, *]; a ``nn.Parameter`` is learned unbounded, and the dynamics follow it
            (snnTorch computes R and C once, so that learning its beta changes nothing).
        R: resistance, > 0.
        C: capacitance, > 0; R*C at least ``time_step`` without ``exact`` (Euler would overshoot).
        time_step: length of a step, > 0, in the unit of R*C; a number.
        exact: see above.
        learn_beta: make beta a parameter.
        **common: see ``DelayedReset``: ``reset_mechanism``, ``reset_delay``, ``spike_grad``, ``learn_threshold`` ...
    """

    native = "lapicque"
    beta: Coefficient | None
    R: Coefficient | None
    C: Coefficient | None

    def __init__(
        self,
        beta: Coefficient | None = None,
        R: Coefficient | None = None,
        C: Coefficient | None = None,
        time_step: float = 1.0,
        *,
        exact: bool = False,
        learn_beta: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.time_step = self._number("time_step", time_step)
        if self.time_step <= 0:
            raise self._bad("time_step", "be above 0", time_step, "pass the length of a step")
        self.exact = bool(exact)
        if beta is None and R is None and C is None:
            R, C = 1.0, 10.0 * self.time_step
        given = [name for name, value in (("beta", beta), ("R", R), ("C", C)) if value is not None]
        if given in (["R"], ["C"], ["beta", "R", "C"]):
            raise self._bad(
                given[-1], "come as R and C, or beta, or beta and one of them", given, "change what is given"
            )
        if learn_beta and beta is None:
            raise self._bad("learn_beta", "come with beta", given, "pass beta, or R or C as a nn.Parameter")
        R = 1.0 if given == ["beta"] else R
        for name, value, learn in (("beta", beta, learn_beta), ("R", R, False), ("C", C, False)):
            if value is None:
                setattr(self, name, None)
            else:
                self._coefficient(name, self._learned(name, value, learn))
        self._check_values()

    def _check_values(self) -> None:
        for name in ("R", "C"):
            value = getattr(self, name)
            if value is not None and (torch.as_tensor(value) <= 0).any():
                raise self._bad(name, "be above 0", value, "pass a positive one")
        if self.beta is not None:
            beta = torch.as_tensor(self.beta)
            if not ((beta > 0) & (beta < 1)).all():
                raise self._bad("beta", "be in (0, 1)", self.beta, "pass exp(-time_step / (R*C)), or use IFNode")
        if not self.exact and (torch.as_tensor(self._circuit()[1]) > 1).any():
            name, must = ("C", "make R*C at least time_step") if self.beta is None else ("beta", "be at least 1/e")
            raise self._bad(name, must, getattr(self, name), "pass exact=True, or a slower circuit")

    def _circuit(self) -> tuple[Coefficient, Coefficient]:
        """Return R and the rate time_step / (R*C)."""
        R, C = self.R, self.C
        if self.beta is None:
            assert R is not None and C is not None
            return R, self.time_step / (R * C)
        rate = -log_of(self.beta)
        if R is None:
            assert C is not None
            R = self.time_step / (C * rate)
        return R, rate

    def charge(self, x: Tensor, *state: Tensor, **own: Any) -> Tensor:
        """Return h with the delayed reset folded in."""
        u = own["decay"] * state[0] + own["gain"] * x
        return self.reset_charged(u, state[0], own["delayed_threshold"])

    def coefficients(self) -> dict[str, Coefficient]:
        """The decay of the potential, the gain of the input, and the threshold that a delayed reset looks at."""
        R, rate = self._circuit()
        if self.exact:
            decay = exp_of(-rate) if self.beta is None else self.beta
            gain = R * (1.0 - decay)
        else:
            decay, gain = 1.0 - rate, R * rate
        return {"decay": decay, "gain": gain, "delayed_threshold": self.v_threshold}

    def extra_repr(self) -> str:
        """Return the arguments that matter."""
        given = {name: getattr(self, name) for name in ("beta", "R", "C")}
        circuit = ", ".join(f"{name}={shown(value)}" for name, value in given.items() if value is not None)
        return f"{circuit}, time_step={self.time_step}, exact={self.exact}, {super().extra_repr()}"
