"""Current-based leaky integrate and fire."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..surrogate import Rect, Surrogate
from .base import BaseNode
from .coefficients import shown
from .stages import Coefficient

__all__ = ["CUBALIFNode", "cuba_lif_charge"]

_RECT = Rect(1.0)


def cuba_lif_charge(
    x: Tensor, v: Tensor, i: Tensor, c_decay: Coefficient, v_decay: Coefficient
) -> tuple[Tensor, Tensor]:
    """Return (h, new current); the decays are numbers or broadcast against ``v``."""
    i = c_decay * i + x
    return v_decay * v + i, i


class CUBALIFNode(BaseNode):
    """Current-based leaky integrate-and-fire neuron: i = c_decay * i + x, h = v_decay * v + i with the new current.

    Loihi's neuron (Davies et al., IEEE Micro 38, 2018) as PopSAN trains it (Tang et al., CoRL 2020, arXiv:2010.09635).
    The reset is the potential's alone: the current goes on. The potential leaks to 0, whatever ``v_reset`` is.
    States: potential, current (both [B, *]).

    Args:
        c_decay: what is left of the current after a step, in [0, 1]; 1 - 1/tau. A number or, like ``v_threshold``, a
            tensor [] or [C]; as a ``nn.Parameter`` it is learned unbounded.
        v_decay: the same of the potential.
        v_threshold, surrogate_function: as in ``BaseNode``, with the defaults of the papers' code.
        **common: see ``BaseNode``.
    """

    native = "cubalif"
    c_decay: Coefficient
    v_decay: Coefficient

    def __init__(
        self,
        c_decay: Coefficient = 0.5,
        v_decay: Coefficient = 0.75,
        *,
        v_threshold: Coefficient = 0.5,
        surrogate_function: Surrogate = _RECT,
        **common: Any,
    ) -> None:
        super().__init__(v_threshold=v_threshold, surrogate_function=surrogate_function, **common)
        for name, value in (("c_decay", c_decay), ("v_decay", v_decay)):
            self._coefficient(name, value)
            kept = getattr(self, name)
            if ((kept < 0) | (kept > 1)).any() if isinstance(kept, Tensor) else not 0 <= kept <= 1:
                raise self._bad(name, "be in [0, 1]", value, "pass the share that is left after a step, 1 - 1/tau")

    def charge(self, x: Tensor, *state: Tensor, **own: Any) -> tuple[Tensor, ...]:
        """Return h and the new current."""
        v, i = state
        return cuba_lif_charge(x, v, i, own["c_decay"], own["v_decay"])

    def rest(self) -> tuple[float, ...]:
        """Return what potential and current start from."""
        return (self.reset_target, 0.0)

    def coefficients(self) -> dict[str, Coefficient]:
        """The decays."""
        return {"c_decay": self.c_decay, "v_decay": self.v_decay}

    def extra_repr(self) -> str:
        """Return the arguments that matter."""
        return f"c_decay={shown(self.c_decay)}, v_decay={shown(self.v_decay)}, {super().extra_repr()}"
