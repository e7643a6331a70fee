"""Leaky integrate and fire with an adaptive threshold."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .base import BaseNode, Reset
from .coefficients import exp_of, require_above
from .stages import Coefficient

__all__ = ["ALIFNode"]

# argument -> its choices, the published one of 2020 first
_CHOICES = {"reset_order": ("after_decay", "before_decay"), "reset_by": ("base", "threshold")}


class ALIFNode(BaseNode):
    """LIF whose threshold rises with every spike and decays again; a, the second state, sums the spikes of late.

    alpha = exp(-1/tau), rho = exp(-1/tau_a). Of step t, with threshold A = v_threshold + beta * a and spike = (h >= A):

    - Bellec et al., Nat. Commun. 11 (2020) 3625, the default: h[t] = alpha * h[t-1] - spike[t-1] * v_threshold + x[t]
      and a[t] = rho * a[t-1] + spike[t-1].
    - Bellec et al., NeurIPS 2018, arXiv:1803.09574: (1 - alpha) * x and (1 - rho) * spike instead (``normalize=True``),
      and the reset subtracts the A that was crossed (``reset_by="threshold"``; the code of the paper subtracts the A
      of the step after). To be used with beta around 1.8 and a small v_threshold. Its surrogate sees (h - A) / A,
      here it sees h - A.

    In both, the leak comes before the reset: ``reset_order="after_decay"``, v = alpha * h - spike * v_threshold and
    then h = v + x. With ``reset_order="before_decay"`` the reset comes at once, as in the other neurons here: v = h -
    spike * v_threshold and then h = alpha * v + x, so that the leak shrinks the reset as well.

    The refractory period of the papers is left out. The surrogate gradient of the spike also goes through a, with
    ``detach_reset`` too.

    Args:
        tau: membrane time constant in time steps, > 0.
        tau_a: time constant of the adaptation in time steps, > 0.
        beta: rise of the threshold per spike, >= 0. ``tau``, ``tau_a`` and ``beta`` are numbers or, like
            ``v_threshold``, tensors [] or [C]; as ``nn.Parameter`` they are learned unbounded.
        reset_order: ``"after_decay"`` or ``"before_decay"``, see above.
        reset_by: what a soft reset subtracts: ``"base"`` (v_threshold) or ``"threshold"`` (A).
        normalize: the scaling of 2018, see above.
        v_reset: None, the published soft reset; otherwise as in ``BaseNode``. The leak goes to 0.
        **common: see ``BaseNode``.
    """

    native = "alif"
    tau: Coefficient
    tau_a: Coefficient
    beta: Coefficient

    def __init__(
        self,
        tau: Coefficient = 20.0,
        tau_a: Coefficient = 200.0,
        beta: Coefficient = 0.184,
        *,
        reset_order: str = "after_decay",
        reset_by: str = "base",
        normalize: bool = False,
        v_reset: Reset = None,
        **common: Any,
    ) -> None:
        super().__init__(v_reset=v_reset, **common)
        for name, value in (("tau", tau), ("tau_a", tau_a), ("beta", beta)):
            self._coefficient(name, value)
        require_above(self, 0.0, "tau", "tau_a")
        if (self.beta < 0.0).any() if isinstance(self.beta, Tensor) else self.beta < 0.0:
            raise self._bad("beta", "be at least 0", beta, "pass how far a spike raises the threshold")
        for name, choice in (("reset_order", reset_order), ("reset_by", reset_by)):
            first, second = _CHOICES[name]
            if choice not in _CHOICES[name]:
                raise self._bad(name, f"be {first!r} or {second!r}", choice, "pass one of them")
        self.reset_order = reset_order
        self.reset_by = reset_by
        self.normalize = bool(normalize)

    def charge(self, x: Tensor, *state: Tensor, **own: Any) -> tuple[Tensor, ...]:
        """Return h, and a as it was."""
        v, a = state
        leaked = own["alpha"] * v if self.reset_order == "before_decay" else v
        return leaked + ((1.0 - own["alpha"]) * x if self.normalize else x), a

    def margin(self, h: tuple[Tensor, ...], v_threshold: Coefficient, **own: Any) -> Tensor:
        """Return h - A."""
        potential, a = h
        u: Tensor = potential - (v_threshold + own["beta"] * a)
        return u

    def settle(
        self, h: tuple[Tensor, ...], spikes: tuple[Tensor, ...], v_threshold: Coefficient, **own: Any
    ) -> tuple[Tensor, ...]:
        """Return v after reset, and a with this spike."""
        potential, a = h
        leaked = own["alpha"] * potential if self.reset_order == "after_decay" else potential
        drop = v_threshold + own["beta"] * a if self.reset_by == "threshold" else v_threshold
        risen = (1.0 - own["rho"]) * spikes[0] if self.normalize else spikes[0]
        return self.after_reset(leaked, spikes[0], drop), own["rho"] * a + risen

    def rest(self) -> tuple[float, ...]:
        """v and a."""
        return (self.reset_target, 0.0)

    def coefficients(self) -> dict[str, Coefficient]:
        """The decays of potential and adaptation, and the rise of the threshold."""
        return {"alpha": exp_of(-1.0 / self.tau), "rho": exp_of(-1.0 / self.tau_a), "beta": self.beta}

    def constants(self) -> tuple[float, ...]:
        """The switches after_decay, by_threshold and normalize."""
        switches = (self.reset_order == "after_decay", self.reset_by == "threshold", self.normalize)
        return tuple(float(switch) for switch in switches)

    def extra_repr(self) -> str:
        """Return the arguments that matter."""
        choices = f"reset_order={self.reset_order}, reset_by={self.reset_by}, normalize={self.normalize}"
        return f"tau={self.tau}, tau_a={self.tau_a}, beta={self.beta}, {choices}, {super().extra_repr()}"
