"""The operations of AutoAugment and its successors on torch.uint8 [1 or 3, H, W], as Pillow defines them."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import conv2d

__all__ = [
    "affine",
    "autocontrast",
    "brightness",
    "color",
    "contrast",
    "equalize",
    "posterize",
    "rotate",
    "sharpness",
    "solarize",
]

Matrix = tuple[float, float, float, float, float, float]


def affine(x: Tensor, matrix: Matrix, interpolation: str) -> Tensor:
    """Take the value of (u, v) from (a*u + b*v + c, d*u + e*v + f); outside of the image is 0.

    Coordinates are those of the plane in which pixel i reaches from i to i + 1, so its centre is i + 0.5.
    """
    a, b, c, d, e, f = matrix
    height, width = x.shape[1:]
    v, u = torch.meshgrid(
        torch.arange(height, dtype=torch.float64) + 0.5, torch.arange(width, dtype=torch.float64) + 0.5, indexing="ij"
    )
    across, down = a * u + b * v + c, d * u + e * v + f
    if interpolation == "nearest":
        return _at(x, down.floor(), across.floor())
    across, down = across - 0.5, down - 0.5
    left, top = across.floor(), down.floor()
    right_share, low_share = (across - left).float(), (down - top).float()
    upper = _at(x, top, left) * (1 - right_share) + _at(x, top, left + 1) * right_share
    lower = _at(x, top + 1, left) * (1 - right_share) + _at(x, top + 1, left + 1) * right_share
    return (upper * (1 - low_share) + lower * low_share).round_().clamp_(0, 255).to(torch.uint8)


def _at(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return x[:, rows, columns], 0 outside."""
    height, width = x.shape[1:]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    places = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    values = x.flatten(1).index_select(1, places.long().flatten()).reshape(x.shape[0], *rows.shape)
    return torch.where(inside, values, torch.zeros_like(values))


def rotate(x: Tensor, degrees: float, interpolation: str) -> Tensor:
    """Turn counter-clockwise about the middle."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    cy, cx = x.shape[1] / 2, x.shape[2] / 2
    return affine(x, (cos, -sin, cx - cos * cx + sin * cy, sin, cos, cy - sin * cx - cos * cy), interpolation)


def _grey(x: Tensor) -> Tensor:
    """Luma of ITU-R 601, int32 [1, H, W], in 16-bit fixed point as Pillow has it."""
    if x.shape[0] == 1:
        return x.to(torch.int32)
    r, g, b = x.to(torch.int32)
    grey: Tensor = (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16
    return grey[None]


def _blend(x: Tensor, other: Tensor, factor: float) -> Tensor:
    """Go from ``other`` (factor 0) through ``x`` (factor 1) and beyond, fractions cut off."""
    base = other.to(torch.float32)
    return (base + factor * (x.to(torch.float32) - base)).clamp_(0, 255).to(torch.uint8)


def brightness(x: Tensor, factor: float) -> Tensor:
    """Blend with black."""
    return _blend(x, torch.zeros_like(x), factor)


def color(x: Tensor, factor: float) -> Tensor:
    """Blend with the grey image."""
    return _blend(x, _grey(x), factor)


def contrast(x: Tensor, factor: float) -> Tensor:
    """Blend with the mean grey, a whole number."""
    mean = _grey(x).to(torch.float64).mean().add(0.5).floor()
    return _blend(x, mean, factor)


def sharpness(x: Tensor, factor: float) -> Tensor:
    """Blend with the smoothed image, whose border is that of the image."""
    if min(x.shape[1:]) <= 2:
        return x
    kernel = torch.tensor([[1.0, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    smooth = x.clone()
    inner = conv2d(x[:, None].to(torch.float32), kernel[None, None])[:, 0]
    smooth[:, 1:-1, 1:-1] = inner.round_().clamp_(0, 255).to(torch.uint8)
    return _blend(x, smooth, factor)


def posterize(x: Tensor, bits: int) -> Tensor:
    """Keep the upper ``bits`` of each value."""
    return x & (256 - (1 << (8 - bits)))


def solarize(x: Tensor, threshold: float) -> Tensor:
    """Invert values from ``threshold`` on."""
    return torch.where(x >= threshold, 255 - x, x)


def autocontrast(x: Tensor) -> Tensor:
    """Stretch each channel to 0..255; one of a single value is left."""
    flat = x.flatten(1)
    low, high = flat.amin(1).double(), flat.amax(1).double()
    whole = torch.full_like(high, 255)  # 255 / tensor would be 255 * (1 / tensor), which is another number
    scale = torch.where(high > low, whole / (high - low).clamp(min=1), 1.0)[:, None, None]
    offset = torch.where(high > low, -low, 0.0)[:, None, None] * scale
    return (x.to(torch.float64) * scale + offset).clamp_(0, 255).to(torch.uint8)


def equalize(x: Tensor) -> Tensor:
    """Make the values of each channel as equally frequent as can be."""
    return torch.stack([_equalized(channel) for channel in x])


def _equalized(channel: Tensor) -> Tensor:
    counts = torch.bincount(channel.flatten().long(), minlength=256)
    there = counts[counts > 0]
    step = int(there.sum() - there[-1]) // 255
    if step == 0:
        return channel
    below = counts.cumsum(0) - counts
    table = ((below + step // 2) // step).clamp_(0, 255).to(torch.uint8)
    return table[channel.long()]
