"""A labelled set of images that lies in memory as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from ..errors import ArgumentError
from ._check import checked_indices, checked_int, checked_labels, kind_of
from ._order import stratified
from .sample_set import MemoryReader, SampleSet, Transform

__all__ = ["ImageSet", "split"]

_Set = TypeVar("_Set", "ImageSet", SampleSet, "ImageSet | SampleSet")


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
        checked_labels(self.labels, self.classes, self.images.shape[0], self.images.device, "ImageSet")

    def _check_images(self) -> None:
        x = self.images
        if not isinstance(x, Tensor) or x.dtype != torch.uint8 or x.dim() != 4 or x.numel() == 0:
            raise ArgumentError(
                f"ImageSet.images: must be a torch.uint8 tensor [N, C, H, W] with N, C, H, W > 0, got {kind_of(x)}; "
                "add the channel axis with unsqueeze(1), and keep the pixels as they are stored"
            )
        if not isinstance(self.scale, int) or isinstance(self.scale, bool) or not 0 < self.scale <= 255:
            raise ArgumentError(f"ImageSet.scale: must be an int in 1..255, got {self.scale!r}; give the white level")
        if self.scale < 255 and (peak := int(x.max())) > self.scale:
            raise ArgumentError(f"ImageSet.images: must be at most scale = {self.scale}, got {peak}; correct the scale")

    @property
    def num_classes(self) -> int:
        """How many classes there are, whether or not each has samples here."""
        return len(self.classes)

    @property
    def device(self) -> torch.device:
        """Where its batches come to lie."""
        return self.images.device

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

    def with_transform(self, transform: Transform | None) -> SampleSet:
        """Return the set with every image sent through ``transform``, see `SampleSet`.

        The transform gets pixels of 0..255 whatever ``scale`` is. The images stay in memory, on the CPU.
        """
        pixels = self.images.cpu()
        if self.scale != 255:
            pixels = (pixels.to(torch.float32) * (255 / self.scale)).round_().to(torch.uint8)
        reader = MemoryReader(pixels, f"{self.name} {self.split}")
        return SampleSet(
            self.name, self.split, reader, self.labels.cpu(), self.classes, self.source, transform, self.device
        )


def split(dataset: _Set, fraction: float, seed: int) -> tuple[_Set, _Set]:
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
