"""Coefficients of neurons: numbers, or tensors [] or [C], fixed or learned."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .stages import Coefficient

if TYPE_CHECKING:
    from .base import BaseNode

__all__ = ["as_rows", "channels_of", "exp_of", "lanes_per_channel", "log_of", "require_above", "shown", "to_step"]


def channels_of(coefficients: Iterable[Coefficient | None]) -> int | None:
    """Return None if all are numbers, else the channels of the widest tensor (1 for tensors [])."""
    sizes = [c.numel() for c in coefficients if isinstance(c, Tensor)]
    return max(sizes) if sizes else None


def exp_of(coefficient: Coefficient) -> Coefficient:
    """Return its exponential, differentiable where it is a tensor."""
    return coefficient.exp() if isinstance(coefficient, Tensor) else math.exp(coefficient)


def log_of(coefficient: Coefficient) -> Coefficient:
    """Return its natural logarithm, differentiable where it is a tensor."""
    return coefficient.log() if isinstance(coefficient, Tensor) else math.log(coefficient)


def require_above(node: BaseNode, least: float, *names: str) -> None:
    """Raise ArgumentError unless every element of the coefficients ``names`` of ``node`` is above ``least``."""
    for name in names:
        value = getattr(node, name)
        lowest = float(value.detach().min()) if isinstance(value, Tensor) else value
        if not lowest > least:
            raise node._bad(name, f"be greater than {least:g}", lowest, "pass a larger value")


def shown(value: Coefficient) -> str:
    """Return a coefficient for ``print(net)``: its number, or its size."""
    return f"[{value.numel()}]" if isinstance(value, Tensor) and value.numel() > 1 else f"{float(value):g}"


def to_step(coefficient: Coefficient, dtype: torch.dtype, dim: int) -> Coefficient:
    """Return ``coefficient`` so that it broadcasts against a step [B, C, *] of ``dim`` dimensions."""
    if not isinstance(coefficient, Tensor):
        return coefficient
    coefficient = coefficient.to(dtype)
    return coefficient.view(-1, *(1,) * (dim - 2)) if coefficient.numel() > 1 else coefficient.reshape(())


def as_rows(coefficients: list[Coefficient], channels: int, like: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the native kernel's [len(coefficients), channels], differentiable, on the device of ``like``."""
    rows = [
        c.to(dtype).expand(channels) if isinstance(c, Tensor) else like.new_full((channels,), c, dtype=dtype)
        for c in coefficients
    ]
    return torch.stack(rows)


def lanes_per_channel(step_shape: torch.Size, channels: int) -> int:
    """Return how many neighbouring lanes of a step [B, C, *] belong to one channel."""
    return math.prod(step_shape[2:]) if channels > 1 else 1
