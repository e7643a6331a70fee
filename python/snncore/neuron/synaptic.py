"""snnTorch's Synaptic: the leaky integrator with a synaptic current of its own."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .coefficients import shown
from .cuba_lif import cuba_lif_charge
from .delayed import DelayedReset, cut_to_unit
from .stages import Coefficient

__all__ = ["Synaptic"]


class Synaptic(DelayedReset):
    """Second-order leaky neuron i = alpha * i + x, u = beta * v + i (Eshraghian et al., Proc. IEEE 2023,
    arXiv:2109.12894).

    ``reset_delay=True`` (snnTorch's default): the reset comes with the next step, without gradient, by
    r = [v >= v_threshold]: subtract: h = u - r*v_threshold; zero: h = (1 - r)*u, input and current of that step
    included (``Leaky`` loses beta*v alone).
    ``reset_delay=False``: the reset follows the spike at once, in the gradient too unless ``detach_reset``. snnTorch's
    form of "subtract" differs here when the potential is still above threshold after the reset: there it loses spikes,
    here it does not.
    The current is never reset. A potential exactly at threshold fires (snnTorch: does not).
    States: potential, current (both [B, *]).

    Args:
        alpha: decay of the current per step, cut to [0, 1] in forward as snnTorch does; a number, or a tensor of the
            features: [C] for steps [B, C, *].
        beta: the same of the potential.
        learn_alpha: make alpha a parameter.
        learn_beta: make beta a parameter.
        **common: see ``DelayedReset``: ``reset_mechanism``, ``reset_delay``, ``spike_grad``, ``learn_threshold`` ...
    """

    native = "synaptic"
    alpha: Coefficient
    beta: Coefficient

    def __init__(
        self,
        alpha: Coefficient = 0.9,
        beta: Coefficient = 0.8,
        *,
        learn_alpha: bool = False,
        learn_beta: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self._coefficient("alpha", self._learned("alpha", alpha, learn_alpha))
        self._coefficient("beta", self._learned("beta", beta, learn_beta))

    def charge(self, x: Tensor, *state: Tensor, **own: Any) -> tuple[Tensor, ...]:
        """Return h, with the delayed reset folded in, and the new current."""
        v, i = state
        u, i = cuba_lif_charge(x, v, i, own["alpha"], own["beta"])
        return self.reset_charged(u, v, own["delayed_threshold"]), i

    def rest(self) -> tuple[float, ...]:
        """Return what potential and current start from."""
        return (0.0, 0.0)

    def coefficients(self) -> dict[str, Coefficient]:
        """alpha and beta in [0, 1], and the threshold that a delayed reset looks at."""
        decays = {"alpha": cut_to_unit(self.alpha), "beta": cut_to_unit(self.beta)}
        return {**decays, "delayed_threshold": self.v_threshold}

    def extra_repr(self) -> str:
        """Return the arguments that matter."""
        return f"alpha={shown(self.alpha)}, beta={shown(self.beta)}, {super().extra_repr()}"
