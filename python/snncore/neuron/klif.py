"""Leaky integrate and fire with a learnable scale of the potential."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .base import BaseNode
from .coefficients import require_above
from .lif import lif_charge
from .stages import Coefficient

__all__ = ["KLIFNode"]


class KLIFNode(BaseNode):
    """LIF whose potential is scaled by a learned k and rectified before it fires (Jiang and Zhang, arXiv:2302.09238).

    h = relu(k * u), u the charge of ``LIFNode``; the neuron fires on h. The reset acts on h; with ``scale_reset`` on
    h / k, with ``v_threshold / k``, as SpikingJelly adds to the paper, whose neuron is the default here: hard reset
    to 0, ``decay_input``, no ``scale_reset``.

    Parameter ``k``: [] (one for the layer, as in the paper) or [channels], learned unbounded. Where it is not positive
    the neuron is silent.

    Args:
        tau: membrane time constant in time steps, > 1. A number or, like ``v_threshold``, a tensor [] or [C]; as a
            ``nn.Parameter`` it is learned unbounded.
        decay_input: as in ``LIFNode``.
        scale_reset: see above.
        init_k: k at the start, > 0.
        channels: None for one k; else the size of dimension 1 of a step [B, channels, *], each with its own k.
        v_rest: as in ``LIFNode``.
        **common: see ``BaseNode``.
    """

    native = "klif"
    tau: Coefficient

    def __init__(
        self,
        tau: Coefficient = 2.0,
        decay_input: bool = True,
        *,
        scale_reset: bool = False,
        init_k: float = 1.0,
        channels: int | None = None,
        v_rest: float | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self._coefficient("tau", tau)
        require_above(self, 1.0, "tau")
        self.init_k = self._number("init_k", init_k)
        if self.init_k <= 0.0:
            raise self._bad("init_k", "be greater than 0", init_k, "pass a positive scale")
        if channels is not None and (type(channels) is not int or not 1 <= channels < 2**31):
            raise self._bad("channels", "be None or a positive integer", channels, "pass the channels of the input")
        self.decay_input = bool(decay_input)
        self.scale_reset = bool(scale_reset)
        self.v_rest = self.reset_target if v_rest is None else self._number("v_rest", v_rest)
        self.k = nn.Parameter(torch.full(() if channels is None else (channels,), self.init_k))

    def charge(self, x: Tensor, *state: Tensor, **own: Any) -> Tensor:
        """Return h, the scaled and rectified potential."""
        return torch.relu(own["k"] * lif_charge(x, state[0], own["rate"], self.v_rest, self.decay_input))

    def settle(
        self, h: tuple[Tensor, ...], spikes: tuple[Tensor, ...], v_threshold: Coefficient, **own: Any
    ) -> tuple[Tensor, ...]:
        """Return v after reset."""
        if not self.scale_reset:
            return (self.after_reset(h[0], spikes[0], v_threshold),)
        inverse = 1.0 / own["k"]
        return (self.after_reset(h[0] * inverse, spikes[0], v_threshold * inverse),)

    def coefficients(self) -> dict[str, Coefficient]:
        """1/tau and k."""
        return {"rate": 1.0 / self.tau, "k": self.k}

    def constants(self) -> tuple[float, ...]:
        """v_rest, decay_input and scale_reset."""
        return (self.v_rest, float(self.decay_input), float(self.scale_reset))

    def extra_repr(self) -> str:
        """Return the arguments that matter."""
        charge = f"tau={self.tau}, decay_input={self.decay_input}, v_rest={self.v_rest}"
        return f"{charge}, init_k={self.init_k}, scale_reset={self.scale_reset}, {super().extra_repr()}"
