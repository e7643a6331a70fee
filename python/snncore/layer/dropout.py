"""Dropout that silences the same lanes, or channels, for a whole sequence."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import StateError
from .base import StatefulModule, StepModule, StepShape
from .synapse import IMAGE, LINE, VOLUME
from .time import first_step, is_static, repeat

__all__ = ["Dropout", "Dropout1d", "Dropout2d", "Dropout3d"]


class _TimeDropout(StepModule, StatefulModule):
    """What the dropouts share: the mask, and how long it is kept."""

    p: float
    inplace: bool
    channels: ClassVar[bool] = False  # True: whole channels are silenced

    def __init__(self, p: float = 0.5, inplace: bool = False, *, step_mode: str = "s") -> None:
        super().__init__(p, inplace, step_mode=step_mode)
        # Neither parameter nor buffer: it belongs to one run, not to the net.
        self.keep: Tensor | None = None
        self._step: tuple[int, ...] = ()  # the shape of the step it was drawn for

    def forward(self, x: Tensor) -> Tensor:
        """Silence lanes of ``x``, [B, *] in step mode 's' or [T, B, *] in 'm'."""
        self.check_shape(x)
        if not self.training:
            return x
        if self.step_mode == "s":
            return self._silence(x, self._kept_or_drawn(x), self.inplace)
        if is_static(x):
            step = first_step(x)
            return repeat(self._silence(step, self._draw(step), False), x.shape[0])
        return self._silence(x, self._draw(x[0]), self.inplace) if len(x) else x

    def reset(self) -> None:
        """Forget the mask; the next step draws a new one."""
        self.keep = None

    def __getstate__(self) -> dict[str, Any]:
        # As with the state of a neuron: a copy starts afresh.
        return {**super().__getstate__(), "keep": None}  # type: ignore[no-untyped-call]

    def _draw(self, x: Tensor) -> Tensor:
        """Return 1 for the lanes to keep and 0 for the others, to multiply ``x``: [B, *] with, in its dtype."""
        keep = x.new_empty(*x.shape[:2], *[1] * (x.ndim - 2)) if self.channels else torch.empty_like(x)
        return keep.bernoulli_(1 - self.p)

    def _kept_or_drawn(self, x: Tensor) -> Tensor:
        """Return the mask of this sequence."""
        if self.keep is None:
            self.keep = self._draw(x)
            self._step = x.shape
        for what, kept, got in (
            ("shape", self._step, x.shape),
            ("device", self.keep.device, x.device),
            ("dtype", self.keep.dtype, x.dtype),
        ):
            if kept != got:
                raise StateError(
                    f"{type(self).__name__}.x: must have the {what} {kept} of the mask kept since the first step, "
                    f"got {got}; call functional.reset_net(net) before a new sequence"
                )
        return self.keep

    def _silence(self, x: Tensor, keep: Tensor, inplace: bool) -> Tensor:
        """Return ``x`` where ``keep`` is 1, scaled so that its expectation stays, and 0 elsewhere."""
        # The scale stays a number beside the mask: rounded to bfloat16 inside it, it would bias every lane.
        scale = 1 / (1 - self.p) if self.p < 1 else 0.0
        return x.mul_(keep).mul_(scale) if inplace else x * keep * scale


class Dropout(_TimeDropout, nn.Dropout):
    """`torch.nn.Dropout` with one mask for all time steps. 's': x [B, *]. 'm': x_seq [T, B, *].

    In 'm' every call draws one mask and uses it for all ``T``. In 's' the first step draws it, and it stays until
    `reset` (`functional.reset_net`). Only in training; the draw is torch's own for the device.

    Raises:
        StateError: in 's', ``x`` has another shape, device or dtype than the kept mask.

    Source: Lee et al., "Enabling spike-based backpropagation for training deep neural network architectures", 2020.
    """

    step_shape = StepShape("B, *", 2, None)


class Dropout1d(_TimeDropout, nn.Dropout1d):
    """`torch.nn.Dropout1d` (whole channels) with one mask for all time steps, as `Dropout`. 's': x [B, C, L]."""

    step_shape = LINE
    channels = True


class Dropout2d(_TimeDropout, nn.Dropout2d):
    """`torch.nn.Dropout2d` (whole channels) with one mask for all time steps, as `Dropout`. 's': x [B, C, H, W]."""

    step_shape = IMAGE
    channels = True


class Dropout3d(_TimeDropout, nn.Dropout3d):
    """`torch.nn.Dropout3d` (whole channels) with one mask for all time steps, as `Dropout`. 's': x [B, C, D, H, W]."""

    step_shape = VOLUME
    channels = True
