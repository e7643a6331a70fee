"""Arguments of this room: whole numbers and places of samples."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import ArgumentError

__all__ = ["checked_indices", "checked_int", "checked_labels", "kind_of"]

_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


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
            f"{who}: must be integers [M], got {kind_of(places)}; turn a mask into places with nonzero().flatten()"
        )
    places = places.to("cpu", torch.int64)
    low, high = (int(v) for v in torch.aminmax(places))
    if low < 0 or high >= n:
        raise ArgumentError(f"{who}: must be in 0..{n - 1}, got {low}..{high}; count from 0")
    return places


def checked_labels(labels: Tensor, classes: tuple[str, ...], n: int, device: torch.device, who: str) -> None:
    """Raise ArgumentError unless ``labels`` are int64 [n] on ``device``, each the number of one of ``classes``."""
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64 or labels.dim() != 1 or labels.shape[0] != n:
        raise ArgumentError(
            f"{who}.labels: must be a torch.int64 tensor [{n}], one label per image, got {kind_of(labels)}; "
            "convert it with labels.to(torch.int64)"
        )
    if labels.device != device:
        raise ArgumentError(f"{who}.labels: must be on {device} like images, got {labels.device}; move both together")
    if not isinstance(classes, tuple) or not classes or len(set(classes)) != len(classes):
        raise ArgumentError(f"{who}.classes: must be a tuple of different names, got {classes!r}; name each class")
    low, high = (int(v) for v in torch.aminmax(labels))
    if low < 0 or high >= len(classes):
        raise ArgumentError(
            f"{who}.labels: must be in 0..{len(classes) - 1} for {len(classes)} classes, got {low}..{high}; "
            "number the classes from 0"
        )


def kind_of(value: Any) -> str:
    """Return what ``value`` is, for messages: type and shape of a tensor, otherwise the name of its type."""
    if isinstance(value, Tensor):
        return f"{value.dtype} {list(value.shape)}"
    return type(value).__name__
