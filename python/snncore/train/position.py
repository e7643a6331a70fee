"""Where a run stands: what, beside weights, optimiser and random generators, it needs to go on exactly."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

__all__ = ["Position"]


@dataclass
class Position:
    """Where a run stands. Sums of the running epoch stay on their device until they are asked for.

    Args:
        epoch: epochs done.
        step: steps done in the epoch after them.
        seen: samples of that epoch seen.
        loss_sum: sum of the losses of these samples, in float64.
        correct: how many of them were classified rightly.
        lr: learning rate of the last step.
        best: best accuracy so far, on what the best weights are chosen on; None before the first evaluation.
        best_epoch: its epoch, from 1.
        latest: accuracy after the last epoch, likewise.
        lines: lines of metrics.jsonl that belong to this position.
    """

    epoch: int = 0
    step: int = 0
    seen: int = 0
    loss_sum: Tensor | float = 0.0
    correct: Tensor | int = 0
    lr: float = 0.0
    best: float | None = None
    best_epoch: int = 0
    latest: float | None = None
    lines: int = 0

    def add(self, loss: Tensor, correct: Tensor, count: int) -> None:
        """Count a step: the mean loss of its ``count`` samples, and how many of them were right."""
        self.step += 1
        self.seen += count
        self.loss_sum = loss.double() * count + self.loss_sum
        self.correct = correct + self.correct

    def next_epoch(self, accuracy: float) -> bool:
        """Close the epoch, which reached ``accuracy``; return whether that is the best so far."""
        self.epoch += 1
        self.step = self.seen = self.correct = 0
        self.loss_sum = 0.0
        self.latest = accuracy
        if self.best is not None and accuracy <= self.best:
            return False
        self.best, self.best_epoch = accuracy, self.epoch
        return True

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers; waits for the device."""
        self.loss_sum, self.correct = float(self.loss_sum), int(self.correct)
        return asdict(self)
