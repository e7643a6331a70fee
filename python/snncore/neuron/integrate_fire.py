"""Integrate and fire."""

from __future__ import annotations

from torch import Tensor

from .base import BaseNode

__all__ = ["IFNode"]


class IFNode(BaseNode):
    """Integrate-and-fire neuron: h = v + x (Lapicque, 1907, without leak).

    Arguments, shapes and errors: ``BaseNode``.
    """

    native = "if"

    def charge(self, x: Tensor, *state: Tensor) -> Tensor:
        """Return v + x."""
        (v,) = state
        return v + x
