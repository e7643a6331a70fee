"""snnTorch's Leaky: the leaky integrator given by its decay, with its reset timing as an explicit choice."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .coefficients import shown
from .delayed import DelayedReset, cut_to_unit
from .stages import Coefficient

__all__ = ["Leaky"]


class Leaky(DelayedReset):
    """First-order leaky neuron h = beta * v + x (Eshraghian et al., Proc. IEEE 2023, arXiv:2109.12894).

    ``reset_delay=True`` (snnTorch's default): the potential that fired stays as it is and the reset comes with the next
    step, without gradient: subtract: h = beta*v + x - r*v_threshold; zero: h = beta*(1 - r)*v + x;
    r = [v >= v_threshold].
    ``reset_delay=False``: the reset follows the spike at once, in the gradient too unless ``detach_reset``:
    subtract: v = h - spike*v_threshold; zero: v = h*(1 - spike). snnTorch's form of this differs when the potential
    is still above threshold after the reset (input above 2*v_threshold): there it loses spikes, here it does not.
    A potential exactly at threshold fires (snnTorch: does not).

    Args:
        beta: decay per step, cut to [0, 1] in forward as snnTorch does; a number, or a tensor of the features: [C] for
            steps [B, C, *].
        learn_beta: make beta a parameter.
        **common: see ``DelayedReset``: ``reset_mechanism``, ``reset_delay``, ``spike_grad``, ``learn_threshold`` ...
    """

    native = "leaky"
    beta: Coefficient

    def __init__(self, beta: Coefficient = 0.9, *, learn_beta: bool = False, **common: Any) -> None:
        super().__init__(**common)
        self._coefficient("beta", self._learned("beta", beta, learn_beta))

    def charge(self, x: Tensor, *state: Tensor, **own: Any) -> Tensor:
        """Return beta * v + x with the delayed reset folded in."""
        v, beta, threshold = state[0], own["beta"], own["delayed_threshold"]
        fired = (v >= threshold).to(v.dtype)
        if self.resets("zero"):
            v = (1.0 - fired) * v
        h: Tensor = beta * v + x
        return h - fired * threshold if self.resets("subtract") else h

    def coefficients(self) -> dict[str, Coefficient]:
        """beta in [0, 1], and the threshold that a delayed reset looks at."""
        return {"beta": cut_to_unit(self.beta), "delayed_threshold": self.v_threshold}

    def extra_repr(self) -> str:
        """Return the arguments that matter."""
        return f"beta={shown(self.beta)}, {super().extra_repr()}"
