"""Integrate and fire."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .base import BaseNode

__all__ = ["IFNode"]


class IFNode(BaseNode):
    """Integrate-and-fire neuron: h = v + x (Lapicque, 1907, without leak).

    Arguments, shapes and errors: ``BaseNode``.
    """

    native = "if"

    def charge(self, x: Tensor, *state: Tensor, **own: Any) -> Tensor:
        """Return v + x."""
        return state[0] + x
