"""Optimisers by name, and which parameters are decayed how much.

The course of the learning rate is in ``schedule``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim import SGD, Adam, Adamax, AdamW, Optimizer, RMSprop

from ..errors import ArgumentError, ConfigError
from ..layer import TemporalEffective
from ..neuron import BaseNode
from ..registry import lookup
from .schedule import SCHEDULES, learning_rate, set_learning_rate

if TYPE_CHECKING:
    from .config import OptimConfig

__all__ = ["OPTIMIZERS", "SCHEDULES", "learning_rate", "make_optimizer", "parameter_groups", "set_learning_rate"]

Group = dict[str, Any]
Parameters = Iterable[nn.Parameter] | Iterable[Group]


def _sgd(parameters: Parameters, c: OptimConfig) -> Optimizer:
    return SGD(parameters, lr=c.lr, momentum=c.momentum, weight_decay=c.weight_decay)


def _nesterov(parameters: Parameters, c: OptimConfig) -> Optimizer:
    if c.momentum == 0:
        raise ConfigError("optim.momentum: must be greater than 0 for nesterov, got 0.0; use 0.9, or the optimiser sgd")
    return SGD(parameters, lr=c.lr, momentum=c.momentum, weight_decay=c.weight_decay, nesterov=True)


def _adam(parameters: Parameters, c: OptimConfig) -> Optimizer:
    return Adam(parameters, lr=c.lr, weight_decay=c.weight_decay)


def _adamw(parameters: Parameters, c: OptimConfig) -> Optimizer:
    return AdamW(parameters, lr=c.lr, weight_decay=c.weight_decay)


def _adamax(parameters: Parameters, c: OptimConfig) -> Optimizer:
    return Adamax(parameters, lr=c.lr, weight_decay=c.weight_decay)


def _rmsprop(parameters: Parameters, c: OptimConfig) -> Optimizer:
    # eps and alpha as in torchvision's and SpikingJelly's reference training
    return RMSprop(parameters, lr=c.lr, momentum=c.momentum, weight_decay=c.weight_decay, eps=0.0316, alpha=0.9)


# torch has no LAMB (2.13), so there is none here
OPTIMIZERS: dict[str, Callable[[Parameters, OptimConfig], Optimizer]] = {
    "sgd": _sgd,
    "nesterov": _nesterov,
    "adam": _adam,
    "adamw": _adamw,
    "adamax": _adamax,
    "rmsprop": _rmsprop,
}


def make_optimizer(parameters: Parameters, config: OptimConfig) -> Optimizer:
    """Return the optimiser that ``config`` names.

    Args:
        parameters: parameters, or groups of them as from `parameter_groups`.
        config: its name and numbers.

    Raises:
        UnknownNameError: there is none of this name; the message lists those there are.
        ConfigError: a number does not suit it.
    """
    return lookup(OPTIMIZERS, config.name, "optim.name")(parameters, config)


_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, TemporalEffective)


def parameter_groups(net: nn.Module, config: OptimConfig) -> list[Group]:
    """Return the parameters of ``net`` in groups that differ in their weight decay.

    A parameter is, in this order: of a neuron (``tau``, thresholds, the weights of a PSN: all that a ``BaseNode``
    itself holds), of a normalisation (weight, bias, the p of TEBN), a bias, or a weight. Where ``neuron_weight_decay``,
    ``norm_weight_decay`` or ``bias_weight_decay`` is None, its parameters stay with the next kind they belong to:
    biases and neurons with the weights, a normalisation's weight with the weights and its bias with the biases. With
    all three None there is one group, in the order of ``net.parameters()``. A shared parameter is taken once, as what
    it is where the net has it first.

    Args:
        net: any module; frozen parameters too are in a group, and optimisers pass them over.
        config: the weight decays.

    Returns:
        Groups for `make_optimizer`, none empty: ``params``, ``weight_decay`` and ``kind`` ("weight", "neuron", "norm",
        "bias").

    Raises:
        ArgumentError: ``net`` has no parameters.
    """
    decay = {
        "weight": config.weight_decay,
        "neuron": config.neuron_weight_decay,
        "norm": config.norm_weight_decay,
        "bias": config.bias_weight_decay,
    }
    grouped: dict[str, list[nn.Parameter]] = {kind: [] for kind in decay}
    seen: set[nn.Parameter] = set()
    for module in net.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter not in seen:
                seen.add(parameter)
                kinds = (kind for kind in _kinds(module, name) if decay[kind] is not None)
                grouped[next(kinds)].append(parameter)
    if not seen:
        raise ArgumentError(f"parameter_groups.net: must have parameters, got {type(net).__name__} without; add layers")
    return [
        {"params": parameters, "weight_decay": decay[kind], "kind": kind}
        for kind, parameters in grouped.items()
        if parameters
    ]


def _kinds(module: nn.Module, name: str) -> Iterable[str]:
    """Yield what the parameter ``name``, held by ``module`` itself, is, the most special first."""
    if isinstance(module, BaseNode):
        yield "neuron"
    else:
        if isinstance(module, _NORMS):
            yield "norm"
        if name.endswith("bias"):  # in_proj_bias too
            yield "bias"
    yield "weight"
