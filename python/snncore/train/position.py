"""Where a run stands: what, beside weights, optimiser and random generators, it needs to go on exactly."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

__all__ = ["Position"]


@dataclass
class Position:
    """Where a run stands. Sums of the running epoch stay on their device until they are asked for.

    The order of the samples is a function of seed and epoch, so ``epoch`` and ``step`` are all there is to know of it.

    Args:
        epoch: epochs done.
        step: steps done in the epoch after them.
        seen: samples of that epoch seen, by all ranks.
        loss_sum: sum of the losses of the samples this rank saw, in float64.
        correct: how many of them were classified rightly.
        correct5: how many of them had their class among the best five.
        lr: learning rate of the last step.
        best: best accuracy so far, on what the best weights are chosen on; None before the first evaluation.
        best_epoch: its epoch, from 1.
        latest: accuracy after the last epoch, likewise.
        lines: lines of metrics.jsonl that belong to this position.
        best_others: of further weights (an average), by name: [best accuracy so far, its epoch].
    """

    epoch: int = 0
    step: int = 0
    seen: int = 0
    loss_sum: Tensor | float = 0.0
    correct: Tensor | int = 0
    correct5: Tensor | int = 0
    lr: float = 0.0
    best: float | None = None
    best_epoch: int = 0
    latest: float | None = None
    lines: int = 0
    best_others: dict[str, list[float]] = field(default_factory=dict)

    def add(self, loss: Tensor, correct: Tensor, count: int) -> None:
        """Count some samples: their mean loss, and how many of the ``count`` were right: int64 [2] as of `Task`."""
        self.loss_sum = loss.double() * count + self.loss_sum
        self.correct = correct[0] + self.correct
        self.correct5 = correct[1] + self.correct5

    def next_step(self, total: int) -> None:
        """Close a step, which saw ``total`` samples on all ranks."""
        self.step += 1
        self.seen += total

    def next_epoch(self, accuracy: float) -> bool:
        """Close the epoch, which reached ``accuracy``; return whether that is the best so far."""
        self.epoch += 1
        self.step = self.seen = self.correct = self.correct5 = 0
        self.loss_sum = 0.0
        self.latest = accuracy
        if self.best is not None and accuracy <= self.best:
            return False
        self.best, self.best_epoch = accuracy, self.epoch
        return True

    def best_other(self, name: str, accuracy: float) -> bool:
        """Note what the weights ``name`` reached after the epoch just closed; return whether that is their best."""
        if name in self.best_others and accuracy <= self.best_others[name][0]:
            return False
        self.best_others[name] = [accuracy, self.epoch]
        return True

    def sums(self) -> dict[str, Any]:
        """Return what this rank alone knows, as plain numbers; waits for the device."""
        self.loss_sum, self.correct, self.correct5 = float(self.loss_sum), int(self.correct), int(self.correct5)
        return {"loss_sum": self.loss_sum, "correct": self.correct, "correct5": self.correct5}

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers; waits for the device."""
        self.sums()
        return asdict(self)
