"""Integrate and fire, from rest and from half a threshold."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..ops.neuron import state_dtype
from .base import BaseNode, State
from .coefficients import to_step
from .fixed_reset import FixedReset
from .stages import Coefficient

__all__ = ["HalfThresholdIFNode", "IFNode"]


class IFNode(BaseNode):
    """Integrate-and-fire neuron: h = v + x (Lapicque, 1907, without leak).

    Arguments, shapes and errors: ``BaseNode``.
    """

    native = "if"

    def charge(self, x: Tensor, *state: Tensor, **own: Any) -> Tensor:
        """Return v + x."""
        return state[0] + x


class HalfThresholdIFNode(FixedReset, IFNode):
    """Integrate and fire from v = v_threshold / 2, for nets converted from ANNs.

    The initial half and the soft reset are what makes the expected error of the conversion zero (Bu et al., "Optimal
    ANN-SNN Conversion", ICLR 2022, arXiv:2303.04347).

    Args:
        v_threshold: as in ``BaseNode``, > 0; each channel starts from its own half, through which gradient flows.
        **common: see ``BaseNode``; ``v_reset`` is None.
    """

    only_reset = None
    v_threshold: Coefficient

    def __init__(self, **common: Any) -> None:
        super().__init__(**common)
        threshold = self.v_threshold
        if (threshold <= 0).any() if isinstance(threshold, Tensor) else threshold <= 0:
            raise self._bad("v_threshold", "be greater than 0", common["v_threshold"], "pass a positive threshold")

    def rest(self) -> tuple[float, ...]:
        """Half the threshold where that is a number; half of a tensor is what ``_run`` starts from."""
        return (0.0 if isinstance(self.v_threshold, Tensor) else 0.5 * self.v_threshold,)

    @property
    def v(self) -> Tensor | float:
        """The potential after the last step in ``"s"`` [B, *]; half the threshold when there is none."""
        return 0.5 * self.v_threshold if self.state is None else self.state[0]

    def _run(
        self, x_seq: Tensor, state: State | None, keep_state: bool = True
    ) -> tuple[Tensor, State | None, Tensor | None]:
        threshold = self.v_threshold
        if state is None and isinstance(threshold, Tensor):
            step, dtype = x_seq.shape[1:], state_dtype(x_seq.dtype)
            self._check_channels([threshold], step)
            state = (x_seq.new_zeros(step, dtype=dtype) + 0.5 * to_step(threshold, dtype, len(step)),)
        return super()._run(x_seq, state, keep_state)
