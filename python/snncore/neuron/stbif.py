"""Ternary bipolar integrate and fire with a spike counter."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .coefficients import require_above
from .fixed_reset import SoftResetNode
from .stages import Coefficient

__all__ = ["STBIFNode"]


class STBIFNode(SoftResetNode):
    """Stands in for a trained quantiser: the sum of its output is the quantised sum of its input (ST-BIF).

    q = q + x / v_threshold, from q = 1/2;  spike = [q >= 1 and count < most] - [q < 0 and count > least];
    q and the count of spikes move by it, and spike * v_threshold leaves
    (You et al., "SpikeZIP-TF", ICML 2024, arXiv:2406.03470). With enough steps after the input ends, the sum of the
    output is v_threshold * clip(floor(sum(x) / v_threshold + 1/2), least, most). The states are q (in units of
    v_threshold, so ``v`` and ``v_seq`` are, too) and the count.

    The published neuron only infers and has no gradient. Here both conditions have the surrogate's, taken at q - 1 and
    at q, and none where the count closes a side; ``detach_reset`` detaches the spike in q, not in the count.

    Args:
        level: levels of the quantiser, at least 2: the count stays within 0 .. level - 1.
        sym: True: within -level//2 .. level//2 - 1.
        **common: see ``BaseNode``; ``v_threshold`` > 0 is the quantiser's scale (SpikingJelly: ``q_threshold``) and
            the reset is soft.

    Raises:
        ArgumentError: an argument cannot be used.
    """

    native = "stbif"

    def __init__(self, level: int = 32, sym: bool = False, **common: Any) -> None:
        super().__init__(**common)
        require_above(self, 0.0, "v_threshold")
        if type(level) is not int or level < 2:
            raise self._bad("level", "be an integer of at least 2", level, "pass the levels of the quantiser")
        self.level, self.sym = level, bool(sym)
        self.most, self.least = (level // 2 - 1, -level // 2) if sym else (level - 1, 0)

    def charge(self, x: Tensor, *state: Tensor, **own: Any) -> tuple[Tensor, ...]:
        """Return q with the input, and the count."""
        return state[0] + x / own["scale"], state[1]

    def margin(self, h: tuple[Tensor, ...], v_threshold: Coefficient, **own: Any) -> tuple[Tensor, ...]:
        """Return q - 1 and q where the count allows a spike; elsewhere what they are at rest."""
        q, count = h
        return torch.where(count < self.most, q - 1.0, -0.5), torch.where(count > self.least, q, 0.5)

    @staticmethod
    def _spike(spikes: tuple[Tensor, ...]) -> Tensor:
        # The negative spike is where the second condition fails: q < 0, not -q >= 0, for q = 0 happens.
        return spikes[0] - (1.0 - spikes[1])

    def emit(self, spikes: tuple[Tensor, ...], **own: Any) -> Tensor:
        """Return the spike in {-1, 0, 1}, times v_threshold."""
        spike: Tensor = self._spike(spikes) * own["scale"]
        return spike

    def settle(
        self, h: tuple[Tensor, ...], spikes: tuple[Tensor, ...], v_threshold: Coefficient, **own: Any
    ) -> tuple[Tensor, ...]:
        """Return q without the spike, and the count with it."""
        spike = self._spike(spikes)
        return h[0] - (spike.detach() if self.detach_reset else spike), h[1] + spike

    def rest(self) -> tuple[float, ...]:
        """Half a level, so that the quantiser rounds; nothing counted."""
        return (0.5, 0.0)

    def coefficients(self) -> dict[str, Coefficient]:
        """The scale of input and output, v_threshold."""
        return {"scale": self.v_threshold}

    def constants(self) -> tuple[float, ...]:
        """The limits of the count."""
        return (float(self.most), float(self.least))

    def extra_repr(self) -> str:
        """Return the arguments that matter."""
        return f"level={self.level}, sym={self.sym}, {super().extra_repr()}"
