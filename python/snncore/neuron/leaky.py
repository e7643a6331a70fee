"""snnTorch's Leaky: the leaky integrator given by its decay, with its reset timing as an explicit choice."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..ops.neuron import state_dtype
from ..surrogate import ATan, Surrogate
from .base import BaseNode, Reset

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

    def __init__(
        self,
        beta: float | Tensor = 0.9,
        *,
        v_threshold: float = 1.0,
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
        # One fixed number is a plain attribute, like LIFNode.tau; a tensor is a buffer or a parameter.
        self.beta: float | Tensor
        if learn_beta:
            self.beta = nn.Parameter(self._beta_tensor(beta))
        elif isinstance(beta, Tensor):
            self.register_buffer("beta", self._beta_tensor(beta))
        else:
            self.beta = self._number("beta", beta)

    def _beta_tensor(self, beta: float | Tensor) -> Tensor:
        given = beta.detach().clone() if isinstance(beta, Tensor) else torch.tensor(self._number("beta", beta))
        if given.dim() > 1 or not given.is_floating_point():
            raise self._bad("beta", "be a number or a floating tensor [] or [C]", list(given.shape), "flatten it")
        if not given.isfinite().all():
            raise self._bad("beta", "be finite", given, "pass decays in [0, 1]")
        return given

    def _beta(self, step_shape: torch.Size, dtype: torch.dtype) -> float | Tensor:
        """beta in [0, 1]: a number, [] or [C], checked against the shape of a step."""
        if not isinstance(self.beta, Tensor):
            return min(max(self.beta, 0.0), 1.0)
        if self.beta.dim() and (len(step_shape) < 2 or step_shape[1] != self.beta.shape[0]):
            raise self._bad(
                "beta", f"have as many elements as dimension 1 of a step, here of shape {list(step_shape)}",
                list(self.beta.shape), "pass beta for this layer's features",
            )  # fmt: skip
        return self.beta.to(dtype).clamp(0.0, 1.0)

    def charge(self, x: Tensor, *state: Tensor) -> Tensor:
        """Return beta * v + x with the delayed reset folded in."""
        (v,) = state
        beta = self._beta(x.shape, v.dtype)
        if isinstance(beta, Tensor) and beta.dim():
            beta = beta.view(-1, *(1,) * (v.dim() - 2))
        fired = (v >= self.v_threshold).to(v.dtype)
        if self.reset_delay and self.reset_mechanism == "zero":
            return beta * ((1.0 - fired) * v) + x
        if self.reset_delay and self.reset_mechanism == "subtract":
            return beta * v + x - fired * self.v_threshold
        return beta * v + x

    def constants(self) -> tuple[float, ...]:
        """beta, then v_threshold and the switches of the delayed reset."""
        zero = self.reset_delay and self.reset_mechanism == "zero"
        subtract = self.reset_delay and self.reset_mechanism == "subtract"
        beta = 0.0 if isinstance(self.beta, Tensor) else min(max(self.beta, 0.0), 1.0)
        return (beta, self.v_threshold, float(zero), self.v_threshold if subtract else 0.0)

    def parameter_rows(self, x_seq: Tensor) -> tuple[Tensor | None, int]:
        """beta as [1, channels] and the lanes per channel, unless it is one fixed number."""
        beta = self._beta(x_seq.shape[1:], state_dtype(x_seq.dtype))
        if not isinstance(beta, Tensor):
            return None, 1
        return beta.view(1, -1), math.prod(x_seq.shape[3:]) if beta.dim() else 1

    def extra_repr(self) -> str:
        """Return the arguments that matter."""
        many = isinstance(self.beta, Tensor) and self.beta.dim()
        beta = f"[{self.beta.numel()}]" if many else f"{float(self.beta):g}"  # type: ignore[union-attr]
        timing = f"reset_mechanism={self.reset_mechanism}, reset_delay={self.reset_delay}"
        return f"beta={beta}, {timing}, {super().extra_repr()}"
