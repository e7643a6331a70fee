"""What the architectures share: reading their arguments and making their neurons."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ..errors import ArgumentError
from ..neuron import BaseNode
from ..registry import nearest
from ..surrogate import ATan

__all__ = ["check_count", "neuron_maker", "with_atan"]


def check_count(who: str, value: object) -> None:
    """Raise ArgumentError unless ``value`` is a whole number >= 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ArgumentError(f"{who}: must be a whole number >= 1, got {value!r}; give such a number")


def neuron_maker(
    model: type[nn.Module], spiking_neuron: type[BaseNode], neuron_args: Mapping[str, Any]
) -> Callable[[], BaseNode]:
    """Return a function that makes one more neuron with each call.

    Args:
        model: the class of the net; its arguments too are offered when a name in ``neuron_args`` is unknown.
        spiking_neuron: a neuron class.
        neuron_args: keyword arguments of every neuron.

    Raises:
        ArgumentError: ``spiking_neuron`` is not a class, or does not know a name in ``neuron_args``.
    """
    who = model.__name__
    if not isinstance(spiking_neuron, type) or not issubclass(spiking_neuron, BaseNode):
        raise ArgumentError(
            f"{who}.spiking_neuron: must be a neuron class such as neuron.LIFNode, got {spiking_neuron!r}; "
            f"give the class here and the arguments of its neurons as keywords of {who}"
        )
    if "step_mode" in neuron_args:
        raise ArgumentError(
            f"{who}.step_mode: must be that of the whole net, got {neuron_args['step_mode']!r} for its neurons; "
            "call functional.set_step_mode(net, ...) once it is built"
        )
    known = _keywords(spiking_neuron)
    for key in neuron_args:
        if key not in known:
            names = sorted({*_keywords(model), *known} - {"step_mode", "spiking_neuron"})
            guess = nearest(key, names)
            hint = f"did you mean {guess!r}? " if guess else ""
            raise ArgumentError(f"{who}.{key}: must be one of {', '.join(names)}; {hint}use a listed name")
    return lambda: spiking_neuron(**neuron_args)


def with_atan(neuron_args: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``neuron_args`` with the surrogate ATan, unless they name one."""
    if "surrogate_function" in neuron_args or "spike_grad" in neuron_args:
        return dict(neuron_args)
    return {"surrogate_function": ATan(), **neuron_args}


def _keywords(cls: type) -> set[str]:
    """Return the names that the constructor of ``cls`` takes by keyword, bases included where it passes more on."""
    names: set[str] = set()
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
        names |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names
