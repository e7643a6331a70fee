"""Normalisation over batch and time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .base import StepModule, StepShape
from .time import is_static, over_time

__all__ = ["BatchNorm2d"]


class BatchNorm2d(StepModule, nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` with a step mode. 's': x [B, C, H, W]. 'm': x_seq [T, B, C, H, W].

    In 'm' the statistics are those of all T * B samples together, as in SpikingJelly.
    """

    step_shape = StepShape("B, C, H, W", 4, 4)

    def forward(self, x: Tensor) -> Any:
        """Normalise ``x``, [B, C, H, W] in step mode 's' or [T, B, C, H, W] in 'm'."""
        if self.step_mode == "s" or not self.training or x.ndim != 5 or not is_static(x):
            return super().forward(x)
        mean, var, seen = self.running_mean, self.running_var, self.num_batches_tracked
        if mean is None or var is None or seen is None:
            return super().forward(x)
        if self.momentum is None or x[0].numel() <= x.shape[2]:  # one value per channel has no variance to correct
            return over_time(self.forward_step, x, hoist=False)
        T, momentum = x.shape[0], self.momentum
        y_seq = over_time(lambda step: self._train_on_copies(step, mean, var, T, momentum), x)
        seen.add_(1)
        return y_seq

    def _train_on_copies(self, x: Tensor, running_mean: Tensor, running_var: Tensor, T: int, momentum: float) -> Tensor:
        """Normalise ``x``: [B, C, H, W] and update the running statistics as ``T`` copies of it would.

        Copies have the mean and the variance of the original. But running_var takes the unbiased variance, which
        depends on the number of values: ``values / (values - 1)`` has to become ``T * values / (T * values - 1)``.
        """
        mean, var = torch.zeros_like(running_mean), torch.zeros_like(running_var)
        # With momentum 1 these become the statistics of this batch. The running ones cannot be put right after an
        # update by torch: it keeps them for its backward pass.
        y = F.batch_norm(x, mean, var, self.weight, self.bias, training=True, momentum=1.0, eps=self.eps)
        values = x.numel() // x.shape[1]  # per channel
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(var * (T * (values - 1) / (T * values - 1)), momentum)
        return y
