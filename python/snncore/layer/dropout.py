"""Dropout that silences the same lanes for a whole sequence."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..errors import StateError
from .base import StatefulModule, StepModule, StepShape
from .time import first_step, is_static, repeat

__all__ = ["Dropout"]


class Dropout(StepModule, StatefulModule, nn.Dropout):
    """`torch.nn.Dropout` with one mask for all time steps. 's': x [B, *]. 'm': x_seq [T, B, *].

    In 'm' every call draws one mask and uses it for all ``T``. In 's' the first step draws it, and it stays until
    `reset` (`functional.reset_net`). Only in training; the draw is torch's own for the device.

    Raises:
        StateError: in 's', ``x`` has another shape, device or dtype than the kept mask.

    Source: Lee et al., "Enabling spike-based backpropagation for training deep neural network architectures", 2020.
    """

    step_shape = StepShape("B, *", 2, None)

    def __init__(self, p: float = 0.5, inplace: bool = False, *, step_mode: str = "s") -> None:
        super().__init__(p, inplace, step_mode=step_mode)
        # Neither parameter nor buffer: it belongs to one run, not to the net.
        self.keep: Tensor | None = None

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
        """Return 1 for the lanes to keep and 0 for the others, in the shape, device and dtype of ``x``."""
        return torch.empty_like(x).bernoulli_(1 - self.p)

    def _kept_or_drawn(self, x: Tensor) -> Tensor:
        """Return the mask of this sequence."""
        if self.keep is None:
            self.keep = self._draw(x)
        for what in ("shape", "device", "dtype"):
            kept, got = getattr(self.keep, what), getattr(x, what)
            if kept != got:
                raise StateError(
                    f"Dropout.x: must have the {what} {kept} of the mask kept since the first step, got {got}; "
                    "call functional.reset_net(net) before a new sequence"
                )
        return self.keep

    def _silence(self, x: Tensor, keep: Tensor, inplace: bool) -> Tensor:
        """Return ``x`` where ``keep`` is 1, scaled so that its expectation stays, and 0 elsewhere."""
        # The scale stays a number beside the mask: rounded to bfloat16 inside it, it would bias every lane.
        scale = 1 / (1 - self.p) if self.p < 1 else 0.0
        return x.mul_(keep).mul_(scale) if inplace else x * keep * scale
