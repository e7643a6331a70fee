"""Sequences whose steps lie in memory as ``torch.channels_last``, which convolutions and pools are faster with."""

from __future__ import annotations

import torch
from torch import Tensor

from ..ops.transforms import transformed

__all__ = ["channels_back", "channels_lie_last", "channels_to_end"]


def channels_lie_last(x_seq: Tensor) -> bool:
    """Return whether each step [B, C, H, W] or [B, C, D, H, W] of ``x_seq`` lies densely in order [B, (D,) H, W, C].

    False where that is the same as the usual order, and where strides may not be asked for (``torch.func``) or are
    not those that a graph will meet (``torch.export``).
    """
    if x_seq.dim() not in (5, 6) or x_seq.stride(2) != 1 or torch.compiler.is_exporting() or transformed():
        return False
    shape, stride = x_seq.shape, x_seq.stride()
    expected = 1
    for axis in (2, *range(x_seq.dim() - 1, 2, -1), 1):
        if shape[axis] != 1 and stride[axis] != expected:
            return False
        expected *= shape[axis]
    return expected > 0 and shape[2] > 1 and any(size > 1 for size in shape[3:])


def channels_to_end(y: Tensor) -> Tensor:
    """Return [*, B, C, spatial axes] as a view [*, B, spatial axes, C]."""
    return y.movedim(2, -1)


def channels_back(y: Tensor) -> Tensor:
    """Return [*, B, spatial axes, C] as a view [*, B, C, spatial axes]."""
    return y.movedim(-1, 2)
