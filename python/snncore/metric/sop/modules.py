"""Layers that are counted as modules. Nothing need be watched in them then, which takes longer than small operators do.

The counts are those of ``operators``, of the same tensors. Whatever is unusual about a call is left to the watch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ... import layer
from ...neuron import NEURONS
from ...ops import spike_count
from ...ops.transforms import transformed
from .forward import Forward
from .operators import Plan, conv_plan, count_linear, linear_plan

__all__ = ["WITHOUT_SYNAPSES", "count_module", "has_no_hooks", "is_countable", "only_calls_children"]

# By class, for a subclass may do more; layers of both torch.nn and snncore.layer.
_NAMES = [
    "Identity",
    "Flatten",
    "ReLU",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "GroupNorm",
    "LayerNorm",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
]
WITHOUT_SYNAPSES = frozenset(
    [
        *(getattr(room, name) for room in (nn, layer) for name in _NAMES if hasattr(room, name)),
        *NEURONS.values(),
    ]
)
_CONVOLUTIONS = {getattr(room, f"Conv{dims}d"): dims for room in (nn, layer) for dims in (1, 2, 3)}
_LINEAR = frozenset([nn.Linear, layer.Linear])


def has_no_hooks(module: nn.Module, but: int) -> bool:
    """Return whether ``module`` has no hooks, ``but`` so many of each kind, of the counter itself."""
    return len(module._forward_pre_hooks) == len(module._forward_hooks) == but


def is_countable(module: nn.Module) -> bool:
    """Return whether ``count_module`` may count ``module``: a plain layer, in which no hook of others runs."""
    plain = "weight" in module._parameters and has_no_hooks(module, but=1)
    if type(module) in _CONVOLUTIONS:
        return plain and module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return plain and type(module) in _LINEAR


def only_calls_children(module: nn.Module) -> bool:
    """Return whether ``module`` runs nothing but its children, each of which has the counter's hooks or needs none."""
    return type(module) is nn.Sequential and not any(
        isinstance(child, torch.jit.ScriptModule)
        or child._compiled_call_impl is not None
        or (type(child) in WITHOUT_SYNAPSES and not has_no_hooks(child, but=0))
        for child in module.children()
    )


def count_module(forward: Forward, module: Any, args: tuple[Any, ...], static: bool) -> bool:
    """Count the call of a layer that ``is_countable``; False, and nothing counted, if it must be watched instead."""
    x, weight = args[0], module.weight
    if type(x) is not Tensor or transformed() or torch._C._current_graph_task_id() != -1:
        return False
    if x.dtype != weight.dtype or x.device != weight.device or torch.is_autocast_enabled(x.device.type):
        return False
    step = x[0] if static else x
    if not step.is_contiguous() or x in forward.weights or forward.margins(x) is not None:
        return False
    key = ("module", x.shape, static, forward.T, forward.B)
    plan = forward.weights.fact(weight, key, lambda: _plan(forward, module, x, static))
    if plan is None:
        return False
    if plan.kind == "linear":
        count_linear(forward, step, plan)
    else:
        counts = spike_count(step, plan.place.rows, plan.fan, plan.eff)
        forward.add(plan.kind, counts, plan.geometry, plan.place)
    return True


def _plan(forward: Forward, module: Any, x: Tensor, static: bool) -> Plan | None:
    """Return how to count ``module`` of ``x``; None: not as a module."""
    if static:
        x = x[0]
    elif getattr(module, "step_mode", "s") == "m" and x.dim() > 1:
        x = x.flatten(0, 1)
    dims = _CONVOLUTIONS.get(type(module))
    plan: Plan | str
    if dims is None:
        if x.dim() < 2 or x.shape[-1] != module.in_features:
            return None
        plan = linear_plan(forward, x, module.weight.t(), module.bias, tuple(x.shape[:-1]))
    else:
        if x.dim() != dims + 2 or x.shape[1] != module.in_channels:
            return None
        given = {name: getattr(module, name) for name in ("stride", "padding", "dilation", "output_padding", "groups")}
        plan = conv_plan(
            forward,
            {"input": x, "weight": module.weight, "bias": module.bias, "transposed": False, **given},
            last=False,
        )
    return None if isinstance(plan, str) or plan.place.axis else plan
