"""What a `Loop` trains: the data, the net, and how a batch becomes a loss.

`fit` and `Trainer` are two of them, and share the loop.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..metric.sop import Report
from .distributed import Ranks
from .position import Position

__all__ = ["Batch", "Plan", "Task", "main_class", "top", "widened"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the loop itself has to know of a run; the names are those of `TrainConfig`, which says what they mean."""

    epochs: int
    start_epoch: int = 0
    batch_size: int
    seed: int
    save_every_steps: int = 0
    save_every_epochs: int = 0
    keep: int = 0
    grad_accum: int = 1
    clip_grad_norm: float | None = None
    clip_grad_value: float | None = None
    check_gradients: bool = False
    fp16: bool = False
    unused_parameters: str = "auto"
    compile: bool = False
    compile_backend: str = "inductor"
    tensorboard: bool = True


@dataclass(frozen=True)
class Batch:
    """One rank's part of a batch.

    Args:
        x: the inputs, [B, ...].
        label: [B], or [B, classes] where labels are mixed.
        count: how many of them count: B, or 0 for a stand-in that keeps a rank without samples in step.
        total: samples of the whole batch, over all ranks.
    """

    x: Tensor
    label: Tensor
    count: int
    total: int


class Task(ABC):
    """Data, net and optimiser of a run, and what is done with a batch.

    Attributes:
        net: the net itself; what `train_output` is given may be a wrapper around it that averages gradients.
        optimizer: of its parameters.
        test_name: the part that the best weights are chosen on: ``validation`` or ``test``.
        test_source: where the test set comes from, in words.
        classes: how many there are.
    """

    net: nn.Module
    optimizer: Optimizer
    test_name: str
    test_source: str
    classes: int

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return plain values that go into every checkpoint."""

    @abstractmethod
    def settings_file(self) -> str:
        """Return the text of config.yaml."""

    @abstractmethod
    def count(self, part: str) -> int:
        """Return the samples of a ``part``: train, validation or test; 0 where there is none."""

    @abstractmethod
    def batches(self, part: str, ranks: Ranks, epoch: int = 0, start: int = 0) -> Iterator[Batch | None]:
        """Yield this rank's part of every batch from ``start`` on; None where it has no sample of one.

        The training part comes in the order of ``epoch``, and there a rank never gets None but a stand-in.
        """

    @abstractmethod
    def train_output(self, model: nn.Module, x: Tensor) -> Tensor:
        """Return what the losses take of ``model``, in training mode; ``model`` may be a wrapper of ``net``."""

    def training(self) -> AbstractContextManager[Any]:
        """Return a block in which all epochs run: what is in place around the whole training, and gone after it."""
        return nullcontext()

    @abstractmethod
    def test_output(self, x: Tensor) -> Tensor:
        """Return likewise of ``net``, in evaluation mode."""

    @abstractmethod
    def train_loss(self, output: Tensor, label: Tensor) -> Tensor:
        """Return the mean loss of the samples."""

    @abstractmethod
    def test_loss(self, output: Tensor, label: Tensor) -> Tensor:
        """Return likewise for the evaluation."""

    @abstractmethod
    def correct(self, output: Tensor, label: Tensor) -> Tensor:
        """Return how many samples are right, by the best and by the best five classes: int64 [2] on their device."""

    @abstractmethod
    def set_learning_rate(self, at: Position, steps: int) -> float:
        """Give the optimiser the rate of the step ``at``, one of ``steps`` in its epoch, and return it."""

    @abstractmethod
    def opening(self, path: Path, resumed: Path | None, at: Position, ranks: Ranks) -> Iterator[str]:
        """Yield what is said at the beginning."""

    def others(self) -> dict[str, Callable[[], AbstractContextManager[None]]]:
        """Return further weights to evaluate after an epoch, the best of which are kept: name -> a block in which
        ``net`` has them.
        """
        return {}

    def after_step(self, at: Position) -> None:
        """Do what follows an optimiser's step."""
        return

    def after_epoch(self) -> None:
        """Do what follows an epoch, before it is saved."""
        return

    def state(self) -> dict[str, Any]:
        """Return what, beside weights and optimiser, has to come back when a run goes on: plain values and tensors."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take what `state` gave; nothing of it from older checkpoints."""
        return

    def energy(self, check: Callable[[], None]) -> Report | None:
        """Count the operations of ``net``; ``check`` is called after each batch. None: not asked for."""
        return None


def top(score: Tensor, label: Tensor, k: int) -> Tensor:
    """Return how many samples have their class among the ``k`` with the highest scores, int64 [].

    Of classes with equal scores the first comes first, as for `snncore.metric.hits`. A sample with a score that is not
    a number is not right.

    Args:
        score: [B, C].
        label: int64 [B].
        k: at least 1; with C classes or fewer all are right.
    """
    own = score.gather(1, label[:, None])
    before = torch.arange(score.shape[1], device=score.device) < label[:, None]
    rank = ((score > own) | ((score == own) & before)).sum(1)
    return ((rank < k) & ~score.isnan().any(1)).sum()


def main_class(label: Tensor) -> Tensor:
    """Return classes [B] for labels [B] or, where samples are mixed, shares [B, C]: of these the greatest."""
    return label if label.dim() == 1 else label.argmax(1)


def widened(label: Tensor, classes: int) -> Tensor:
    """Return shares [B, C] as [B, ``classes``] for a model with more classes than the data; classes [B] as they are."""
    missing = classes - label.shape[1] if label.dim() == 2 else 0
    return nn.functional.pad(label, (0, missing)) if missing > 0 else label
