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

from ..data import Batches, Dataset
from ..errors import ConfigError
from ..metric.sop import Report
from .distributed import Ranks
from .position import Position

__all__ = [
    "Batch",
    "Plan",
    "Task",
    "check_repeats",
    "even_parts",
    "main_class",
    "parts_of_batch",
    "places_of_rank",
    "set_batches",
    "top",
    "widened",
]


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


def places_of_rank(order: Tensor, batch_size: int, start: int, ranks: Ranks) -> Iterator[tuple[Tensor, int]]:
    """Yield, for each batch of ``order`` from ``start`` on, the places in it that are this rank's, and its size.

    A batch is cut into as many runs of neighbours as there are ranks, so that all ranks together see just the batches
    that one would see alone. The last batch may be short: then the first ranks have one sample more, or the only ones.
    """
    for k in range(start * batch_size, len(order), batch_size):
        batch = order[k : k + batch_size]
        yield batch[ranks.part(len(batch))], len(batch)


def parts_of_batch(total: int, wanted: int, ranks: int) -> int:
    """Return into how many parts each rank divides its share of a batch of ``total`` samples: ``wanted``, if it can.

    As many on all ranks, for in each part those with a sharded net or synchronised norms meet, and no part is empty: a
    rank has at least ``total // ranks`` samples, or one stand-in.
    """
    return max(1, min(wanted, total // ranks))


def even_parts(order: Tensor, batch_size: int, ranks: Ranks) -> Iterator[tuple[Tensor, int]]:
    """Yield as `places_of_rank`, but with as many batches on all ranks, each of at least one sample.

    Raises:
        ConfigError: there are fewer samples than ranks.
    """
    n, size = len(order), ranks.size
    if n < size:
        raise ConfigError(
            f"--parallel fsdp: must have a sample for each of the {size} ranks in an evaluation, got {n}; use more "
            "samples, fewer ranks, or --parallel ddp"
        )
    shares = [order[Ranks(rank, size).part(n)] for rank in range(size)]  # of two lengths at most, and that differ by 1
    few, many = len(shares[-1]), len(shares[0])
    asked = -(-batch_size // size)
    each = next(b for b in (*range(asked, 0, -1), *range(asked + 1, many + 1)) if -(-few // b) == -(-many // b))
    pieces = [[share[i : i + each] for i in range(0, len(share), each)] for share in shares]
    for cut in zip(*pieces, strict=True):
        yield cut[ranks.rank], sum(len(places) for places in cut)


def check_repeats(repeats: int, ranks: Ranks) -> None:
    """Raise ConfigError unless a sample may come ``repeats`` times in a row: ranks would have copies of one."""
    if repeats > 1 and ranks.size > 1:
        raise ConfigError(
            f"repeated augmentation (--ra-reps): must be 1 on several ranks, got {repeats} on {ranks.size}; train "
            "without, or on one"
        )


def set_batches(
    data: Dataset,
    batch_size: int,
    ranks: Ranks,
    *,
    train: bool,
    seed: int,
    epoch: int = 0,
    start: int = 0,
    mix: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
    repeats: int = 1,
    workers: int | None = None,
    shuffle: bool = True,
    even: bool = False,
) -> Iterator[Batch | None]:
    """Yield this rank's parts of the batches of ``batch_size`` samples from ``start`` on; see `Task.batches`.

    Args:
        data: the part.
        batch_size: samples in a batch of all ranks; they divide it.
        ranks: who they are.
        train: whether to draw an order, and to give a rank without samples a stand-in.
        seed: of order, transforms and ``mix``.
        epoch: likewise.
        start: batches of the epoch already done.
        mix: of `Batches`.
        repeats: likewise; for one rank.
        workers: likewise.
        shuffle: False: while training too, samples come as they lie.
        even: if not ``train``: cut the part so that all ranks have as many batches, and none has None, as the ranks of
            a sharded net need, who can run it only together. A batch may then be smaller or larger.

    Raises:
        ConfigError: ``repeats`` on several ranks, or fewer samples than ranks where they have to be ``even``.
    """
    shuffle = shuffle and train
    shared = {"seed": seed, "epoch": epoch, "mix": mix, "workers": workers}
    if ranks.size == 1:
        whole = Batches(data, batch_size, shuffle=shuffle, start=start, repeats=repeats, **shared)  # type: ignore[arg-type]
        yield from (Batch(x, label, len(x), len(x)) for x, label in whole)
        return
    check_repeats(repeats, ranks)
    order = Batches(data, batch_size, shuffle=shuffle, seed=seed, epoch=epoch).order
    cut = even_parts(order, batch_size, ranks) if even and not train else places_of_rank(order, batch_size, 0, ranks)
    parts = list(cut)
    given = {**shared, "shuffle": False, "rank": ranks.rank, "world_size": ranks.size, "uneven": "given"}
    mine = [places for places, _ in parts if len(places)]
    found: Iterator[tuple[Tensor, Tensor]] = iter(())
    if mine[start:]:  # only the last can be shorter than the others, so that they are batches again
        found = iter(Batches(data, len(mine[0]), indices=torch.cat(mine), start=start, **given))  # type: ignore[arg-type]
    for places, total in parts[start:]:
        if len(places):
            x, label = next(found)
            yield Batch(x, label, len(x), total)
        elif train:
            x, label = next(iter(Batches(data, 1, indices=order[:1], **given)))  # type: ignore[arg-type]
            yield Batch(x, label, 0, total)
        else:
            yield None
