"""Layers without weights that shrink or reshape each step."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..errors import ArgumentError
from .base import StepModule, StepShape

__all__ = ["AdaptiveAvgPool2d", "AvgPool2d", "Flatten", "MaxPool2d"]

_IMAGE = StepShape("B, C, H, W", 4, 4)


class MaxPool2d(StepModule, nn.MaxPool2d):
    """`torch.nn.MaxPool2d` with a step mode. 's': x [B, C, H, W]. 'm': x_seq [T, B, C, H, W]."""

    step_shape = _IMAGE


class AvgPool2d(StepModule, nn.AvgPool2d):
    """`torch.nn.AvgPool2d` with a step mode. 's': x [B, C, H, W]. 'm': x_seq [T, B, C, H, W]."""

    step_shape = _IMAGE


class AdaptiveAvgPool2d(StepModule, nn.AdaptiveAvgPool2d):
    """`torch.nn.AdaptiveAvgPool2d` with a step mode. 's': x [B, C, H, W]. 'm': x_seq [T, B, C, H, W]."""

    step_shape = _IMAGE


class Flatten(StepModule, nn.Flatten):
    """`torch.nn.Flatten` with a step mode. 's': x [B, *]. 'm': x_seq [T, B, *].

    ``start_dim`` and ``end_dim`` count the axes of one step, [B, *], in both step modes: the default 1 keeps the
    batch, and in 'm' the time. ``start_dim=0`` has no meaning over time and raises ArgumentError in 'm'.
    """

    step_shape = StepShape("B, *", 2, None)

    def forward_step(self, x: Tensor) -> Any:
        """Flatten ``x``: [B, *], in step mode 'm' [T * B, *], from ``start_dim`` to ``end_dim``."""
        if self.step_mode == "m" and self.start_dim in (0, -x.ndim):
            raise ArgumentError(
                f"Flatten.start_dim: must leave the batch axis alone in step_mode 'm', got {self.start_dim}; "
                "use start_dim=1 or later"
            )
        return super().forward_step(x)
