"""Layers with weights that map one step to the next.

Each class is the torch class of its name with a step mode: one step's axes are given, and in 'm' ``T`` stands before
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from .base import StepModule, StepShape
from .time import over_time

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "Linear"]

LINE = StepShape("B, C, L", 3, 3)
IMAGE = StepShape("B, C, H, W", 4, 4)
VOLUME = StepShape("B, C, D, H, W", 5, 5)


class Conv1d(StepModule, nn.Conv1d):
    """`torch.nn.Conv1d` with a step mode. 's': x [B, C, L]. 'm': x_seq [T, B, C, L]."""

    step_shape = LINE


class Conv2d(StepModule, nn.Conv2d):
    """`torch.nn.Conv2d` with a step mode. 's': x [B, C, H, W]. 'm': x_seq [T, B, C, H, W]."""

    step_shape = IMAGE


class Conv3d(StepModule, nn.Conv3d):
    """`torch.nn.Conv3d` with a step mode. 's': x [B, C, D, H, W]. 'm': x_seq [T, B, C, D, H, W]."""

    step_shape = VOLUME


class _Transposed(StepModule):
    """What the transposed convolutions share: the optional size of the output."""

    def forward(self, x: Tensor, output_size: Sequence[int] | None = None) -> Any:
        """Apply the layer to ``x``; ``output_size`` is that of one step, as in torch."""
        if output_size is None:
            return super().forward(x)
        self.check_shape(x)
        if self.step_mode == "s":
            return super().forward_step(x, output_size)
        return over_time(lambda step: super(_Transposed, self).forward_step(step, output_size), x)


class ConvTranspose1d(_Transposed, nn.ConvTranspose1d):
    """`torch.nn.ConvTranspose1d` with a step mode. 's': x [B, C, L]. 'm': x_seq [T, B, C, L]."""

    step_shape = LINE


class ConvTranspose2d(_Transposed, nn.ConvTranspose2d):
    """`torch.nn.ConvTranspose2d` with a step mode. 's': x [B, C, H, W]. 'm': x_seq [T, B, C, H, W]."""

    step_shape = IMAGE


class ConvTranspose3d(_Transposed, nn.ConvTranspose3d):
    """`torch.nn.ConvTranspose3d` with a step mode. 's': x [B, C, D, H, W]. 'm': x_seq [T, B, C, D, H, W]."""

    step_shape = VOLUME


class Linear(StepModule, nn.Linear):
    """`torch.nn.Linear` with a step mode. 's': x [B, *, in_features]. 'm': x_seq [T, B, *, in_features]."""

    step_shape = StepShape("B, *, in_features", 2, None)
