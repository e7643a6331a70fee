"""Resizing, cropping and flipping. Images are [C, H, W], torch.uint8 or floating, and keep their type."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from ...errors import ArgumentError
from ...registry import lookup
from ._check import (
    checked_image,
    checked_number,
    checked_range,
    checked_size,
    rand_between,
    rand_chance,
    rand_int,
)

__all__ = ["INTERPOLATIONS", "CenterCrop", "RandomCrop", "RandomHorizontalFlip", "RandomResizedCrop", "Resize"]

# name -> what torch calls it; its "nearest" is not the nearest pixel, see interpolate.
INTERPOLATIONS = {"bilinear": "bilinear", "nearest": "nearest-exact"}


def _resized(image: Tensor, height: int, width: int, interpolation: str, antialias: bool) -> Tensor:
    if image.shape[1:] == (height, width):
        return image
    smooth = interpolation == "bilinear"
    options = {"antialias": antialias, "align_corners": False} if smooth else {}
    x = image.to(torch.float32) if smooth else image
    x = interpolate(x[None], (height, width), mode=INTERPOLATIONS[interpolation], **options)[0]
    return x.round_().clamp_(0, 255).to(torch.uint8) if image.dtype == torch.uint8 and smooth else x.to(image.dtype)


def _check_fits(image: Tensor, height: int, width: int, who: str) -> None:
    if image.shape[1] < height or image.shape[2] < width:
        raise ArgumentError(
            f"{who}.size: must be at most {image.shape[1]}x{image.shape[2]}, the size of the image, got "
            f"{height}x{width}; resize or pad it first"
        )


@dataclass(frozen=True)
class Resize:
    """Resizes the image.

    Args:
        size: (height, width); an int is the shorter side, the longer one follows, rounded down.
        interpolation: ``"bilinear"`` or ``"nearest"``.
        antialias: with ``"bilinear"``, average over what becomes one pixel when making the image smaller, as Pillow
        does.

    Raises:
        ArgumentError: an argument, or on calling the image, is not as described.
        UnknownNameError: there is no such interpolation.
    """

    size: int | Sequence[int]
    interpolation: str = "bilinear"
    antialias: bool = True

    def __post_init__(self) -> None:
        checked_size(self.size, "Resize.size")
        lookup(INTERPOLATIONS, self.interpolation, "Resize.interpolation")

    def __call__(self, image: Tensor) -> Tensor:
        """Return the image in its new size."""
        x = checked_image(image, "Resize")
        height, width = checked_size(self.size, "Resize.size")
        if isinstance(self.size, int):
            short, long = sorted(x.shape[1:])
            along = self.size * long // short
            height, width = (along, self.size) if x.shape[1] > x.shape[2] else (self.size, along)
        return _resized(x, height, width, self.interpolation, self.antialias)


@dataclass(frozen=True)
class CenterCrop:
    """Cuts out the middle, ``size`` (height, width) or a square; the image must be at least as large."""

    size: int | Sequence[int]

    def __post_init__(self) -> None:
        checked_size(self.size, "CenterCrop.size")

    def __call__(self, image: Tensor) -> Tensor:
        """Return the middle of the image, a view."""
        x = checked_image(image, "CenterCrop")
        height, width = checked_size(self.size, "CenterCrop.size")
        _check_fits(x, height, width, "CenterCrop")
        top, left = round((x.shape[1] - height) / 2), round((x.shape[2] - width) / 2)
        return x[:, top : top + height, left : left + width]


@dataclass(frozen=True)
class RandomCrop:
    """Cuts out a random place of the image, each as likely.

    Args:
        size: (height, width), or a square.
        padding: pixels added on every side first.
        fill: their value, in units of the image.
    """

    size: int | Sequence[int]
    padding: int = 0
    fill: float = 0

    def __post_init__(self) -> None:
        checked_size(self.size, "RandomCrop.size")
        checked_number(self.padding, "RandomCrop.padding", 0)

    def __call__(self, image: Tensor) -> Tensor:
        """Return a random part, a view."""
        x = pad(checked_image(image, "RandomCrop"), [self.padding] * 4, value=self.fill)
        height, width = checked_size(self.size, "RandomCrop.size")
        _check_fits(x, height, width, "RandomCrop")
        top, left = rand_int(x.shape[1] - height + 1), rand_int(x.shape[2] - width + 1)
        return x[:, top : top + height, left : left + width]


@dataclass(frozen=True)
class RandomResizedCrop:
    """Cuts out a random part and resizes it (Szegedy et al. 2015, arXiv:1409.4842).

    Its area is drawn from ``scale``, as a share of the image, and width / height from ``ratio``, evenly in the
    logarithm; a part that does not fit is drawn anew, up to ten times, and then the largest middle part within
    ``ratio`` is taken.

    Args:
        size: (height, width) of the result, or a square.
        scale: least and greatest share of the area, in 0..1.
        ratio: least and greatest width / height.
        interpolation: as of `Resize`.
        antialias: as of `Resize`.
    """

    size: int | Sequence[int]
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: str = "bilinear"
    antialias: bool = True

    def __post_init__(self) -> None:
        checked_size(self.size, "RandomResizedCrop.size")
        checked_range(self.scale, "RandomResizedCrop.scale", 1)
        checked_range(self.ratio, "RandomResizedCrop.ratio")
        lookup(INTERPOLATIONS, self.interpolation, "RandomResizedCrop.interpolation")

    def __call__(self, image: Tensor) -> Tensor:
        """Return a random part in its new size."""
        x = checked_image(image, "RandomResizedCrop")
        top, left, h, w = self._part(x.shape[1], x.shape[2])
        size = checked_size(self.size, "RandomResizedCrop.size")
        return _resized(x[:, top : top + h, left : left + w], *size, self.interpolation, self.antialias)

    def _part(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Draw top, left, height and width of the part."""
        low, high = self.ratio
        for _ in range(10):
            area = height * width * rand_between(*self.scale)
            ratio = math.exp(rand_between(math.log(low), math.log(high)))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                return rand_int(height - h + 1), rand_int(width - w + 1), h, w
        w, h = min(width, max(1, round(height * high))), min(height, max(1, round(width / low)))
        return (height - h) // 2, (width - w) // 2, h, w


@dataclass(frozen=True)
class RandomHorizontalFlip:
    """Mirrors left and right with probability ``p``."""

    p: float = 0.5

    def __post_init__(self) -> None:
        checked_number(self.p, "RandomHorizontalFlip.p", 0, 1)

    def __call__(self, image: Tensor) -> Tensor:
        """Return the image, or its mirror image."""
        x = checked_image(image, "RandomHorizontalFlip")
        return x.flip(-1) if rand_chance(self.p) else x
