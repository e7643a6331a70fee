"""What the neurons of snnTorch share: a reset by mechanism and timing, decays cut to [0, 1], parameters on request."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..surrogate import ATan, Surrogate
from .base import BaseNode, Reset
from .stages import Coefficient

__all__ = ["DelayedReset", "cut_to_unit"]

_ATAN = ATan(2.0)
_MECHANISMS: dict[str, Reset] = {"subtract": None, "zero": 0.0, "none": "none"}


def cut_to_unit(value: Coefficient) -> Coefficient:
    """Return ``value`` cut to [0, 1]."""
    return value.clamp(0.0, 1.0) if isinstance(value, Tensor) else min(max(value, 0.0), 1.0)


class DelayedReset(BaseNode):
    """Base of the neurons whose reset is a mechanism and a timing.

    ``reset_delay=True``: the potential that fired stays as it is, and ``charge`` of the next step resets it, by
    r = [v >= v_threshold], which carries no gradient. ``reset_delay=False``: the reset follows the spike at once.

    Args:
        v_threshold: as in ``BaseNode``.
        spike_grad: surrogate (also taken as ``surrogate_function``); None: ``ATan(2.0)``.
        reset_mechanism: ``"subtract"``, ``"zero"`` or ``"none"``.
        reset_delay: see above.
        learn_threshold: make ``v_threshold`` a parameter.
        **common: ``detach_reset``, ``step_mode``, ``store_v_seq``, ``engine`` of ``BaseNode``.
    """

    def __init__(
        self,
        *,
        v_threshold: Coefficient = 1.0,
        spike_grad: Surrogate | None = None,
        reset_mechanism: str = "subtract",
        reset_delay: bool = True,
        learn_threshold: bool = False,
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
        v_threshold = self._learned("v_threshold", v_threshold, learn_threshold)
        super().__init__(v_threshold=v_threshold, v_reset=v_reset, surrogate_function=surrogate, **common)
        self.reset_mechanism = reset_mechanism
        self.reset_delay = bool(reset_delay)

    def _learned(self, name: str, value: Coefficient, learn: bool) -> Coefficient:
        """Return ``value`` as a parameter if ``learn``; one that cannot be learned is left for others to refuse."""
        if not learn or isinstance(value, nn.Parameter):
            return value
        if not isinstance(value, Tensor):
            return nn.Parameter(torch.tensor(self._number(name, value)))
        return nn.Parameter(value.detach().clone()) if value.is_floating_point() else value

    def resets(self, mechanism: str) -> bool:
        """Return whether ``charge`` is to reset, by this mechanism, what fired in the step before."""
        return self.reset_delay and self.reset_mechanism == mechanism

    def reset_charged(self, u: Tensor, v: Tensor, v_threshold: Coefficient) -> Tensor:
        """Return h: the charged potential ``u`` with the delayed reset of ``v``, the potential before the step."""
        if self.resets("zero"):
            return torch.where(v >= v_threshold, 0.0, u)
        if self.resets("subtract"):
            return u - (v >= v_threshold).to(u.dtype) * v_threshold
        return u

    def constants(self) -> tuple[float, ...]:
        """The switches of the delayed reset: zero, subtract."""
        return tuple(float(self.resets(mechanism)) for mechanism in ("zero", "subtract"))

    def extra_repr(self) -> str:
        """Return the arguments that matter."""
        timing = f"reset_mechanism={self.reset_mechanism}, reset_delay={self.reset_delay}"
        return f"{timing}, {super().extra_repr()}"
