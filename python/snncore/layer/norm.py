"""Normalisation of each step, or over batch and time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ArgumentError
from .base import StepModule, StepShape
from .time import is_static, over_time

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "GroupNorm",
    "LayerNorm",
    "ThresholdDependent",
    "ThresholdDependentBatchNorm1d",
    "ThresholdDependentBatchNorm2d",
    "ThresholdDependentBatchNorm3d",
]


class TimeBatchNorm(StepModule):
    """What the batch norms share. In 'm' the statistics are those of all T * B samples together, as in SpikingJelly."""

    scale: float = 1.0  # of what the statistics normalise; weight and bias follow
    num_features: int
    eps: float
    momentum: float | None
    weight: nn.Parameter  # None without affine, as in torch
    bias: nn.Parameter
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None
    track_running_stats: bool

    def forward(self, x: Tensor) -> Any:
        """Normalise ``x``, [B, C, *] in step mode 's' or [T, B, C, *] in 'm'."""
        self.check_shape(x)
        if self.step_mode == "s":
            return self.forward_step(x)
        if not self.training or not is_static(x):
            return over_time(self.forward_step, x)
        if self.running_mean is None:  # nothing to update: copies have the mean and the variance of the original
            return over_time(self.forward_step, x)
        if self.momentum is None or x[0].numel() <= x.shape[2]:  # one value per channel has no variance to correct
            return over_time(self.forward_step, x, hoist=False)
        return self._train_on_copies(x, self.momentum)

    def forward_step(self, x: Tensor, *more: Any) -> Tensor:
        """Normalise ``x``: [B, C, *], in step mode 'm' [T * B, C, *]."""
        tracks = self.training and self.num_batches_tracked is not None and self.track_running_stats
        momentum = 0.0 if self.momentum is None else self.momentum
        if tracks:
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
            if self.momentum is None:  # the mean over all batches so far
                momentum = 1.0 / float(self.num_batches_tracked)
        keeps = not self.training or self.track_running_stats
        mean, var = (self.running_mean, self.running_var) if keeps else (None, None)
        own = self.training or self.running_mean is None
        return self.normalise(x, mean, var, own, momentum)

    def normalise(self, x: Tensor, mean: Tensor | None, var: Tensor | None, own: bool, momentum: float) -> Tensor:
        """Normalise ``x`` by its own statistics (``own``; then they update ``mean`` and ``var``), or by the given."""
        return F.batch_norm(x, mean, var, self.gain(x), self.bias, own, momentum, self.eps)

    def gain(self, x: Tensor) -> Tensor | None:
        """Return what the normalised ``x`` is multiplied by: ``weight`` times ``scale``, [C]."""
        if self.scale == 1.0:
            return self.weight
        if self.weight is None:
            return torch.full((self.num_features,), self.scale, device=x.device, dtype=x.dtype)
        return self.weight * self.scale

    def check_shape(self, x: Tensor) -> None:
        """Raise ArgumentError unless rank and channels of ``x`` are those of the layer in its step mode."""
        super().check_shape(x)
        axis = 1 + int(self.step_mode == "m")
        if x.shape[axis] != self.num_features:
            axes = ("T, " if axis == 2 else "") + self.step_shape.axes
            raise ArgumentError(
                f"{type(self).__name__}.x: must be [{axes}] with C = {self.num_features} in step_mode "
                f"{self.step_mode!r}, got {list(x.shape)}; check its axes and the step mode"
            )

    def _train_on_copies(self, x_seq: Tensor, momentum: float) -> Tensor:
        """Normalise a static ``x_seq`` by its one step and update the running statistics as all T would.

        Copies have the mean and the variance of the original. But running_var takes the unbiased variance, which
        depends on the number of values: ``values / (values - 1)`` has to become ``T * values / (T * values - 1)``.
        """
        running_mean, running_var, seen = self.running_mean, self.running_var, self.num_batches_tracked
        assert running_mean is not None and running_var is not None and seen is not None
        mean, var = torch.zeros_like(running_mean), torch.zeros_like(running_var)
        # With momentum 1 these become the statistics of this batch. The running ones cannot be put right after an
        # update by torch: it keeps them for its backward pass.
        y_seq: Tensor = over_time(lambda x: self.normalise(x, mean, var, True, 1.0), x_seq)
        T, values = x_seq.shape[0], x_seq[0].numel() // x_seq.shape[2]  # per channel
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(var * (T * (values - 1) / (T * values - 1)), momentum)
        seen.add_(1)
        return y_seq


class BatchNorm1d(TimeBatchNorm, nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d` over batch and time. 's': x [B, C] or [B, C, L]. 'm': x_seq [T, B, C] or [T, B, C, L]."""

    step_shape = StepShape("B, C, *", 2, 3)  # [B, C] or [B, C, L]


