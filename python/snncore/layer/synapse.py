"""Layers with weights: what carries spikes from one neuron layer to the next."""

from __future__ import annotations

from torch import nn

from .base import StepModule, StepShape

__all__ = ["Conv2d", "Linear"]


class Conv2d(StepModule, nn.Conv2d):
    """`torch.nn.Conv2d` with a step mode. 's': x [B, C, H, W]. 'm': x_seq [T, B, C, H, W]."""

    step_shape = StepShape("B, C, H, W", 4, 4)


class Linear(StepModule, nn.Linear):
    """`torch.nn.Linear` with a step mode. 's': x [B, *, in_features]. 'm': x_seq [T, B, *, in_features]."""

    step_shape = StepShape("B, *, in_features", 2, None)
