"""Batch normalisation with a weight for every time step."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import ArgumentError, StateError
from .base import StatefulModule, StepModule, check_step_mode
from .norm import BatchNorm1d, BatchNorm2d, BatchNorm3d

__all__ = [
    "TemporalEffective",
    "TemporalEffectiveBatchNorm1d",
    "TemporalEffectiveBatchNorm2d",
    "TemporalEffectiveBatchNorm3d",
]


class TemporalEffective(StatefulModule):
    """Temporal effective batch norm (TEBN): y[t] = p[t] * batch_norm(x_seq)[t], with the learned p [T] from ones.

    In 'm' the statistics are over batch and time, as in the paper. In 's' it counts the steps until ``reset``, and in
    training each step is normalised by its own statistics. ``norm`` is the batch norm, ``p`` the weights.
    Source: Duan et al., "Temporal effective batch normalization in spiking neural networks", NeurIPS 2022.

    Args:
        T: number of time steps.
        num_features: channels C.
        *args: as the torch layer (``eps``, ``momentum``, ``affine``, ``track_running_stats``).
        step_mode: 's' or 'm'.
        **kwargs: as the torch layer.

    Raises:
        ArgumentError: ``T`` is no whole number >= 1; on forward in 'm': x_seq has another number of steps.
        StateError: in 's': more than ``T`` steps without ``functional.reset_net``.
    """

    kind: ClassVar[type[BatchNorm1d | BatchNorm2d | BatchNorm3d]]

    def __init__(self, T: int, num_features: int, *args: Any, step_mode: str = "s", **kwargs: Any) -> None:
        super().__init__()
        if isinstance(T, bool) or not isinstance(T, int) or T < 1:
            raise ArgumentError(f"{type(self).__name__}.T: must be a whole number >= 1, got {T!r}; give the time steps")
        self.T = T
        self.norm: StepModule = self.kind(num_features, *args, **kwargs)
        self.p = nn.Parameter(torch.ones(T))
        self.time_step = 0  # of the next call in 's'
        self.step_mode = step_mode

    @property
    def step_mode(self) -> str:
        """'s' (one step) or 'm' (all steps)."""
        return self.norm.step_mode

    @step_mode.setter
    def step_mode(self, step_mode: str) -> None:
        check_step_mode(type(self).__name__, step_mode)
        self.norm.step_mode = step_mode

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x``, [B, C, *] in step mode 's' or [T, B, C, *] in 'm'."""
        if self.step_mode == "m":
            if x.shape[:1] != (self.T,):
                raise ArgumentError(
                    f"{type(self).__name__}.x_seq: must have T = {self.T} time steps, got {list(x.shape)}; "
                    "build the layer for as many"
                )
            y: Tensor = self.norm(x)
            return y * self.p.to(y.dtype).view(-1, *[1] * (y.ndim - 1))
        if self.time_step >= self.T:
            raise StateError(
                f"{type(self).__name__}.x: must be one of T = {self.T} time steps, got another after the last; "
                "call functional.reset_net(net) before a new sequence"
            )
        y = self.norm(x)
        self.time_step += 1
        return y * self.p[self.time_step - 1].to(y.dtype)

    def reset(self) -> None:
        """Begin with the first step."""
        self.time_step = 0

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "time_step": 0}  # type: ignore[no-untyped-call]

    def extra_repr(self) -> str:
        """Return the number of time steps and the step mode."""
        return f"T={self.T}, step_mode={self.step_mode}"


class TemporalEffectiveBatchNorm1d(TemporalEffective):
    """`TemporalEffective` for x [B, C] or [B, C, L]; in 'm' with ``T`` before it."""

    kind = BatchNorm1d


class TemporalEffectiveBatchNorm2d(TemporalEffective):
    """`TemporalEffective` for x [B, C, H, W]; in 'm' with ``T`` before it."""

    kind = BatchNorm2d


class TemporalEffectiveBatchNorm3d(TemporalEffective):
    """`TemporalEffective` for x [B, C, D, H, W]; in 'm' with ``T`` before it."""

    kind = BatchNorm3d
