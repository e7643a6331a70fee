"""Architectures, one a file, found by name in `MODELS`."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..registry import lookup
from .csnn import CSNN
from .mlp import MLP

__all__ = ["CSNN", "MLP", "MODELS", "build"]

MODELS: dict[str, type[nn.Module]] = {
    "csnn": CSNN,
    "mlp": MLP,
}


def build(name: str, **args: Any) -> nn.Module:
    """Make the model called ``name`` in `MODELS`.

    Args:
        name: a key of `MODELS`.
        **args: arguments of its constructor.

    Raises:
        UnknownNameError: there is no such model; the message lists those there are.
        ArgumentError: an argument does not fit.
    """
    return lookup(MODELS, name, "model.build.name")(**args)
