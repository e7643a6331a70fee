"""Losses on what the last layer puts out.

A loss takes y_seq [T, B, C] (spikes or potentials, any floating dtype) and the label, either classes [B] (int64) or
shares [B, C] (floating, each row adding up to 1, as mixup and cutmix make them), and returns a float32 scalar, the mean
over the batch. Every loss takes ``label_smoothing`` s in [0, 1): the label becomes (1 - s) * label + s / C.

Their definitions are those of the SpikingJelly tutorials (``mse_rate``, ``ce_mean``), of Deng et al. (``tet``) and of
snnTorch (the others: its ``ce_rate_loss``, ``ce_count_loss``, ``mse_count_loss`` and ``mse_membrane_loss``).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ArgumentError, ConfigError
from ..registry import lookup

if TYPE_CHECKING:
    from .config import TrainConfig

__all__ = [
    "LOSSES",
    "Loss",
    "ce_count",
    "ce_mean",
    "ce_rate",
    "make_loss",
    "mse_count",
    "mse_membrane",
    "mse_rate",
    "tet",
]

Loss = Callable[[Tensor, Tensor], Tensor]


def ce_mean(y_seq: Tensor, label: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Cross entropy with the mean over all steps as logits."""
    _check("ce_mean", y_seq, label, label_smoothing)
    return F.cross_entropy(y_seq.mean(0, dtype=torch.float32), _shares(label), label_smoothing=label_smoothing)


