"""Classification in numbers: top-k accuracy, the confusion matrix, and precision, recall and F1 per class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import ArgumentError, StateError
from .ranks import summed

__all__ = ["Classification", "ClassificationReport"]


@dataclass(frozen=True, eq=False)  # tensors have no one answer to ==
class ClassificationReport:
    """What ``Classification`` counted.

    Precision of class c: of the samples predicted as c, the share that is c; recall, or accuracy of the class: of the
    samples that are c, the share predicted as c; F1 = 2 tp / (2 tp + fp + fn), their harmonic mean. A share of nothing
    is 0 (scikit-learn's ``zero_division=0``): the precision of a class never predicted, the recall of one never seen.
    Macro means go over all classes alike, those never seen too (scikit-learn with ``labels=range(classes)``);
    ``never_seen`` names these.

    Attributes:
        confusion: int64 [classes, classes] on the CPU, rows the true class, columns the predicted one.
        topk: k -> the share of samples whose class is among the k with the highest scores, in [0, 1].
    """

    confusion: Tensor
    topk: dict[int, float]

    @property
    def samples(self) -> int:
        """Samples counted."""
        return int(self.confusion.sum())

    @property
    def support(self) -> list[int]:
        """Samples of each class."""
        return [int(n) for n in self.confusion.sum(1).tolist()]

    @property
    def never_seen(self) -> list[int]:
        """Classes without a sample."""
        return [c for c, n in enumerate(self.support) if n == 0]

    @property
    def accuracy(self) -> float:
        """The share of samples classified rightly, in [0, 1]."""
        return int(self.confusion.diagonal().sum()) / self.samples

    @property
    def precision(self) -> list[float]:
        """Precision of each class."""
        return _shares(self.confusion.diagonal(), self.confusion.sum(0))

    @property
    def recall(self) -> list[float]:
        """Recall of each class."""
        return _shares(self.confusion.diagonal(), self.confusion.sum(1))

    @property
    def per_class_accuracy(self) -> list[float]:
        """The share of each class's samples that is classified rightly: its recall."""
        return self.recall

    @property
    def f1(self) -> list[float]:
        """F1 of each class."""
        return _shares(2 * self.confusion.diagonal(), self.confusion.sum(0) + self.confusion.sum(1))

    @property
    def macro_precision(self) -> float:
        """Mean of the classes' precision."""
        return _mean(self.precision)

    @property
    def macro_recall(self) -> float:
        """Mean of the classes' recall."""
        return _mean(self.recall)

    @property
    def macro_f1(self) -> float:
        """Mean of the classes' F1."""
        return _mean(self.f1)

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers for JSON; the keys of ``topk`` are strings, as JSON has them."""
        names = ("samples", "accuracy", "macro_precision", "macro_recall", "macro_f1")
        lists = ("support", "never_seen", "precision", "recall", "f1")
        return {
            **{name: getattr(self, name) for name in names + lists},
            "topk": {str(k): share for k, share in self.topk.items()},
            "confusion": self.confusion.tolist(),
        }


def _shares(parts: Tensor, wholes: Tensor) -> list[float]:
    return [a / b if b else 0.0 for a, b in zip(parts.tolist(), wholes.tolist(), strict=True)]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


class Classification:
    """Counts predictions against labels over any number of batches, in int64.

    The predicted class is the first of those with the highest score; where scores are equal, the lower class ranks
    higher for top-k too, so a net that never fires says class 0 and ``topk[1]`` is the accuracy.

    Example::

        result = Classification(10, topk=(1, 5))
        for x, label in batches:
            result.update(net(direct(x, T)), label)
        report = result.compute()
        report.macro_f1, report.confusion

    Args:
        classes: number of classes, >= 1. The confusion matrix takes classes^2 x 8 bytes.
        topk: which k, each in 1..classes.

    Raises:
        ArgumentError: an argument cannot be used.
    """

    def __init__(self, classes: int, *, topk: Sequence[int] = (1,)) -> None:
        if type(classes) is not int or classes < 1:
            raise ArgumentError(f"Classification.classes: must be a whole number >= 1, got {classes!r}; pass such")
        for k in topk:
            if type(k) is not int or not 1 <= k <= classes:
                raise ArgumentError(f"Classification.topk: must be in 1..{classes}, got {k!r}; leave it out")
        self.classes = classes
        self.topk = tuple(topk)
        # The last cell takes what has no place: samples whose label is no class, or whose scores hold a NaN.
        self._cells = torch.zeros(classes * classes + 1, dtype=torch.int64)
        self._hits = torch.zeros(len(self.topk), dtype=torch.int64)

    def update(self, score: Tensor, label: Tensor) -> None:
        """Count one batch, without waiting for a GPU.

        Args:
            score: [B, classes], any real dtype: logits, potentials or counts; or spikes [T, B, classes], summed over T
                in float32 (float64 beside float64), exact up to 2^24 spikes.
            label: whole numbers [B], in 0..classes-1.

        Raises:
            ArgumentError: shapes or dtypes do not fit, a label is no class or a score is NaN; nothing of the batch is
                counted then. Where the tensors are on a GPU, the last two are said by ``compute``.
        """
        self._check(score, label)
        score = score.detach()
        if score.dim() == 3:
            score = score.sum(0, dtype=torch.float64 if score.dtype == torch.float64 else torch.float32)
        fits = ((label >= 0) & (label < self.classes)).to(score.device) & ~score.isnan().any(1)
        if score.device.type == "cpu" and not fits.all():
            self._refuse(int(fits.numel() - fits.sum()))
        if self._cells.device != score.device:
            self._cells, self._hits = self._cells.to(score.device), self._hits.to(score.device)
        label = label.to(score.device, torch.int64).clamp(0, self.classes - 1)
        index = torch.arange(self.classes, device=score.device)
        predicted = torch.where(score == score.amax(1, keepdim=True), index, self.classes - 1).amin(1)
        cell = torch.where(fits, label * self.classes + predicted, self.classes**2)
        self._cells.index_add_(0, cell, torch.ones_like(cell))
        own = score.gather(1, label.unsqueeze(1))
        above = (score > own) | ((score == own) & (index < label.unsqueeze(1)))
        rank = above.sum(1)
        self._hits += torch.stack([((rank < k) & fits).sum() for k in self.topk]) if self.topk else self._hits

    def _check(self, score: Tensor, label: Tensor) -> None:
        if score.dim() not in (2, 3) or score.shape[-1] != self.classes or label.shape != score.shape[-2:-1]:
            raise ArgumentError(
                f"Classification.score: must be [B, {self.classes}] or [T, B, {self.classes}] with labels [B], got "
                f"{list(score.shape)} and {list(label.shape)}; pass the net's output as it is"
            )
        if label.is_floating_point() or label.is_complex() or label.dtype == torch.bool:
            raise ArgumentError(f"Classification.label: must be whole numbers, got {label.dtype}; pass class indices")
        if label.device.type == "cpu" and label.numel():
            low, high = (int(n) for n in label.aminmax())
            if low < 0 or high >= self.classes:
                raise ArgumentError(
                    f"Classification.label: must be in 0..{self.classes - 1}, got {low if low < 0 else high}; "
                    "pass the number of classes of the data"
                )

    def _refuse(self, bad: int) -> None:
        raise ArgumentError(
            f"Classification.score: must hold numbers, and labels be in 0..{self.classes - 1}, got {bad} samples with "
            "a NaN score or another label; look at the net's output and the number of classes"
        )

    def compute(self, *, local: bool = False) -> ClassificationReport:
        """Return the counts so far.

        Args:
            local: False: where ``torch.distributed`` is initialised, the counts are summed over all ranks, exactly, and
                every rank has to call this. True: this rank alone.

        Raises:
            StateError: no sample was counted.
            ArgumentError: a batch on a GPU held a label that is no class, or a NaN score.
        """
        counts = torch.cat((self._cells, self._hits))
        counts = (counts if local else summed(counts)).cpu()
        cells, hits = counts[: self._cells.numel()], counts[self._cells.numel() :].tolist()
        if cells[-1]:
            self._refuse(int(cells[-1]))
        confusion = cells[:-1].view(self.classes, self.classes).clone()
        samples = int(confusion.sum())
        if samples == 0:
            raise StateError("Classification.compute: must follow an update, got no sample; update with a batch first")
        return ClassificationReport(confusion, {k: n / samples for k, n in zip(self.topk, hits, strict=True)})
