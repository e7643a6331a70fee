"""Layers without weights that shrink, stretch or reshape each step.

Each pool is the torch class of its name with a step mode: one step's axes are given, and in 'm' ``T`` stands before
them.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..errors import ArgumentError
from .base import StepModule, StepShape
from .synapse import IMAGE, LINE, VOLUME

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "Flatten",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "ReLU",
    "Upsample",
    "Voting",
]


class MaxPool1d(StepModule, nn.MaxPool1d):
    """`torch.nn.MaxPool1d` with a step mode. 's': x [B, C, L]. 'm': x_seq [T, B, C, L]."""

    step_shape = LINE


class MaxPool2d(StepModule, nn.MaxPool2d):
    """`torch.nn.MaxPool2d` with a step mode. 's': x [B, C, H, W]. 'm': x_seq [T, B, C, H, W]."""

    step_shape = IMAGE


class MaxPool3d(StepModule, nn.MaxPool3d):
    """`torch.nn.MaxPool3d` with a step mode. 's': x [B, C, D, H, W]. 'm': x_seq [T, B, C, D, H, W]."""

    step_shape = VOLUME


class AvgPool1d(StepModule, nn.AvgPool1d):
    """`torch.nn.AvgPool1d` with a step mode. 's': x [B, C, L]. 'm': x_seq [T, B, C, L]."""

    step_shape = LINE


class AvgPool2d(StepModule, nn.AvgPool2d):
    """`torch.nn.AvgPool2d` with a step mode. 's': x [B, C, H, W]. 'm': x_seq [T, B, C, H, W]."""

    step_shape = IMAGE


class AvgPool3d(StepModule, nn.AvgPool3d):
    """`torch.nn.AvgPool3d` with a step mode. 's': x [B, C, D, H, W]. 'm': x_seq [T, B, C, D, H, W]."""

    step_shape = VOLUME


class AdaptiveAvgPool1d(StepModule, nn.AdaptiveAvgPool1d):
    """`torch.nn.AdaptiveAvgPool1d` with a step mode. 's': x [B, C, L]. 'm': x_seq [T, B, C, L]."""

    step_shape = LINE


class AdaptiveAvgPool2d(StepModule, nn.AdaptiveAvgPool2d):
    """`torch.nn.AdaptiveAvgPool2d` with a step mode. 's': x [B, C, H, W]. 'm': x_seq [T, B, C, H, W]."""

    step_shape = IMAGE


class AdaptiveAvgPool3d(StepModule, nn.AdaptiveAvgPool3d):
    """`torch.nn.AdaptiveAvgPool3d` with a step mode. 's': x [B, C, D, H, W]. 'm': x_seq [T, B, C, D, H, W]."""

    step_shape = VOLUME


class AdaptiveMaxPool1d(StepModule, nn.AdaptiveMaxPool1d):
    """`torch.nn.AdaptiveMaxPool1d` with a step mode. 's': x [B, C, L]. 'm': x_seq [T, B, C, L]."""

    step_shape = LINE


class AdaptiveMaxPool2d(StepModule, nn.AdaptiveMaxPool2d):
    """`torch.nn.AdaptiveMaxPool2d` with a step mode. 's': x [B, C, H, W]. 'm': x_seq [T, B, C, H, W]."""

    step_shape = IMAGE


class AdaptiveMaxPool3d(StepModule, nn.AdaptiveMaxPool3d):
    """`torch.nn.AdaptiveMaxPool3d` with a step mode. 's': x [B, C, D, H, W]. 'm': x_seq [T, B, C, D, H, W]."""

    step_shape = VOLUME


class Flatten(StepModule, nn.Flatten):
    """`torch.nn.Flatten` with a step mode. 's': x [B, *]. 'm': x_seq [T, B, *].

    ``start_dim`` and ``end_dim`` count the axes of one step, [B, *], in both step modes: the default 1 keeps the
    batch, and in 'm' the time. ``start_dim=0`` has no meaning over time and raises ArgumentError in 'm'.
    """

    step_shape = StepShape("B, *", 2, None)

    def forward_step(self, x: Tensor, *more: Any) -> Any:
        """Flatten ``x``: [B, *], in step mode 'm' [T * B, *], from ``start_dim`` to ``end_dim``."""
        if self.step_mode == "m" and self.start_dim in (0, -x.ndim):
            raise ArgumentError(
                f"Flatten.start_dim: must leave the batch axis alone in step_mode 'm', got {self.start_dim}; "
                "use start_dim=1 or later"
            )
        return super().forward_step(x)


class Upsample(StepModule, nn.Upsample):
    """`torch.nn.Upsample` with a step mode. 's': x [B, C, L], [B, C, H, W] or [B, C, D, H, W]. 'm': ``T`` before it."""

    step_shape = StepShape("B, C, *", 3, 5)


class Voting(StepModule, nn.Module):
    """The mean of every ``size`` neighbours: a group of neurons votes for a class.

    's': x [B, *, N * size] -> [B, *, N]. 'm': x_seq [T, B, *, N * size] -> [T, B, *, N].
    Source: Fang et al., ICCV 2021, arXiv:2007.05785 (there an average pool over the last layer).

    Args:
        size: neurons in a group.
        step_mode: 's' or 'm'.

    Raises:
        ArgumentError: ``size`` is no whole number >= 1; on forward: the last axis does not divide by it.
    """

    step_shape = StepShape("B, *", 2, None)

    def __init__(self, size: int = 10, *, step_mode: str = "s") -> None:
        super().__init__(step_mode=step_mode)
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ArgumentError(f"Voting.size: must be a whole number >= 1, got {size!r}; give the size of a group")
        self.size = size

    def forward_step(self, x: Tensor, *more: Any) -> Tensor:
        """Return the means over the groups of the last axis."""
        if x.shape[-1] % self.size:
            raise ArgumentError(
                f"Voting.x: must have a last axis that divides by size = {self.size}, got {x.shape[-1]}; "
                "give each class as many neurons"
            )
        return x.view(*x.shape[:-1], -1, self.size).mean(-1)

    def extra_repr(self) -> str:
        """Return the size and the step mode."""
        return f"{self.size}, step_mode={self.step_mode}"


class ReLU(StepModule, nn.ReLU):
    """`torch.nn.ReLU` with a step mode, so that the twin of a spiking net computes a static input once."""

    step_shape = StepShape("B, *", 2, None)
