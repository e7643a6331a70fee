"""snnTorch's Leaky: the leaky integrator given by its decay, with its reset timing as an explicit choice."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..surrogate import ATan, Surrogate
from .base import BaseNode, Reset
from .stages import Coefficient

__all__ = ["Leaky"]

_ATAN = ATan(2.0)
_MECHANISMS: dict[str, Reset] = {"subtract": None, "zero": 0.0, "none": "none"}


class Leaky(BaseNode):
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
        v_threshold: as in ``BaseNode``.
        spike_grad: surrogate (also taken as ``surrogate_function``); None: ``ATan(2.0)``.
        reset_mechanism: ``"subtract"``, ``"zero"`` or ``"none"``.
        reset_delay: see above.
        learn_beta: make beta a parameter.
        **common: ``detach_reset``, ``step_mode``, ``store_v_seq``, ``engine`` of ``BaseNode``.
    """

    native = "leaky"
    beta: Coefficient

    def __init__(
        self,
        beta: Coefficient = 0.9,
        *,
        v_threshold: Coefficient = 1.0,
        spike_grad: Surrogate | None = None,
        reset_mechanism: str = "subtract",
        reset_delay: bool = True,
        learn_beta: bool = False,
        **common: Any,
    ) -> None:
        if not isinstance(reset_mechanism, str) or reset_mechanism not in _MECHANISMS:
            raise self._bad(
                "reset_mechanism", "be 'subtract', 'zero' or 'none'", reset_mechanism, "pass one of them"
            )  # fmt: skip
        if "v_reset" in common:
            raise self._bad("v_reset", "be absent", common["v_reset"], "choose reset_mechanism instead")
        surrogate = common.pop("surrogate_function", _ATAN)  # the name every other neuron gives it
        surrogate = surrogate if spike_grad is None else spike_grad
        v_reset = "none" if reset_delay else _MECHANISMS[reset_mechanism]
        super().__init__(v_threshold=v_threshold, v_reset=v_reset, surrogate_function=surrogate, **common)
        self.reset_mechanism = reset_mechanism
        self.reset_delay = bool(reset_delay)
        if learn_beta and not isinstance(beta, nn.Parameter):
            beta = nn.Parameter(beta.detach().clone() if isinstance(beta, Tensor) else torch.tensor(float(beta)))
        self._coefficient("beta", beta)

    def charge(self, x: Tensor, *state: Tensor, **own: Any) -> Tensor:
        """Return beta * v + x with the delayed reset folded in."""
        v, beta, threshold = state[0], own["beta"], own["delayed_threshold"]
        h: Tensor
        fired = (v >= threshold).to(v.dtype)
        if self.reset_delay and self.reset_mechanism == "zero":
            h = beta * ((1.0 - fired) * v) + x
        elif self.reset_delay and self.reset_mechanism == "subtract":
            h = beta * v + x - fired * threshold
        else:
            h = beta * v + x
        return h

    def coefficients(self) -> dict[str, Coefficient]:
        """beta in [0, 1], and the threshold that a delayed reset looks at."""
        beta = self.beta.clamp(0.0, 1.0) if isinstance(self.beta, Tensor) else min(max(self.beta, 0.0), 1.0)
        return {"beta": beta, "delayed_threshold": self.v_threshold}

    def constants(self) -> tuple[float, ...]:
        """The switches of the delayed reset: zero, subtract."""
        return tuple(float(self.reset_delay and self.reset_mechanism == m) for m in ("zero", "subtract"))

    def extra_repr(self) -> str:
        """Return the arguments that matter."""
        one = not isinstance(self.beta, Tensor) or self.beta.numel() == 1
        beta = f"{float(self.beta):g}" if one else f"[{self.beta.numel()}]"  # type: ignore[union-attr]
        timing = f"reset_mechanism={self.reset_mechanism}, reset_delay={self.reset_delay}"
        return f"beta={beta}, {timing}, {super().extra_repr()}"
