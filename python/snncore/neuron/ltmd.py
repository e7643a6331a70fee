"""LIF with a learned threshold."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..surrogate import Rect, Surrogate
from .fixed_reset import FixedReset
from .lif import LIFNode
from .stages import Coefficient

__all__ = ["LTMDNode"]

_RECT = Rect(1.0)


class LTMDNode(FixedReset, LIFNode):
    """LIF whose threshold is learned: v_threshold = tanh(w) (LTMD; Wang, Cheng, Lim, NeurIPS 2022).

    h = 0.25 * v + x (tau = 4/3 without ``decay_input``), hard reset to 0, surrogate of width 1, all as published.
    Parameter ``w``: [] (one threshold for the layer, as in the paper) or [channels]. Nothing keeps the threshold
    positive; below 0 the neuron fires at rest. The paper's moderate dropout belongs to the layers between neurons.

    Args:
        tau: as in ``LIFNode``.
        decay_input: as in ``LIFNode``.
        v_threshold: the threshold at the start, in (-1, 1); tanh(0.5) in the paper. Read later, it is the tensor
            tanh(w); set to a number, it sets w.
        channels: None for one threshold; else the size of dimension 1 of a step [B, channels, *].
        surrogate_function: as in ``BaseNode``, ``Rect(1.0)`` if not given.
        **common: see ``BaseNode``; ``v_reset`` is 0.
    """

    only_reset = 0.0
    w: nn.Parameter

    def __init__(
        self,
        tau: Coefficient = 4 / 3,
        decay_input: bool = False,
        *,
        v_threshold: float = math.tanh(0.5),
        channels: int | None = None,
        surrogate_function: Surrogate = _RECT,
        **common: Any,
    ) -> None:
        if channels is not None and (type(channels) is not int or not 1 <= channels < 2**31):
            raise self._bad("channels", "be None or a positive integer", channels, "pass the channels of the input")
        if isinstance(v_threshold, Tensor):
            raise self._bad("v_threshold", "be a number, where learning starts", v_threshold, "pass channels for many")
        super().__init__(
            tau, decay_input, v_threshold=v_threshold, surrogate_function=surrogate_function, **common
        )  # fmt: skip
        if channels is not None:
            self.w = nn.Parameter(self.w.detach().expand(channels).clone())

    @property
    def v_threshold(self) -> Tensor:
        """The thresholds tanh(w), [] or [channels]."""
        return torch.tanh(self.w)

    @v_threshold.setter
    def v_threshold(self, value: Coefficient) -> None:
        number = self._number("v_threshold", value)
        if not -1.0 < number < 1.0:
            raise self._bad("v_threshold", "be in (-1, 1), the range of tanh", value, "scale the input instead")
        if "w" in self._parameters:
            with torch.no_grad():
                self.w.fill_(math.atanh(number))
        else:
            self.w = nn.Parameter(torch.tensor(math.atanh(number)))
