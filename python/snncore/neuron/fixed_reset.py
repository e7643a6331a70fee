"""Neurons whose publication fixes the reset."""

from __future__ import annotations

from typing import Any, ClassVar

from .base import BaseNode, Reset

__all__ = ["FixedReset", "SoftResetNode"]


class FixedReset(BaseNode):
    """Takes ``v_reset`` only as ``only_reset``, now and later; ArgumentError otherwise."""

    only_reset: ClassVar[Reset]

    def __init__(self, *arguments: Any, **common: Any) -> None:
        common.setdefault("v_reset", self.only_reset)
        super().__init__(*arguments, **common)

    @property
    def v_reset(self) -> Reset:
        """The reset that is part of this neuron."""
        return self._v_reset

    @v_reset.setter
    def v_reset(self, value: Reset) -> None:
        fixed = self.only_reset
        if value is not fixed and (type(value) not in (int, float, str) or value != fixed):
            raise self._bad("v_reset", f"be {fixed!r}, which is part of this neuron", value, "leave it out")
        self._v_reset = fixed


class SoftResetNode(FixedReset):
    """Base of neurons that subtract at a spike and know no other reset: ``v_reset`` is None and stays so."""

    only_reset = None
