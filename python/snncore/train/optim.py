"""Optimisers and the course of the learning rate.

The learning rate is a plain function of the position in the run. So there is no scheduler state that a resumed run
could get wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from ..errors import ConfigError
from ..registry import lookup

if TYPE_CHECKING:
    from .config import OptimConfig

__all__ = ["OPTIMIZERS", "SCHEDULES", "learning_rate", "make_optimizer", "set_learning_rate"]

Parameters = Iterable[nn.Parameter]


def _sgd(parameters: Parameters, c: OptimConfig) -> Optimizer:
    return SGD(parameters, lr=c.lr, momentum=c.momentum, weight_decay=c.weight_decay)


def _nesterov(parameters: Parameters, c: OptimConfig) -> Optimizer:
    if c.momentum == 0:
        raise ConfigError("optim.momentum: must be greater than 0 for nesterov, got 0.0; use 0.9, or the optimiser sgd")
    return SGD(parameters, lr=c.lr, momentum=c.momentum, weight_decay=c.weight_decay, nesterov=True)


def _adam(parameters: Parameters, c: OptimConfig) -> Optimizer:
    return Adam(parameters, lr=c.lr, weight_decay=c.weight_decay)


def _adamw(parameters: Parameters, c: OptimConfig) -> Optimizer:
    return AdamW(parameters, lr=c.lr, weight_decay=c.weight_decay)


OPTIMIZERS: dict[str, Callable[[Parameters, OptimConfig], Optimizer]] = {
    "sgd": _sgd,
    "nesterov": _nesterov,
    "adam": _adam,
    "adamw": _adamw,
}


def make_optimizer(parameters: Parameters, config: OptimConfig) -> Optimizer:
    """Return the optimiser that ``config`` names.

    Raises:
        UnknownNameError: there is none of this name; the message lists those there are.
        ConfigError: a number does not suit it.
    """
    return lookup(OPTIMIZERS, config.name, "optim.name")(parameters, config)


# name -> factor of the learning rate in `epoch` of `epochs` (both without the warm-up)
SCHEDULES: dict[str, Callable[[int, int, OptimConfig], float]] = {
    "none": lambda epoch, epochs, c: 1.0,
    "cosine": lambda epoch, epochs, c: 0.5 * (1.0 + math.cos(math.pi * epoch / epochs)),
    "step": lambda epoch, epochs, c: c.gamma ** (epoch // c.step_size),
}


def learning_rate(config: OptimConfig, epochs: int, epoch: int, step: int, steps: int) -> float:
    """Return the learning rate of one step.

    Args:
        config: names the schedule and its numbers.
        epochs: epochs of the whole run.
        epoch: the epoch, from 0.
        step: the step within the epoch, from 0.
        steps: steps in an epoch.
    """
    warmup = config.warmup_epochs
    if epoch < warmup:
        return config.lr * (epoch * steps + step + 1) / (warmup * steps)
    schedule = lookup(SCHEDULES, config.scheduler, "optim.scheduler")
    return config.lr * schedule(epoch - warmup, max(epochs - warmup, 1), config)


def set_learning_rate(optimizer: Optimizer, lr: float) -> None:
    """Give every parameter group of ``optimizer`` the learning rate ``lr``."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr
