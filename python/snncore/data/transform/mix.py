"""Mixing the samples of a batch: given to `Batches` as ``mix``.

Each takes x, floating [B, C, H, W], and labels, int64 [B] or floating [B, num_classes], and returns new ones. Labels
become torch.float32 [B, num_classes], the shares of the classes.

A sample is mixed with the one before it in the batch, the first with the last. Batches are drawn at random, so this is
as good as the random partner of the papers; torchvision does the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import ArgumentError
from .._check import checked_int, kind_of
from ..batches import Mix
from ._check import checked_number, rand_chance, rand_int

__all__ = ["CutMix", "MixUp", "RandomChoice", "mixing"]


def _shares(y: Tensor, num_classes: int, who: str) -> Tensor:
    """Return labels as shares of the classes, torch.float32 [B, num_classes]."""
    if y.dim() == 2 and y.shape[1] == num_classes and y.is_floating_point():
        return y.to(torch.float32)
    if y.dim() != 1 or y.dtype != torch.int64:
        raise ArgumentError(
            f"{who}: must be given labels torch.int64 [B] or floating [B, {num_classes}], got {kind_of(y)}; "
            "check num_classes"
        )
    if y.device.type == "cpu" and int(y.max()) >= num_classes:  # a GPU would have to wait for the answer
        raise ArgumentError(
            f"{who}.num_classes: must be above every label, got {num_classes} with a label {int(y.max())}; correct it"
        )
    return torch.zeros(y.shape[0], num_classes, device=y.device).scatter_(1, y[:, None], 1.0)


def _lambda(alpha: float) -> float:
    """Draw from Beta(alpha, alpha)."""
    return float(torch.distributions.Beta(torch.tensor(alpha), torch.tensor(alpha)).sample())


def _check(who: str, num_classes: int, alpha: float, p: float) -> None:
    checked_int(num_classes, f"{who}.num_classes", 1)
    if checked_number(alpha, f"{who}.alpha", 0) == 0:
        raise ArgumentError(f"{who}.alpha: must be > 0, got {alpha}; leave {who} out")
    checked_number(p, f"{who}.p", 0, 1)


@dataclass(frozen=True)
class MixUp:
    """x = lam * x + (1 - lam) * partner, and so the labels (Zhang et al. 2018, arXiv:1710.09412).

    Args:
        num_classes: of the labels.
        alpha: lam is drawn from Beta(alpha, alpha) for the whole batch.
        p: probability of mixing a batch.
    """

    num_classes: int
    alpha: float = 0.2
    p: float = 1.0

    def __post_init__(self) -> None:
        _check("MixUp", self.num_classes, self.alpha, self.p)

    def __call__(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mixed batch."""
        shares = _shares(y, self.num_classes, "MixUp")
        if not rand_chance(self.p):
            return x, shares
        lam = _lambda(self.alpha)
        return x * lam + x.roll(1, 0) * (1 - lam), shares * lam + shares.roll(1, 0) * (1 - lam)


@dataclass(frozen=True)
class CutMix:
    """Puts a rectangle of the partner into each image (Yun et al. 2019, arXiv:1905.04899).

    lam is drawn from Beta(alpha, alpha); the rectangle has sqrt(1 - lam) of height and width, its middle is drawn
    evenly, and what reaches beyond the image is cut off. Labels are mixed by the shares of the area that come out.

    Args:
        num_classes: of the labels.
        alpha: of the distribution.
        p: probability of mixing a batch.
    """

    num_classes: int
    alpha: float = 1.0
    p: float = 1.0

    def __post_init__(self) -> None:
        _check("CutMix", self.num_classes, self.alpha, self.p)

    def __call__(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mixed batch."""
        shares = _shares(y, self.num_classes, "CutMix")
        if not rand_chance(self.p):
            return x, shares
        height, width = x.shape[-2:]
        half = 0.5 * math.sqrt(1 - _lambda(self.alpha))
        row, column, h, w = rand_int(height), rand_int(width), int(half * height), int(half * width)
        top, bottom = max(row - h, 0), min(row + h, height)
        left, right = max(column - w, 0), min(column + w, width)
        made = x.clone()
        made[..., top:bottom, left:right] = x.roll(1, 0)[..., top:bottom, left:right]
        lam = 1 - (bottom - top) * (right - left) / (height * width)
        return made, shares * lam + shares.roll(1, 0) * (1 - lam)


@dataclass(frozen=True)
class RandomChoice:
    """Applies one of ``mixes`` to each batch, each as likely."""

    mixes: Sequence[Mix]

    def __post_init__(self) -> None:
        if not self.mixes:
            raise ArgumentError("RandomChoice.mixes: must have at least one, got none; leave it out")

    def __call__(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the batch after one of them."""
        return self.mixes[rand_int(len(self.mixes))](x, y)


def mixing(num_classes: int, mixup_alpha: float = 0.0, cutmix_alpha: float = 0.0) -> Mix | None:
    """Return `MixUp`, `CutMix`, one of both at random for each batch, or None; an alpha of 0 means without."""
    mixes: list[Mix] = [MixUp(num_classes, mixup_alpha)] if mixup_alpha else []
    mixes += [CutMix(num_classes, cutmix_alpha)] if cutmix_alpha else []
    return RandomChoice(tuple(mixes)) if len(mixes) > 1 else mixes[0] if mixes else None
