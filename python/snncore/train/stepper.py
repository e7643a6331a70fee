"""One step of an optimiser: gradients over several parts of a batch and all ranks, scaled, clipped, applied."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..errors import NumericError
from .clip import clip_gradients, non_finite
from .sharded import average_replicated, is_sharded

__all__ = ["Stepper"]

# Gradients that overflow float16 (65,504) even when scaled by this exceed 1e9, or are not numbers at all.
_LEAST_SCALE = 2.0**-14


class Stepper:
    """Turns losses into steps of ``optimizer``.

    In float16 a step whose gradients are not finite is passed over, as if its batch had not been: weights and optimiser
    stay as they are, and the loss is scaled by half as much from then on.

    Args:
        model: the net or its wrapper for several ranks.
        optimizer: of its parameters.
        fp16: scale the loss so that small gradients are not lost in float16 (`torch.amp.GradScaler`).
        clip: bounds ``max_norm``, ``max_value`` and ``check`` of `clip_gradients`.
        ranks: how many there are; of use for a sharded net.

    Attributes:
        skipped: steps passed over since this was last set to 0. An optimiser with ``fused=True`` passes over within its
            kernel, which is not counted.
    """

    def __init__(
        self, model: nn.Module, optimizer: Optimizer, *, fp16: bool, clip: dict[str, Any], ranks: int = 1
    ) -> None:
        device = next(model.parameters()).device.type
        self.model = model
        self.optimizer = optimizer
        self.scaler = torch.amp.GradScaler(device, enabled=fp16)
        self.clip = clip
        self.ranks = ranks
        self.skipped = 0
        self._taken = False
        optimizer.register_step_post_hook(self._note)  # asking the scaler instead would wait for the device once more

    def _note(self, *_: Any) -> None:
        self._taken = True

    @contextlib.contextmanager
    def part(self, is_last: bool) -> Iterator[None]:
        """Surround forward and backward of a part of a batch: only after the last the ranks exchange gradients."""
        if is_sharded(self.model):
            self.model.set_requires_gradient_sync(is_last)  # type: ignore[operator]
        wrapped = isinstance(self.model, nn.parallel.DistributedDataParallel)
        with contextlib.nullcontext() if is_last or not wrapped else self.model.no_sync():  # type: ignore[operator]
            yield

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of ``loss``."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(self) -> None:
        """Apply the gradients added since the last step, and forget them.

        Raises:
            NumericError: the gradients are not finite however little the loss is scaled; names their parameters.
        """
        if is_sharded(self.model):
            average_replicated(self.model, self.ranks)
        if any(self.clip.values()):
            self.scaler.unscale_(self.optimizer)
            clip = {**self.clip, "check": self.clip.get("check") and not self.scaler.is_enabled()}
            clip_gradients(self.model, **clip)
        self._taken = False
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if not self._taken:
            self.skipped += 1
            if self.scaler.get_scale() < _LEAST_SCALE:
                raise NumericError(self._told())
        self.optimizer.zero_grad(set_to_none=True)

    def _told(self) -> str:
        names = ", ".join(name for name, _, _ in non_finite(self.model)[:3])
        return (
            "--amp fp16: must leave gradients finite, got inf or nan however little the loss is scaled (now by "
            f"{self.scaler.get_scale():.2g}){f', first in {names}' if names else ''}; use --amp bf16 or off, lower the "
            "learning rate, and look for inf or nan in the data"
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the scaler and what was passed over; empty without a scaler."""
        return {**self.scaler.state_dict(), "skipped": self.skipped} if self.scaler.is_enabled() else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what `state_dict` gave."""
        if state and self.scaler.is_enabled():
            self.scaler.load_state_dict(state)
            self.skipped = int(state.get("skipped", 0))
