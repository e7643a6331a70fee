"""One transform after the other, and what concerns values alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import ArgumentError
from ..sample_set import Transform
from ._check import checked_image, checked_number, checked_range, rand_between, rand_chance, rand_int

__all__ = ["Compose", "Normalize", "RandomErasing", "ToFloat"]


@dataclass(frozen=True)
class Compose:
    """Applies ``transforms`` one after the other."""

    transforms: Sequence[Transform]

    def __post_init__(self) -> None:
        if wrong := [t for t in self.transforms if not callable(t)]:
            raise ArgumentError(f"Compose.transforms: must be callable, got {wrong[0]!r}; leave it out")

    def __call__(self, image: Tensor) -> Tensor:
        """Return the image after all of them."""
        for transform in self.transforms:
            image = transform(image)
        return image


@dataclass(frozen=True)
class ToFloat:
    """Makes torch.uint8 pixels of 0..255 torch.float32 in [0, 1]; floating images are left as they are."""

    def __call__(self, image: Tensor) -> Tensor:
        """Return the image as floats."""
        x = checked_image(image, "ToFloat")
        return x.to(torch.float32).div_(255) if x.dtype == torch.uint8 else x


@dataclass(frozen=True)
class Normalize:
    """(x - mean) / std for each channel, of pixels in [0, 1]; torch.uint8 pixels are divided by 255 first.

    Args:
        mean: of each channel, or of all.
        std: likewise, > 0.
    """

    mean: Sequence[float]
    std: Sequence[float]

    def __post_init__(self) -> None:
        for mean in self.mean:
            checked_number(mean, "Normalize.mean", -math.inf)
        if len(self.mean) != len(self.std) or any(checked_number(std, "Normalize.std", 0) == 0 for std in self.std):
            raise ArgumentError(
                f"Normalize.std: must be {len(self.mean)} numbers > 0, as many as mean, got {self.std!r}; correct it"
            )

    def __call__(self, image: Tensor) -> Tensor:
        """Return the normalised image, torch.float32 [C, H, W] of torch.uint8."""
        x = ToFloat()(image)
        if len(self.mean) not in (1, x.shape[0]):
            raise ArgumentError(
                f"Normalize.mean: must be one number or one per channel, got {len(self.mean)} for {x.shape[0]} "
                "channels; correct it"
            )
        mean, std = (torch.tensor(v, dtype=x.dtype).reshape(-1, 1, 1) for v in (self.mean, self.std))
        return (x - mean) / std


@dataclass(frozen=True)
class RandomErasing:
    """Overwrites a random rectangle (Zhong et al. 2020, arXiv:1708.04896).

    Its area is drawn from ``scale``, as a share of the image, and height / width from ``ratio``, evenly in the
    logarithm; a rectangle that does not fit is drawn anew, up to ten times, and then the image is left as it is.

    Args:
        p: probability of erasing.
        scale: least and greatest share of the area, in 0..1.
        ratio: least and greatest height / width.
        value: what is written: a number, or ``"random"`` for normally distributed pixels (of floating images). Used
            after `Normalize`, 0 is the mean colour.
    """

    p: float = 0.5
    scale: tuple[float, float] = (0.02, 0.33)
    ratio: tuple[float, float] = (0.3, 3.3)
    value: float | str = 0.0

    def __post_init__(self) -> None:
        checked_number(self.p, "RandomErasing.p", 0, 1)
        checked_range(self.scale, "RandomErasing.scale", 1)
        checked_range(self.ratio, "RandomErasing.ratio")
        if self.value != "random":
            checked_number(self.value, "RandomErasing.value", -math.inf)

    def __call__(self, image: Tensor) -> Tensor:
        """Return the image, or a copy with a rectangle erased."""
        x = checked_image(image, "RandomErasing")
        if self.value == "random" and not x.is_floating_point():
            raise ArgumentError(
                f"RandomErasing.value: must be a number for {x.dtype}, got 'random'; use it after Normalize"
            )
        if not rand_chance(self.p):
            return x
        channels, height, width = x.shape
        for _ in range(10):
            area = height * width * rand_between(*self.scale)
            ratio = math.exp(rand_between(math.log(self.ratio[0]), math.log(self.ratio[1])))
            h, w = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < h < height and 0 < w < width:
                top, left = rand_int(height - h + 1), rand_int(width - w + 1)
                x = x.clone()
                x[:, top : top + h, left : left + w] = (
                    torch.randn(channels, h, w, dtype=x.dtype) if isinstance(self.value, str) else self.value
                )
                break
        return x
