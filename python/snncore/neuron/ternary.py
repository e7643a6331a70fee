"""Ternary spikes: +1 above v_threshold, -1 below -v_threshold."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .base import BaseNode
from .coefficients import require_above
from .lif import lif_charge
from .stages import Coefficient

__all__ = ["TernaryIFNode", "TernaryLIFNode"]


class _Ternary(BaseNode):
    """What follows the charge; the compiled core has one neuron for both charges."""

    amplitude: Coefficient

    def __init__(self, amplitude: Coefficient = 1.0, **common: Any) -> None:
        super().__init__(**common)
        require_above(self, 0.0, "v_threshold")
        self._coefficient("amplitude", amplitude)

    def margin(self, h: tuple[Tensor, ...], v_threshold: Coefficient, **own: Any) -> tuple[Tensor, ...]:
        """Return h - v_threshold for the positive spike and -h - v_threshold for the negative."""
        return h[0] - v_threshold, -h[0] - v_threshold

    def emit(self, spikes: tuple[Tensor, ...], **own: Any) -> Tensor:
        """Return amplitude * (positive - negative)."""
        spike: Tensor = (spikes[0] - spikes[1]) * own["amplitude"]
        return spike

    def settle(self, h: tuple[Tensor, ...], spikes: tuple[Tensor, ...], v_threshold: Coefficient, **own: Any) -> Tensor:
        """Return the potential after a hard reset at either spike, or a soft one in the spike's direction."""
        # Not |spike|: in backward both conditions are between 0 and 1 at once.
        event = spikes[0] + spikes[1] if self.reset_kind == "hard" else spikes[0] - spikes[1]
        return self.after_reset(h[0], event, v_threshold)


class TernaryIFNode(_Ternary):
    """Integrate-and-fire neuron with spikes in {-1, 0, 1}: h = v + x.

    spike = [h >= v_threshold] - [h <= -v_threshold], each condition with a surrogate gradient of its own. A hard reset
    happens at either spike, a soft one subtracts spike * v_threshold (Guo et al., "Ternary Spike", AAAI 2024,
    arXiv:2312.06372, in the form of SpikingJelly 2.0.0). The authors' code fires at |h| >= v_threshold / 2 with a
    straight-through gradient: pass half the threshold.

    Args:
        amplitude: what a spike leaves the neuron as; the reset does not see it. A number, or a tensor like
            ``v_threshold``: with a ``nn.Parameter`` it is the paper's learned amplitude, which inference multiplies
            into the next layer's weights.
        **common: see ``BaseNode``; ``v_threshold`` > 0.

    Raises:
        ArgumentError: an argument cannot be used.
    """

    native = "ternary"

    def charge(self, x: Tensor, *state: Tensor, **own: Any) -> Tensor:
        """Return v + x."""
        return state[0] + x

    def coefficients(self) -> dict[str, Coefficient]:
        """No leak, and the amplitude."""
        return {"rate": 0.0, "amplitude": self.amplitude}

    def constants(self) -> tuple[float, ...]:
        """v_rest and decay_input of the leaky charge, without meaning where nothing leaks."""
        return (0.0, 0.0)


class TernaryLIFNode(_Ternary):
    """Leaky integrate-and-fire neuron with spikes in {-1, 0, 1}: the charge of ``LIFNode``, else ``TernaryIFNode``.

    The authors' code is tau = 4/3, decay_input = False and half the threshold.

    Args:
        tau: as in ``LIFNode``.
        decay_input: as in ``LIFNode``.
        v_rest: as in ``LIFNode``.
        amplitude: as in ``TernaryIFNode``.
        **common: see ``BaseNode``; ``v_threshold`` > 0.

    Raises:
        ArgumentError: an argument cannot be used.
    """

    native = "ternary"
    tau: Coefficient

    def __init__(
        self,
        tau: Coefficient = 2.0,
        decay_input: bool = True,
        *,
        v_rest: float | None = None,
        amplitude: Coefficient = 1.0,
        **common: Any,
    ) -> None:
        super().__init__(amplitude, **common)
        self._coefficient("tau", tau)
        require_above(self, 1.0, "tau")
        self.decay_input = bool(decay_input)
        self.v_rest = self.reset_target if v_rest is None else self._number("v_rest", v_rest)

    def charge(self, x: Tensor, *state: Tensor, **own: Any) -> Tensor:
        """Return h of the leaky integrator."""
        return lif_charge(x, state[0], own["rate"], self.v_rest, self.decay_input)

    def coefficients(self) -> dict[str, Coefficient]:
        """The leak per step, 1/tau, and the amplitude."""
        return {"rate": 1.0 / self.tau, "amplitude": self.amplitude}

    def constants(self) -> tuple[float, ...]:
        """v_rest and decay_input."""
        return (self.v_rest, float(self.decay_input))

    def extra_repr(self) -> str:
        """Return the arguments that matter."""
        return f"tau={self.tau}, decay_input={self.decay_input}, v_rest={self.v_rest}, {super().extra_repr()}"
