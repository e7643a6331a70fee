"""One step of an optimiser: gradients over several parts of a batch and all ranks, scaled, clipped, applied."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .clip import clip_gradients

__all__ = ["Stepper"]


class Stepper:
    """Turns losses into steps of ``optimizer``.

    Args:
        model: the net or its wrapper for several ranks.
        optimizer: of its parameters.
        fp16: scale the loss so that small gradients are not lost in float16 (`torch.amp.GradScaler`).
        clip: bounds ``max_norm``, ``max_value`` and ``check`` of `clip_gradients`.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, *, fp16: bool, clip: dict[str, Any]) -> None:
        device = next(model.parameters()).device.type
        self.model = model
        self.optimizer = optimizer
        self.scaler = torch.amp.GradScaler(device, enabled=fp16)
        self.clip = clip

    @contextlib.contextmanager
    def part(self, is_last: bool) -> Iterator[None]:
        """Surround forward and backward of a part of a batch: only after the last the ranks exchange gradients."""
        wrapped = isinstance(self.model, nn.parallel.DistributedDataParallel)
        with contextlib.nullcontext() if is_last or not wrapped else self.model.no_sync():  # type: ignore[operator]
            yield

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of ``loss``."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(self) -> None:
        """Apply the gradients added since the last step, and forget them."""
        if any(self.clip.values()):
            self.scaler.unscale_(self.optimizer)
            clip = {**self.clip, "check": self.clip.get("check") and not self.scaler.is_enabled()}
            clip_gradients(self.model, **clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the scaler, empty without one."""
        return self.scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what `state_dict` gave."""
        if state and self.scaler.is_enabled():
            self.scaler.load_state_dict(state)
