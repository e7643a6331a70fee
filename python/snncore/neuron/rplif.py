"""LIF with a refractory period by way of its threshold."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..surrogate import ATan, Surrogate
from .lif import LIFNode, lif_charge
from .stages import Coefficient

__all__ = ["RPLIFNode"]

_ATAN = ATan(2.0)


class RPLIFNode(LIFNode):
    """LIF whose threshold rises after a spike (RPLIF; Li et al., ACM MM 2025, arXiv:2509.17769).

    Charge as in ``LIFNode``; spike = [h >= f * v_threshold]; the reset (soft: minus f * v_threshold); then f becomes
    ``alpha`` * f after a spike, so that it grows with spikes in a row, and 1 after none. The published rule takes the
    new threshold as a number: no gradient goes through the update of f.

    The state is (v, f), both [B, *]; f starts at 1.

    Args:
        tau: as in ``LIFNode``.
        decay_input: as in ``LIFNode``.
        alpha: the factor of the threshold after a spike, >= 1; 1 is ``LIFNode``.
        surrogate_function: as in ``BaseNode``, ``ATan(2.0)`` if not given.
        **common: ``v_rest`` of ``LIFNode`` and what ``BaseNode`` takes.
    """

    native = "rplif"

    def __init__(
        self,
        tau: Coefficient = 2.0,
        decay_input: bool = True,
        *,
        alpha: float = 1.2,
        surrogate_function: Surrogate = _ATAN,
        **common: Any,
    ) -> None:
        super().__init__(tau, decay_input, surrogate_function=surrogate_function, **common)
        self.alpha = self._number("alpha", alpha)
        if self.alpha < 1.0:
            raise self._bad("alpha", "be at least 1", alpha, "pass the factor by which a spike raises the threshold")

    def charge(self, x: Tensor, *state: Tensor, **own: Any) -> tuple[Tensor, ...]:  # type: ignore[override]
        """Return h of the leaky integrator, and f as it is."""
        return lif_charge(x, state[0], own["rate"], self.v_rest, self.decay_input), state[1]

    def margin(self, h: tuple[Tensor, ...], v_threshold: Coefficient, **own: Any) -> Tensor:
        """Return h - f * v_threshold."""
        return h[0] - h[1] * v_threshold

    def settle(
        self, h: tuple[Tensor, ...], spikes: tuple[Tensor, ...], v_threshold: Coefficient, **own: Any
    ) -> tuple[Tensor, ...]:
        """Reset by the threshold of this step, then raise it or let it fall back."""
        potential, factor = h
        threshold = factor * v_threshold
        with torch.no_grad():  # by the decision itself: a spike is a fraction where it is smooth
            raised = torch.where(potential - threshold >= 0, factor * self.alpha, torch.ones_like(factor))
        return self.after_reset(potential, spikes[0], threshold), raised

    def rest(self) -> tuple[float, ...]:
        """The potential of ``LIFNode``, and the threshold as it is."""
        return (self.reset_target, 1.0)

    def constants(self) -> tuple[float, ...]:
        """v_rest, decay_input and alpha."""
        return (*super().constants(), self.alpha)

    def extra_repr(self) -> str:
        """Return the arguments that matter."""
        return f"alpha={self.alpha}, {super().extra_repr()}"
