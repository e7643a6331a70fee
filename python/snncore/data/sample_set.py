"""A labelled set of images that is read, and transformed, sample by sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from ..errors import ArgumentError, SnncoreError
from ._check import checked_indices, checked_labels, kind_of
from ._draw import put_back, seed_all
from ._order import sample_seed

__all__ = ["MemoryReader", "Reader", "SampleSet", "Transform"]

# From torch.uint8 [C, H, W] to torch.uint8 or floating [C', H', W'].
Transform = Callable[[Any], Any]


class Reader(Protocol):
    """Where the images of a `SampleSet` come from. Sent to worker processes, so it must be picklable."""

    def __len__(self) -> int:
        """How many images there are."""

    def __call__(self, place: int) -> Tensor:
        """Return the image at ``place``, torch.uint8 [C, H, W] of 0..255, or raise DataError."""

    def where(self, place: int) -> str:
        """Return the words by which a message names the image at ``place``."""

    def take(self, places: Tensor) -> Reader:
        """Return a reader of the images at ``places``, int64 [M], in that order."""


@dataclass(frozen=True, eq=False)
class MemoryReader:
    """Takes images out of a tensor, torch.uint8 [N, C, H, W] on the CPU; ``name`` is for messages."""

    images: Tensor
    name: str

    def __len__(self) -> int:
        return self.images.shape[0]

    def __call__(self, place: int) -> Tensor:
        """Return a copy of the image at ``place``, so that a transform may work in place."""
        return self.images[place].clone()

    def where(self, place: int) -> str:
        """Return the name of the set and ``place``."""
        return f"sample {place} of {self.name}"

    def take(self, places: Tensor) -> MemoryReader:
        """Return a reader of the images at ``places``."""
        return MemoryReader(self.images.index_select(0, places), self.name)


@dataclass(frozen=True, eq=False, repr=False)
class SampleSet:
    """Images that are read one by one, from files or from memory, each sent through a transform.

    A transform takes one image, torch.uint8 [C, H, W] of 0..255, and returns one: torch.uint8 again, which then becomes
    float in [0, 1], or floating, which is taken as it is. All images of a batch must come out in one size. It may draw
    from torch's CPU generator, from ``numpy.random`` and from ``random``: `Batches` seeds all three for each sample
    from (seed, epoch, place of the sample), so that what it draws depends neither on the order nor on the number of
    worker processes, and puts them back afterwards. Those of `snncore.data.transform` are such transforms, and so are
    the ones of torchvision.transforms.v2 that take tensors. (torch does not promise the same numbers in each of its
    versions: a run with random transforms is resumed exactly by the version that began it.)

    Args:
        name: of the data set.
        split: ``"train"``, ``"val"``, ``"test"``...
        reader: gives the images; picklable.
        labels: torch.int64 [N] on the CPU.
        classes: the name of each class, in the order of the labels.
        source: one line for logs.
        transform: what every image is sent through; picklable where worker processes are spawned.
        device: where batches come to lie.

    Raises:
        ArgumentError: a field is not as described.
    """

    name: str
    split: str
    reader: Reader
    labels: Tensor
    classes: tuple[str, ...]
    source: str
    transform: Transform | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __post_init__(self) -> None:
        if len(self.reader) == 0:
            raise ArgumentError("SampleSet.reader: must have at least one image, got none; check where they are")
        checked_labels(self.labels, self.classes, len(self.reader), torch.device("cpu"), "SampleSet")
        if self.transform is not None and not callable(self.transform):
            raise ArgumentError(
                f"SampleSet.transform: must be callable, got {type(self.transform).__name__}; give one of "
                "snncore.data.transform or of torchvision.transforms.v2"
            )

    @property
    def num_classes(self) -> int:
        """How many classes there are, whether or not each has samples here."""
        return len(self.classes)

    @property
    def in_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the first image after the transform; reads that image."""
        c, h, w = self.sample(0).shape
        return c, h, w

    def __len__(self) -> int:
        return len(self.reader)

    def __repr__(self) -> str:
        return f"SampleSet({self.name} {self.split}: {len(self)} samples, {self.num_classes} classes)"

    def sample(self, place: int, seed: int = 0, epoch: int = 0, copy: int = 0) -> Tensor:
        """Return the image at ``place`` as a batch holds it, torch.float32 [C, H, W] on the CPU.

        Args:
            place: 0..len(self)-1.
            seed: of the run, see `Batches`.
            epoch: of the run.
            copy: which of its repetitions in the epoch.

        Raises:
            DataError: the image cannot be read.
            ArgumentError: the transform fails on it, or does not return an image.
        """
        with put_back() if self.transform is not None else nullcontext():
            return self.draw(place, seed, epoch, copy)

    def draw(self, place: int, seed: int, epoch: int, copy: int) -> Tensor:
        """Do what `sample` does, and leave the random generators where the transform left them."""
        image = self.reader(place)
        if self.transform is not None:
            seed_all(sample_seed(seed, epoch, place, copy))
            image = self._transformed(image, place)
        return image.to(torch.float32).div_(255) if image.dtype == torch.uint8 else image.to(torch.float32)

    def _transformed(self, image: Tensor, place: int) -> Tensor:
        assert self.transform is not None
        before = kind_of(image)
        try:
            made = self.transform(image)
        except SnncoreError as error:
            raise ArgumentError(f"{error} (on {self.reader.where(place)}, {before})") from error
        except Exception as error:
            raise ArgumentError(
                f"SampleSet.transform: must take {before}, got {type(error).__name__}: {error} (on "
                f"{self.reader.where(place)}); use transforms that take tensors"
            ) from error
        known = isinstance(made, Tensor) and (made.dtype == torch.uint8 or made.dtype.is_floating_point)
        if not known or made.dim() != 3 or made.numel() == 0:
            raise ArgumentError(
                f"SampleSet.transform: must return an image [C, H, W], torch.uint8 or floating, got "
                f"{kind_of(made)} (on {self.reader.where(place)}); correct it"
            )
        image = made.as_subclass(Tensor)  # what torchvision calls an Image
        return image

    def subset(self, indices: Tensor | Sequence[int], split: str | None = None) -> SampleSet:
        """Return a set of the samples at ``indices``, in that order.

        Args:
            indices: places in this set, integers [M], M > 0; a place may occur more than once.
            split: name of the new split; this set's by default.

        Raises:
            ArgumentError: ``indices`` is empty, not integer, or leads outside the set.
        """
        places = checked_indices(indices, len(self), "SampleSet.subset.indices")
        return replace(
            self,
            split=self.split if split is None else split,
            reader=self.reader.take(places),
            labels=self.labels.index_select(0, places),
            source=f"{len(places):,} of [{self.source}]",
        )

    def to(self, device: torch.device | str) -> SampleSet:
        """Return the set with batches on ``device``; images are still read and transformed on the CPU."""
        return replace(self, device=torch.device(device))

    def with_transform(self, transform: Transform | None) -> SampleSet:
        """Return the set with every image sent through ``transform`` instead of the present one."""
        return replace(self, transform=transform)
