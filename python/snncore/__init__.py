"""snncore: fast, explicit training of spiking neural networks with PyTorch.

Rooms: ``neuron``, ``surrogate``, ``layer``, ``functional``, ``encoding``, ``model``, ``data``, ``metric``, ``train``,
``profile``; ``ops`` is the compiled core, and ``explain(net)`` says which kernel runs. Rooms are imported when first
used, so ``import snncore`` itself costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import errors

if TYPE_CHECKING:
    from . import (
        config,
        data,
        encoding,
        engine,
        functional,
        layer,
        metric,
        model,
        neuron,
        ops,
        profile,
        registry,
        surrogate,
        train,
    )
    from .engine import explain
    from .ops import build_info, keep_freed_blocks, set_cpu_capability

__all__ = [
    "build_info",
    "config",
    "data",
    "encoding",
    "engine",
    "errors",
    "explain",
    "functional",
    "keep_freed_blocks",
    "layer",
    "metric",
    "model",
    "neuron",
    "ops",
    "profile",
    "registry",
    "set_cpu_capability",
    "surrogate",
    "train",
]

__version__ = "0.1.0"

_WITHOUT_TORCH = {"config", "errors", "registry"}
_FROM = {"build_info": "ops", "explain": "engine", "keep_freed_blocks": "ops", "set_cpu_capability": "ops"}


def __getattr__(name: str) -> Any:
    if name in _FROM:
        return getattr(importlib.import_module(f".{_FROM[name]}", __name__), name)
    if name in __all__:
        if name not in _WITHOUT_TORCH:
            importlib.import_module(".ops", __name__)  # says what to do where torch or the compiled core is missing
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
