"""LIF with temporal inhibition."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..surrogate import Rect, Surrogate
from .fixed_reset import FixedReset
from .stages import Coefficient

__all__ = ["ILIFNode"]

_RECT = Rect(1.0)


class ILIFNode(FixedReset):
    """Temporal inhibitory LIF (ILIF; Sun et al., IJCAI 2025, arXiv:2505.10371), against too many spikes.

    An inhibitory current i is taken from the input, an inhibitory membrane m from the potential; both are fed by the
    neuron's own spikes. With q = x * spike of the step before:

        i = current_decay * (i + q)
        h = (1 - 1/tau) * v + (x - max(i, 0)) * (1/tau if decay_input else 1)
        v = h - spike * v_threshold
        m = membrane_decay * (m + spike * v)
        v = v - spike * sigmoid(m)

    The reset is soft as in the authors' code; a hard one to 0 would leave m at 0 always and is refused. Every part
    carries gradient; ``detach_reset`` cuts the soft reset alone. (Not SpikingJelly's ``ILIFNode``, which is the
    integer-valued LIF.)

    The state is (v, m, i, q), each [B, *], all 0 at rest.

    Args:
        tau: membrane time constant in time steps, > 1; as in ``LIFNode``.
        decay_input: True to let input and inhibition pass through the leak as well.
        current_decay, membrane_decay: what stays of i and m per step, in [0, 1].
        surrogate_function: as in ``BaseNode``, ``Rect(1.0)`` if not given.
        **common: see ``BaseNode``; ``v_reset`` is None.
    """

    native = "ilif"
    only_reset = None
    tau: Coefficient

    def __init__(
        self,
        tau: Coefficient = 2.0,
        decay_input: bool = False,
        *,
        current_decay: float = 0.03,
        membrane_decay: float = 1.0,
        surrogate_function: Surrogate = _RECT,
        **common: Any,
    ) -> None:
        super().__init__(surrogate_function=surrogate_function, **common)
        self._coefficient("tau", tau)
        if (self.tau <= 1.0).any() if isinstance(self.tau, Tensor) else self.tau <= 1.0:
            raise self._bad("tau", "be greater than 1 (time steps)", tau, "pass a larger tau")
        self.decay_input = bool(decay_input)
        self.current_decay = self._share("current_decay", current_decay)
        self.membrane_decay = self._share("membrane_decay", membrane_decay)

    def _share(self, name: str, value: float) -> float:
        number = self._number(name, value)
        if not 0.0 <= number <= 1.0:
            raise self._bad(name, "be in [0, 1]", value, "pass what stays per step")
        return number

    def charge(self, x: Tensor, *state: Tensor, **own: Any) -> tuple[Tensor, ...]:
        """Return h, m, the new i, and x, which ``settle`` needs."""
        v, m, i, q = state
        rate = own["rate"]
        i = self.current_decay * (i + q)
        # clamp passes its gradient at 0 too, where every silent neuron is
        driven = x - i.clamp(min=0.0)
        return v - v * rate + (driven * rate if self.decay_input else driven), m, i, x

    def settle(
        self, h: tuple[Tensor, ...], spikes: tuple[Tensor, ...], v_threshold: Coefficient, **own: Any
    ) -> tuple[Tensor, ...]:
        """Reset softly, feed m, subtract its sigmoid, and keep the input of spikes."""
        potential, m, i, x = h
        spike = spikes[0]
        left = self.after_reset(potential, spike, v_threshold)
        m = self.membrane_decay * (m + spike * left)
        return left - spike * torch.sigmoid(m), m, i, x * spike

    def rest(self) -> tuple[float, ...]:
        """All at 0."""
        return (0.0, 0.0, 0.0, 0.0)

    def coefficients(self) -> dict[str, Coefficient]:
        """The leak per step, 1/tau."""
        return {"rate": 1.0 / self.tau}

    def constants(self) -> tuple[float, ...]:
        """decay_input and the two decays."""
        return (float(self.decay_input), self.current_decay, self.membrane_decay)

    def extra_repr(self) -> str:
        """Return the arguments that matter."""
        return (
            f"tau={self.tau}, decay_input={self.decay_input}, current_decay={self.current_decay}, "
            f"membrane_decay={self.membrane_decay}, {super().extra_repr()}"
        )