def ce_rate(y_seq: Tensor, label: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Cross entropy with one step as logits, averaged over the steps."""
    _check("ce_rate", y_seq, label, label_smoothing)
    label = _shares(label)
    every_step = label.repeat(y_seq.shape[0], *[1] * (label.dim() - 1))
    return F.cross_entropy(y_seq.flatten(0, 1).float(), every_step, label_smoothing=label_smoothing)


def ce_count(y_seq: Tensor, label: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Cross entropy with the spike counts over all steps as logits."""
    _check("ce_count", y_seq, label, label_smoothing)
    return F.cross_entropy(y_seq.sum(0, dtype=torch.float32), _shares(label), label_smoothing=label_smoothing)


def tet(
    y_seq: Tensor, label: Tensor, *, label_smoothing: float = 0.0, tet_lambda: float = 1e-3, tet_phi: float = 1.0
) -> Tensor:
    """Temporal efficient training: (1 - tet_lambda) * `ce_rate` + tet_lambda * mean((y_seq - tet_phi)^2).

    The second term keeps single steps from standing out. Source: Deng et al., "Temporal efficient training of spiking
    neural network via gradient re-weighting", ICLR 2022, arXiv:2202.11946. The defaults are those of its code.

    Args:
        y_seq: [T, B, C]; the paper has potentials or currents here, not spikes.
        label: [B] or [B, C].
        label_smoothing: as everywhere.
        tet_lambda: weight of the second term, in [0, 1].
        tet_phi: what it pulls every output to; the paper takes the threshold.

    Raises:
        ArgumentError: a shape, a dtype or a number cannot be used.
    """
    _within("tet.tet_lambda", tet_lambda)
    by_step = ce_rate(y_seq, label, label_smoothing=label_smoothing)
    return (1.0 - tet_lambda) * by_step + tet_lambda * (y_seq.float() - tet_phi).square().mean()


def mse_rate(y_seq: Tensor, label: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Mean squared difference between the firing rates and the label as shares [B, C]."""
    _check("mse_rate", y_seq, label, label_smoothing)
    rate = y_seq.mean(0, dtype=torch.float32)
    return F.mse_loss(rate, _one_hot(label, rate.shape[1], label_smoothing))


def mse_count(
    y_seq: Tensor,
    label: Tensor,
    *,
    label_smoothing: float = 0.0,
    correct_rate: float = 1.0,
    incorrect_rate: float = 0.0,
) -> Tensor:
    """Mean squared difference between spike counts and the counts wanted, divided by T.

    Wanted are floor(T * correct_rate) spikes of the right class and floor(T * incorrect_rate) of the others; a soft
    label wants what lies between.

    Args:
        y_seq: [T, B, C].
        label: [B] or [B, C].
        label_smoothing: as everywhere.
        correct_rate: in [0, 1].
        incorrect_rate: in [0, 1].

    Raises:
        ArgumentError: a shape, a dtype or a number cannot be used.
    """
    _check("mse_count", y_seq, label, label_smoothing)
    _within("mse_count.correct_rate", correct_rate)
    _within("mse_count.incorrect_rate", incorrect_rate)
    T, _, num_classes = y_seq.shape
    on, off = (math.floor(T * rate + 1e-9) for rate in (correct_rate, incorrect_rate))  # 100 * 0.29 is 28.999...
    wanted = off + (on - off) * _one_hot(label, num_classes, label_smoothing)
    return F.mse_loss(y_seq.sum(0, dtype=torch.float32), wanted) / T


def mse_membrane(
    y_seq: Tensor, label: Tensor, *, label_smoothing: float = 0.0, on_target: float = 1.0, off_target: float = 0.0
) -> Tensor:
    """Mean squared difference between the potentials y_seq of every step and a target that is the same at all of them.

    Args:
        y_seq: [T, B, C], potentials.
        label: [B] or [B, C]; a soft label wants what lies between the targets.
        label_smoothing: as everywhere.
        on_target: of the right class.
        off_target: of the others.

    Raises:
        ArgumentError: a shape, a dtype or a number cannot be used.
    """
    _check("mse_membrane", y_seq, label, label_smoothing)
    wanted = off_target + (on_target - off_target) * _one_hot(label, y_seq.shape[2], label_smoothing)
    return (y_seq.float() - wanted).square().mean()


# the options of a loss have the names of the settings in TrainConfig
LOSSES: dict[str, Callable[..., Tensor]] = {
    "mse_rate": mse_rate,
    "ce_rate": ce_rate,
    "ce_count": ce_count,
    "ce_mean": ce_mean,
    "tet": tet,
    "mse_count": mse_count,
    "mse_membrane": mse_membrane,
}
_OPTIONS = (
    "label_smoothing", "tet_lambda", "tet_phi", "correct_rate", "incorrect_rate", "on_target", "off_target",
)  # fmt: skip
_SHARES = {"tet_lambda", "correct_rate", "incorrect_rate"}


def make_loss(config: TrainConfig) -> Loss:
    """Return the loss that ``config`` names, with its options: a function of y_seq [T, B, C] and the label.

    Raises:
        UnknownNameError: there is none of this name; the message lists those there are.
        ConfigError: an option of the loss is out of its range; or labels are to be smoothed and the loss, one added to
            the table, has no ``label_smoothing``.
    """
    loss = lookup(LOSSES, config.loss, "train.loss")
    takes = inspect.signature(loss).parameters
    if config.label_smoothing and "label_smoothing" not in takes:
        raise ConfigError(
            f"train.label_smoothing: must be 0 for {config.loss}, which does not take it, got "
            f"{config.label_smoothing}; leave it out or choose another loss"
        )
    options = {name: getattr(config, name) for name in _OPTIONS if name in takes}
    for name in _SHARES & options.keys():
        if not 0.0 <= options[name] <= 1.0:
            raise ConfigError(f"train.{name}: must be in [0, 1], got {options[name]}; give a share")
    return partial(loss, **options)


def _check(who: str, y_seq: Tensor, label: Tensor, label_smoothing: float) -> None:
    """Raise ArgumentError for shapes that torch would broadcast to a wrong number, or refuse in words of its own."""
    if y_seq.dim() != 3 or not y_seq.is_floating_point():
        do = "add the time axis with unsqueeze(0)" if y_seq.dim() == 2 else "give one value per step, sample and class"
        raise ArgumentError(f"{who}.y_seq: must be floating [T, B, C], got {y_seq.dtype} {list(y_seq.shape)}; {do}")
    batch, classes = y_seq.shape[1:]
    hard = label.dtype == torch.int64 and tuple(label.shape) == (batch,)
    soft = label.is_floating_point() and tuple(label.shape) == (batch, classes)
    if not hard and not soft:
        raise ArgumentError(
            f"{who}.label: must be int64 [{batch}] or floating [{batch}, {classes}] beside y_seq {list(y_seq.shape)}, "
            f"got {label.dtype} {list(label.shape)}; give one class, or one share per class, for each sample"
        )
    if not 0.0 <= label_smoothing < 1.0:
        raise ArgumentError(f"{who}.label_smoothing: must be in [0, 1), got {label_smoothing}; pass 0 for none")


def _within(who: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ArgumentError(f"{who}: must be in [0, 1], got {value}; pass a share")


def _shares(label: Tensor) -> Tensor:
    """Return classes as they are and shares in float32, as the cross entropy of float32 logits takes them."""
    return label.float() if label.is_floating_point() else label


def _one_hot(label: Tensor, num_classes: int, label_smoothing: float) -> Tensor:
    """Return ``label`` as shares [B, C] in float32, smoothed."""
    shares = label.float() if label.is_floating_point() else F.one_hot(label, num_classes).float()
    return shares if label_smoothing == 0 else shares * (1.0 - label_smoothing) + label_smoothing / num_classes