class BatchNorm2d(TimeBatchNorm, nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` over batch and time. 's': x [B, C, H, W]. 'm': x_seq [T, B, C, H, W]."""

    step_shape = StepShape("B, C, H, W", 4, 4)


class BatchNorm3d(TimeBatchNorm, nn.BatchNorm3d):
    """`torch.nn.BatchNorm3d` over batch and time. 's': x [B, C, D, H, W]. 'm': x_seq [T, B, C, D, H, W]."""

    step_shape = StepShape("B, C, D, H, W", 5, 5)


class ThresholdDependent(TimeBatchNorm):
    """Threshold-dependent batch norm (tdBN): y = weight * alpha * v_threshold * (x - mean) / std + bias.

    In 'm' mean and std are over batch and time. ``weight`` starts at 1, so that what reaches the neuron has a standard
    deviation of alpha * v_threshold. The parameters are those of `torch.nn.BatchNorm2d`.
    Source: Zheng et al., "Going deeper with directly-trained larger spiking neural networks", AAAI 2021,
    arXiv:2011.05280, eq. 5 and 6.

    Args:
        num_features: channels C.
        alpha: 1 for a plain net; 1 / sqrt(n) where n branches meet before the neuron (a residual block: n = 2).
        v_threshold: threshold of the neuron behind this layer.
        *args: as the torch layer (``eps``, ``momentum``, ``affine``, ``track_running_stats``).
        **kwargs: as the torch layer, and ``step_mode``.

    Raises:
        ArgumentError: ``alpha`` or ``v_threshold`` is no positive number.
    """

    def __init__(
        self, num_features: int, alpha: float = 1.0, v_threshold: float = 1.0, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(num_features, *args, **kwargs)
        for name, value in (("alpha", alpha), ("v_threshold", v_threshold)):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
                raise ArgumentError(
                    f"{type(self).__name__}.{name}: must be a positive number, got {value!r}; "
                    "pass 1 for alpha, and the threshold of the neuron behind this layer"
                )
        self.alpha, self.v_threshold = float(alpha), float(v_threshold)
        self.scale = self.alpha * self.v_threshold

    def extra_repr(self) -> str:
        """Return the line of the torch layer, and the two factors."""
        return f"{super().extra_repr()}, alpha={self.alpha:g}, v_threshold={self.v_threshold:g}"


class ThresholdDependentBatchNorm1d(ThresholdDependent, BatchNorm1d):
    """`ThresholdDependent` for x [B, C] or [B, C, L]; in 'm' with ``T`` before it."""


class ThresholdDependentBatchNorm2d(ThresholdDependent, BatchNorm2d):
    """`ThresholdDependent` for x [B, C, H, W]; in 'm' with ``T`` before it."""


class ThresholdDependentBatchNorm3d(ThresholdDependent, BatchNorm3d):
    """`ThresholdDependent` for x [B, C, D, H, W]; in 'm' with ``T`` before it."""


class GroupNorm(StepModule, nn.GroupNorm):
    """`torch.nn.GroupNorm` of every sample of every step. 's': x [B, C, *]. 'm': x_seq [T, B, C, *]."""

    step_shape = StepShape("B, C, *", 2, None)


class LayerNorm(StepModule, nn.LayerNorm):
    """`torch.nn.LayerNorm` of every sample of every step. 's': x [B, *]. 'm': x_seq [T, B, *].

    ``normalized_shape`` is that of the last axes of one step.
    """

    step_shape = StepShape("B, *", 2, None)
