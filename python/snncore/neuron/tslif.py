"""Two compartments with two time scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..surrogate import ATan
from .fixed_reset import SoftResetNode
from .stages import Coefficient

__all__ = ["TSLIFNode"]

_ATAN = ATan(2.0)
_OWN = ("k", "y", "alpha_s", "alpha_l")


class TSLIFNode(SoftResetNode):
    """Temporal-segment LIF: a slow dendrite and a fast soma, both of which fire (TS-LIF).

    dendrite: h1 = decay[0] * v1 + decay[1] * x - y * v2;  v1 = h1 - gamma * [h1 >= v_threshold]
    soma: h2 = decay[2] * v2 + decay[3] * x - k * h1;  v2 = h2 - v_threshold * [h2 >= v_threshold]
    What leaves is alpha_s * [h2 >= v_threshold] + alpha_l * [h1 >= v_threshold], a real number
    (Feng et al., "TS-LIF", ICLR 2025, arXiv:2503.05108). The states are v2 and v1, both from 0.

    Everything but gamma is learned, without bounds, as published: parameters ``decay`` [4], ``k``, ``y``, ``alpha_s``
    and ``alpha_l``. The authors' layers share the storage of one decay vector by accident; these do not.
    ``detach_reset`` detaches both resets (the authors' code ignores it).

    Args:
        decay: the four weights of v1, x, v2 and x.
        k: from the dendrite to the soma; a number, or a tensor [] or [C] like ``v_threshold``.
        y: from the soma back to the dendrite, likewise.
        alpha_s: what a spike of the soma leaves as, likewise; the authors start from ``torch.randn(features)``.
        alpha_l: what a spike of the dendrite leaves as, likewise.
        gamma: what a spike takes from the dendrite.
        learn: False to keep fixed what is not given as a ``nn.Parameter``.
        **common: see ``BaseNode``; the reset is soft and ``surrogate_function`` by default ``ATan(2.0)``, as published.

    Raises:
        ArgumentError: an argument cannot be used.
    """

    native = "tslif"
    decay: Tensor

    def __init__(
        self,
        decay: Sequence[float] | Tensor = (0.8, 0.2, 0.3, 0.7),
        *,
        k: Coefficient = 0.8,
        y: Coefficient = 0.1,
        alpha_s: Coefficient = 1.0,
        alpha_l: Coefficient = 1.0,
        gamma: float = 0.5,
        learn: bool = True,
        **common: Any,
    ) -> None:
        common.setdefault("surrogate_function", _ATAN)
        super().__init__(**common)
        if not isinstance(decay, (Tensor, tuple, list)) or len(decay) != 4:
            raise self._bad("decay", "be four numbers", decay, "pass the weights of v1, x, v2 and x")
        if not isinstance(decay, Tensor):
            decay = torch.tensor([self._number("decay", d) for d in decay])
        for name, value in (("decay", decay), ("k", k), ("y", y), ("alpha_s", alpha_s), ("alpha_l", alpha_l)):
            self._coefficient(name, value)  # first, for its checks
            if learn and not isinstance(value, nn.Parameter):
                delattr(self, name)
                start = value.detach().clone() if isinstance(value, Tensor) else torch.tensor(float(value))
                self._coefficient(name, nn.Parameter(start))
        self.gamma = self._number("gamma", gamma)

    def charge(self, x: Tensor, *state: Tensor, **own: Any) -> tuple[Tensor, ...]:
        """Return h2 and h1, from the old v2 and the new h1."""
        v2, v1 = state
        h1 = own["d0"] * v1 + own["d1"] * x - own["y"] * v2
        return own["d2"] * v2 + own["d3"] * x - own["k"] * h1, h1

    def margin(self, h: tuple[Tensor, ...], v_threshold: Coefficient, **own: Any) -> tuple[Tensor, ...]:
        """Return how far soma and dendrite are above threshold."""
        return h[0] - v_threshold, h[1] - v_threshold

    def emit(self, spikes: tuple[Tensor, ...], **own: Any) -> Tensor:
        """Return the weighted sum of both spikes."""
        both: Tensor = own["alpha_s"] * spikes[0] + own["alpha_l"] * spikes[1]
        return both

    def settle(
        self, h: tuple[Tensor, ...], spikes: tuple[Tensor, ...], v_threshold: Coefficient, **own: Any
    ) -> tuple[Tensor, ...]:
        """Return v2 and v1 after their resets."""
        soma, dendrite = (s.detach() if self.detach_reset else s for s in spikes)
        return h[0] - v_threshold * soma, h[1] - self.gamma * dendrite

    def rest(self) -> tuple[float, ...]:
        """Both potentials start at 0."""
        return (0.0, 0.0)

    def coefficients(self) -> dict[str, Coefficient]:
        """The four decays, k, y, alpha_s and alpha_l."""
        own: dict[str, Coefficient] = {f"d{i}": d for i, d in enumerate(self.decay.unbind(0))}
        return own | {name: getattr(self, name) for name in _OWN}

    def constants(self) -> tuple[float, ...]:
        """gamma."""
        return (self.gamma,)

    def extra_repr(self) -> str:
        """Return the arguments that matter."""
        return f"decay={[round(d, 4) for d in self.decay.tolist()]}, gamma={self.gamma}, {super().extra_repr()}"
