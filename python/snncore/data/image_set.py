"""A labelled set of images that lies in memory as a whole."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import ArgumentError
from ._order import stratified

__all__ = ["ImageSet", "split"]

_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


@dataclass(frozen=True, eq=False, repr=False)
class ImageSet:
    """Images and their labels, checked when made.

    Args:
        name: of the data set, e.g. ``"fashion_mnist"``.
        split: ``"train"``, ``"test"``, ``"validation"``...
        images: torch.uint8 [N, C, H, W], N > 0, values 0..scale.
        labels: torch.int64 [N], values 0..num_classes-1, on the device of ``images``.
        classes: the name of each class, in the order of the labels.
        scale: what a pixel is divided by to lie in [0, 1]: 255 or, for ``digits``, 16.
        source: one line for logs: which files, how many samples, whether they are the official ones.

    Raises:
        ArgumentError: a field is not as described.
    """

    name: str
    split: str
    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    scale: int
    source: str

    def __post_init__(self) -> None:
        for field in ("name", "split"):
            value = getattr(self, field)
            if not isinstance(value, str) or not value:
                raise ArgumentError(f"ImageSet.{field}: must be a non-empty string, got {value!r}; name the set")
        self._check_images()
        self._check_labels()

    def _check_images(self) -> None:
        x = self.images
        if not isinstance(x, Tensor) or x.dtype != torch.uint8 or x.dim() != 4 or x.numel() == 0:
            raise ArgumentError(
                f"ImageSet.images: must be a torch.uint8 tensor [N, C, H, W] with N, C, H, W > 0, got {_kind(x)}; "
                "add the channel axis with unsqueeze(1), and keep the pixels as they are stored"
            )
        if not isinstance(self.scale, int) or isinstance(self.scale, bool) or not 0 < self.scale <= 255:
            raise ArgumentError(f"ImageSet.scale: must be an int in 1..255, got {self.scale!r}; give the white level")
        if self.scale < 255 and (peak := int(x.max())) > self.scale:
            raise ArgumentError(f"ImageSet.images: must be at most scale = {self.scale}, got {peak}; correct the scale")

    def _check_labels(self) -> None:
        y, n = self.labels, self.images.shape[0]
        if not isinstance(y, Tensor) or y.dtype != torch.int64 or y.dim() != 1 or y.shape[0] != n:
            raise ArgumentError(
                f"ImageSet.labels: must be a torch.int64 tensor [{n}], one label per image, got {_kind(y)}; "
                "convert it with labels.to(torch.int64)"
            )
        if y.device != self.images.device:
            raise ArgumentError(
                f"ImageSet.labels: must be on {self.images.device} like images, got {y.device}; move both together"
            )
        names = self.classes
        if not isinstance(names, tuple) or not names or len(set(names)) != len(names):
            raise ArgumentError(f"ImageSet.classes: must be a tuple of different names, got {names!r}; name each class")
        low, high = (int(v) for v in torch.aminmax(y))
        if low < 0 or high >= len(names):
            raise ArgumentError(
                f"ImageSet.labels: must be in 0..{len(names) - 1} for {len(names)} classes, got {low}..{high}; "
                "number the classes from 0"
            )

    @property
    def num_classes(self) -> int:
        """How many classes there are, whether or not each has samples here."""
        return len(self.classes)

    @property
    def in_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image: what `snncore.model.CSNN` calls ``in_shape``."""
        _, c, h, w = self.images.shape
        return c, h, w

    def __len__(self) -> int:
        return self.images.shape[0]

    def __repr__(self) -> str:
        shape = "x".join(str(s) for s in self.in_shape)
        return f"ImageSet({self.name} {self.split}: {len(self)} of {shape}, {self.num_classes} classes)"

    def subset(self, indices: Tensor | Sequence[int], split: str | None = None) -> ImageSet:
        """Return a set of the samples at ``indices``, in that order (a copy).

        Args:
            indices: places in this set, integers [M], M > 0; a place may occur more than once.
            split: name of the new split; this set's by default.

        Raises:
            ArgumentError: ``indices`` is empty, not integer, or leads outside the set.
        """
        places = checked_indices(indices, len(self), "ImageSet.subset.indices").to(self.images.device)
        return replace(
            self,
            split=self.split if split is None else split,
            images=self.images.index_select(0, places),
            labels=self.labels.index_select(0, places),
            source=f"{len(places):,} of [{self.source}]",
        )

    def to(self, device: torch.device | str) -> ImageSet:
        """Return the set with images and labels on ``device``, where `Batches` then gathers."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


def split(dataset: ImageSet, fraction: float, seed: int) -> tuple[ImageSet, ImageSet]:
    """Split off ``fraction`` of a set for validation, every class in proportion.

    No sample is in both parts, and each part keeps the order of ``dataset``. Classes are exact to less than one
    sample. The same (dataset, fraction, seed) gives the same parts on every machine.

    Args:
        dataset: what to split.
        fraction: share of the second part; round(fraction * N) samples.
        seed: at least 0; which samples.

    Returns:
        (rest, validation): the first keeps the name of its split, the second is called ``"validation"``.

    Raises:
        ArgumentError: ``fraction`` would leave one part empty, or ``seed`` is not an integer >= 0.
    """
    n = len(dataset)
    if isinstance(fraction, bool) or not isinstance(fraction, (int, float)) or not 0 < fraction < 1:
        raise ArgumentError(f"data.split.fraction: must be a number between 0 and 1, got {fraction!r}; use e.g. 0.1")
    count = round(fraction * n)
    if not 0 < count < n:
        raise ArgumentError(
            f"data.split.fraction: must leave samples in both parts, got {fraction!r}: {count} of {n}; change it"
        )
    checked_int(seed, "data.split.seed", 0)
    chosen = torch.from_numpy(stratified(dataset.labels.cpu().numpy(), count, seed))
    rest = torch.ones(n, dtype=torch.bool)
    rest[chosen] = False
    return dataset.subset(rest.nonzero().flatten()), dataset.subset(chosen, split="validation")


def checked_int(value: Any, who: str, low: int, high: int | None = None) -> int:
    """Return ``value`` as an int within ``low..high``, or raise ArgumentError in the name of ``who``."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < low or (high is not None and number > high):
        span = f">= {low}" if high is None else f"in {low}..{high}"
        raise ArgumentError(f"{who}: must be an integer {span}, got {value!r}; correct it")
    return number


def checked_indices(indices: Tensor | Sequence[int], n: int, who: str) -> Tensor:
    """Return ``indices`` as int64 [M] on the CPU, M > 0, each in 0..n-1; raise ArgumentError otherwise."""
    try:
        places = indices if isinstance(indices, Tensor) else torch.as_tensor(indices)
    except (TypeError, ValueError, RuntimeError):
        raise ArgumentError(f"{who}: must be integers, got {type(indices).__name__}; give a list or a tensor") from None
    if places.numel() == 0:
        raise ArgumentError(f"{who}: must name at least one sample, got none; leave it out to use all")
    if places.dtype not in _INTEGERS or places.dim() != 1:
        raise ArgumentError(
            f"{who}: must be integers [M], got {_kind(places)}; turn a mask into places with nonzero().flatten()"
        )
    places = places.to("cpu", torch.int64)
    low, high = (int(v) for v in torch.aminmax(places))
    if low < 0 or high >= n:
        raise ArgumentError(f"{who}: must be in 0..{n - 1}, got {low}..{high}; count from 0")
    return places


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} {list(value.shape)}"
    return type(value).__name__
