"""Layers that are counted as modules. Nothing need be watched in them then, which takes longer than small operators do.

The counts are those of ``operators``, of the same tensors. Whatever is unusual about a call is left to the watch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ... import layer
from ...neuron import NEURONS
from ...ops.transforms import transformed
from .forward import Forward, Plan
from .operators import conv_plan, count_linear, linear_plan

__all__ = [
    "WITHOUT_SYNAPSES",
    "Children",
    "Repeat",
    "children_of",
    "count_again",
    "count_module",
    "has_no_hooks",
    "is_countable",
    "only_calls_children",
    "repeat_of",
]

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

Children = list[tuple[nn.Module, int]]


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


def children_of(module: nn.Module) -> Children:
    """Return the children of ``module`` and how many hooks each has: what ``only_calls_children`` judges by."""
    return [(c, len(c._forward_pre_hooks) + len(c._forward_hooks)) for c in module._modules.values() if c is not None]


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
    plan = _known_plan(forward, module, x, static)
    if plan is None:
        return False
    _count(forward, x, plan, static)
    return True


def _count(forward: Forward, x: Tensor, plan: Plan, static: bool) -> None:
    step = x[0] if static else x
    if plan.kind == "linear":
        count_linear(forward, step, plan)
    else:
        forward.count(step, plan)


class Repeat(NamedTuple):
    """The call of a layer that ``count_module`` has counted.

    One that is just like it is counted the same way, and less is looked at: between the kernels of a net nothing is in
    the caches, so that every look at a tensor costs as much as counting some thousand spikes.
    """

    shape: torch.Size
    stride: tuple[int, ...]
    device: torch.device
    requires_grad: bool
    weight: Tensor
    storage: torch.UntypedStorage  # kept alive, so that another one has another address
    address: int
    version: int
    writes: int
    T: int
    B: int
    static: bool
    plan: Plan


def repeat_of(forward: Forward, module: Any, x: Tensor, static: bool) -> Repeat | None:
    """Return what a further call of ``module`` has to be like; None: it must be looked at in full."""
    weight, plan = module.weight, _known_plan(forward, module, x, static)
    if plan is None or weight.is_inference() or (static and x.requires_grad) or torch._C._is_tracing():
        return None
    return Repeat(
        x.shape, x.stride(), x.device, x.requires_grad, weight, weight.untyped_storage(),
        weight.data_ptr(), weight._version, forward.weights.writes,
        forward.T, forward.B, static, plan,
    )  # fmt: skip


def count_again(forward: Forward, module: Any, x: Any, last: Repeat) -> bool:
    """Count ``module`` called with ``x`` if the call is like its ``last`` one; False, and nothing counted, if not.

    Nothing is watched around it (``only_calls_children``), so that it has no new hooks.
    """
    weight = module._parameters.get("weight")
    same = (
        type(x) is Tensor
        and weight is last.weight
        and (forward.T, forward.B, forward.weights.writes) == (last.T, last.B, last.writes)
        and weight.data_ptr() == last.address
        and weight._version == last.version
        and x.shape == last.shape
        and x.stride() == last.stride
        and x.device == last.device
        and x.requires_grad == last.requires_grad
        and not transformed()
        and torch._C._current_graph_task_id() == -1
        and not torch._C._is_any_autocast_enabled()
        and forward.margins(x) is None
        and x not in forward.weights
    )
    if same:
        _count(forward, x, last.plan, last.static)
    return same


def _known_plan(forward: Forward, module: Any, x: Tensor, static: bool) -> Plan | None:
    key = ("module", x.shape, static, forward.T, forward.B)
    plan: Plan | None = forward.weights.fact(module.weight, key, lambda: _plan(forward, module, x, static))
    return plan


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
