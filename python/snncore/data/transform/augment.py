"""TrivialAugment and RandAugment: random operations on an image, with the tables of operations torchvision has."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...registry import lookup
from .._check import checked_int
from . import _pixel
from ._check import checked_pixels, rand_chance, rand_int
from .crop import INTERPOLATIONS

__all__ = ["RandAugment", "TrivialAugmentWide"]

_OPERATIONS = (
    "Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast",
    "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize",
)  # fmt: skip
_SIGNED = frozenset(_OPERATIONS[1:10])  # their magnitude is as often negative


def _apply(x: Tensor, operation: str, magnitude: float, interpolation: str) -> Tensor:
    """Return ``x`` after ``operation``.

    Args:
        x: torch.uint8 [1 or 3, H, W].
        operation: one of ``_OPERATIONS``.
        magnitude: pixels sideways per pixel down (shear), pixels (translate), degrees (rotate), difference of the
            factor from 1 (brightness to sharpness), bits (posterize), threshold (solarize).
        interpolation: of shear, translate and rotate.
    """
    match operation:
        case "ShearX":
            return _pixel.affine(x, (1, magnitude, 0, 0, 1, 0), interpolation)
        case "ShearY":
            return _pixel.affine(x, (1, 0, 0, magnitude, 1, 0), interpolation)
        case "TranslateX":
            return _pixel.affine(x, (1, 0, int(magnitude), 0, 1, 0), interpolation)
        case "TranslateY":
            return _pixel.affine(x, (1, 0, 0, 0, 1, int(magnitude)), interpolation)
        case "Rotate":
            return _pixel.rotate(x, magnitude, interpolation)
        case "Brightness":
            return _pixel.brightness(x, 1 + magnitude)
        case "Color":
            return _pixel.color(x, 1 + magnitude)
        case "Contrast":
            return _pixel.contrast(x, 1 + magnitude)
        case "Sharpness":
            return _pixel.sharpness(x, 1 + magnitude)
        case "Posterize":
            return _pixel.posterize(x, int(magnitude))
        case "Solarize":
            return _pixel.solarize(x, magnitude)
        case "AutoContrast":
            return _pixel.autocontrast(x)
        case "Equalize":
            return _pixel.equalize(x)
    return x


def _random_sign(operation: str, magnitude: float) -> float:
    return -magnitude if operation in _SIGNED and rand_chance(0.5) else magnitude


@dataclass(frozen=True)
class TrivialAugmentWide:
    """Applies one operation, drawn at random, with a magnitude drawn at random (Müller, Hutter 2021, arXiv:2103.10158).

    Before `Normalize`: it takes torch.uint8 [1 or 3, H, W].

    Args:
        bins: how many magnitudes there are, evenly spaced.
        interpolation: ``"nearest"`` or ``"bilinear"``, of shear, translation and rotation; outside of the image is 0.
    """

    bins: int = 31
    interpolation: str = "nearest"

    def __post_init__(self) -> None:
        checked_int(self.bins, "TrivialAugmentWide.bins", 2)
        lookup(INTERPOLATIONS, self.interpolation, "TrivialAugmentWide.interpolation")

    def __call__(self, image: Tensor) -> Tensor:
        """Return the image after one operation."""
        x = checked_pixels(image, "TrivialAugmentWide")
        operation = _OPERATIONS[rand_int(len(_OPERATIONS))]
        magnitude = self._magnitude(operation, rand_int(self.bins) / (self.bins - 1))
        return _apply(x, operation, _random_sign(operation, magnitude), self.interpolation)

    @staticmethod
    def _magnitude(operation: str, level: float) -> float:
        """Return the magnitude at ``level`` in [0, 1]."""
        match operation:
            case "TranslateX" | "TranslateY":
                return 32 * level
            case "Rotate":
                return 135 * level
            case "Posterize":
                return 8 - round(6 * level)
            case "Solarize":
                return 255 * (1 - level)
        return 0.99 * level


@dataclass(frozen=True)
class RandAugment:
    """Applies ``num_ops`` operations, drawn at random, with one magnitude (Cubuk et al. 2020, arXiv:1909.13719).

    Before `Normalize`: it takes torch.uint8 [1 or 3, H, W].

    Args:
        num_ops: how many, one after the other.
        magnitude: 0..bins-1.
        bins: how many magnitudes there are, evenly spaced.
        interpolation: as of `TrivialAugmentWide`.
    """

    num_ops: int = 2
    magnitude: int = 9
    bins: int = 31
    interpolation: str = "nearest"

    def __post_init__(self) -> None:
        checked_int(self.num_ops, "RandAugment.num_ops", 0)
        checked_int(self.bins, "RandAugment.bins", 2)
        checked_int(self.magnitude, "RandAugment.magnitude", 0, self.bins - 1)
        lookup(INTERPOLATIONS, self.interpolation, "RandAugment.interpolation")

    def __call__(self, image: Tensor) -> Tensor:
        """Return the image after the operations."""
        x = checked_pixels(image, "RandAugment")
        level = self.magnitude / (self.bins - 1)
        for _ in range(self.num_ops):
            operation = _OPERATIONS[rand_int(len(_OPERATIONS))]
            magnitude = self._magnitude(operation, level, x.shape[1], x.shape[2])
            x = _apply(x, operation, _random_sign(operation, magnitude), self.interpolation)
        return x

    @staticmethod
    def _magnitude(operation: str, level: float, height: int, width: int) -> float:
        """Return the magnitude at ``level`` in [0, 1]."""
        match operation:
            case "ShearX" | "ShearY":
                return 0.3 * level
            case "TranslateX":
                return 150 / 331 * width * level
            case "TranslateY":
                return 150 / 331 * height * level
            case "Rotate":
                return 30 * level
            case "Posterize":
                return 8 - round(4 * level)
            case "Solarize":
                return 255 * (1 - level)
        return 0.9 * level
