"""The course of the learning rate, as a plain function of the position in the run.

So there is no scheduler state that a resumed run could get wrong: the rate of a step is known from its epoch, its place
in the epoch and the configuration. Every rate is a factor times the optimiser's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch.optim import Optimizer

from ..registry import lookup

if TYPE_CHECKING:
    from .config import OptimConfig

__all__ = [
    "SCHEDULES",
    "SPAN_THE_RUN",
    "WARMUPS",
    "learning_rate",
    "scale_learning_rate",
    "schedule_factor",
    "set_learning_rate",
]


def _none(at: float, epochs: int, c: OptimConfig) -> float:
    return 1.0


def _cosine(at: float, epochs: int, c: OptimConfig) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * at / epochs))


def _step(at: float, epochs: int, c: OptimConfig) -> float:
    return float(c.gamma ** (at // c.step_size))


def _exp(at: float, epochs: int, c: OptimConfig) -> float:
    return float(c.gamma**at)


def _warm_restarts(at: float, epochs: int, c: OptimConfig) -> float:
    length = c.restart_epochs
    if c.restart_mult == 1:
        at %= length
    while at >= length:  # not by a logarithm, which is off by one where a cycle begins
        at -= length
        length *= c.restart_mult
    return 0.5 * (1.0 + math.cos(math.pi * at / length))


# name -> factor at ``at`` of ``epochs`` (both without the warm-up; ``at`` has a fraction where the course is by step)
SCHEDULES: dict[str, Callable[[float, int, OptimConfig], float]] = {
    "none": _none,
    "cosine": _cosine,
    "step": _step,
    "exp": _exp,
    "warm_restarts": _warm_restarts,
}

# those that depend on the number of epochs of the whole run: a run on one of them cannot be made longer afterwards
SPAN_THE_RUN = frozenset({"cosine"})

# name -> factor after ``done``, a share in [0, 1), of the warm-up, beginning at ``start``
WARMUPS: dict[str, Callable[[float, float], float]] = {
    "linear": lambda done, start: start + (1.0 - start) * done,
    "constant": lambda done, start: start,
}


def schedule_factor(config: OptimConfig, epochs: int, epoch: int, step: int, steps: int) -> float:
    """Return what the learning rate of one step is multiplied by.

    With ``warmup_by`` and ``schedule_by`` both "epoch" the factors are those of torch's ``SequentialLR`` of
    ``LinearLR`` or ``ConstantLR`` (``warmup_decay`` is their first factor) and of ``CosineAnnealingLR``, ``StepLR``,
    ``ExponentialLR`` or ``CosineAnnealingWarmRestarts``, moved on once an epoch. By step they are those of the same
    schedulers moved on by 1 / steps of an epoch at each step.

    Args:
        config: names the schedule and its numbers.
        epochs: epochs of the whole run.
        epoch: the epoch, from 0.
        step: the step within the epoch, from 0.
        steps: steps in an epoch.

    Raises:
        UnknownNameError: there is no schedule or warm-up of this name; the message lists those there are.
    """
    warmup = config.warmup_epochs
    if epoch < warmup:
        at = epoch + step / steps if config.warmup_by == "step" else epoch
        return lookup(WARMUPS, config.warmup_method, "optim.warmup_method")(at / warmup, config.warmup_decay)
    schedule = lookup(SCHEDULES, config.scheduler, "optim.scheduler")
    at = epoch - warmup + (step / steps if config.schedule_by == "step" else 0)
    return schedule(at, max(epochs - warmup, 1), config)


def learning_rate(config: OptimConfig, epochs: int, epoch: int, step: int, steps: int) -> float:
    """Return the learning rate of one step: ``config.lr`` times its `schedule_factor`."""
    return config.lr * schedule_factor(config, epochs, epoch, step, steps)


def set_learning_rate(optimizer: Optimizer, lr: float) -> None:
    """Give every parameter group of ``optimizer`` the learning rate ``lr``."""
    for group in optimizer.param_groups:
        _put(group, lr)


def scale_learning_rate(optimizer: Optimizer, factor: float) -> None:
    """Give every parameter group of ``optimizer`` its own first learning rate times ``factor``.

    For optimisers whose groups differ. The first rates are kept in the groups as ``initial_lr``, as torch's schedulers
    keep them, and so in the optimiser's ``state_dict``.
    """
    for group in optimizer.param_groups:
        _put(group, group.setdefault("initial_lr", float(group["lr"])) * factor)


def _put(group: dict[str, object], lr: float) -> None:
    present = group["lr"]
    if isinstance(present, torch.Tensor):
        present.fill_(lr)
    else:
        group["lr"] = lr
