"""What neurons share whose publication fixes the reset, and the check of a coefficient's range."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .base import BaseNode, Reset

__all__ = ["SoftResetNode", "require_above"]


class SoftResetNode(BaseNode):
    """Base of neurons that subtract at a spike and know no other reset: ``v_reset`` is None and stays so."""

    def __init__(self, *, v_reset: Reset = None, **common: Any) -> None:
        super().__init__(v_reset=v_reset, **common)

    @property
    def v_reset(self) -> Reset:
        """None: this neuron subtracts at a spike."""
        return None

    @v_reset.setter
    def v_reset(self, value: Reset) -> None:
        if value is not None:
            raise self._bad("v_reset", "be None: this neuron subtracts at a spike", value, "leave it out")


def require_above(node: BaseNode, least: float, *names: str) -> None:
    """Raise ArgumentError unless every element of the coefficients ``names`` of ``node`` is above ``least``."""
    for name in names:
        value = getattr(node, name)
        lowest = float(value.detach().min()) if isinstance(value, Tensor) else value
        if not lowest > least:
            raise node._bad(name, f"be greater than {least:g}", lowest, "pass a larger value")
