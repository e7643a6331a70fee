"""What transforms ask of their images and arguments, and how they draw."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ...errors import ArgumentError
from .._check import kind_of

__all__ = [
    "checked_image",
    "checked_number",
    "checked_pixels",
    "checked_range",
    "checked_size",
    "rand_between",
    "rand_chance",
    "rand_int",
]


def rand_int(n: int) -> int:
    """Draw an integer of 0..n-1."""
    return int(torch.randint(n, ()))


def rand_between(low: float, high: float) -> float:
    """Draw a number, evenly from low to high."""
    return low + (high - low) * float(torch.rand((), dtype=torch.float64))


def rand_chance(p: float) -> bool:
    """Draw True with probability ``p``; certain for 0 and 1."""
    return float(torch.rand((), dtype=torch.float64)) < p


def checked_image(image: Any, who: str) -> Tensor:
    """Return ``image`` if it is [C, H, W], torch.uint8 or floating; raise ArgumentError otherwise."""
    fits = isinstance(image, Tensor) and image.dim() == 3 and (image.dtype == torch.uint8 or image.is_floating_point())
    if not fits:
        raise ArgumentError(
            f"{who}: must be given an image [C, H, W], torch.uint8 or floating, got {kind_of(image)}; make it a tensor"
        )
    picture: Tensor = image
    return picture


def checked_pixels(image: Any, who: str) -> Tensor:
    """Return ``image`` if it is torch.uint8 [1 or 3, H, W]; raise ArgumentError otherwise."""
    if not isinstance(image, Tensor) or image.dtype != torch.uint8 or image.dim() != 3 or image.shape[0] not in (1, 3):
        raise ArgumentError(
            f"{who}: must be given an image torch.uint8 [1 or 3, H, W] of 0..255, got {kind_of(image)}; use it before "
            "the pixels are made floats"
        )
    return image


def checked_size(size: Any, who: str) -> tuple[int, int]:
    """Return ``size`` as (height, width); an int is a square."""
    pair = (size, size) if isinstance(size, int) else size
    whole = isinstance(pair, (tuple, list)) and len(pair) == 2 and all(type(n) is int and n > 0 for n in pair)
    if not whole:
        raise ArgumentError(f"{who}: must be an int > 0 or (height, width), got {size!r}; correct it")
    return pair[0], pair[1]


def checked_number(value: Any, who: str, low: float, high: float = math.inf) -> float:
    """Return ``value`` if it is a number in low..high."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not low <= value <= high:
        raise ArgumentError(f"{who}: must be a number in {low}..{high}, got {value!r}; correct it")
    return float(value)


def checked_range(value: Any, who: str, high: float = math.inf) -> tuple[float, float]:
    """Return ``value`` if it is (low, high) with 0 < low <= high."""
    pair = isinstance(value, (tuple, list)) and len(value) == 2 and all(isinstance(v, (int, float)) for v in value)
    if not pair or not 0 < value[0] <= value[1] <= high:
        raise ArgumentError(f"{who}: must be (low, high) with 0 < low <= high <= {high}, got {value!r}; correct it")
    return float(value[0]), float(value[1])
