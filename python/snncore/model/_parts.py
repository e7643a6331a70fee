"""What the architectures share: reading their arguments and making their neurons."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ..errors import ArgumentError
from ..neuron import BaseNode
from ..registry import nearest
from ..surrogate import ATan

__all__ = ["check_choice", "check_count", "check_images", "check_share", "checked_shape", "neuron_maker", "with_atan"]


def check_count(who: str, value: object) -> None:
    """Raise ArgumentError unless ``value`` is a whole number >= 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ArgumentError(f"{who}: must be a whole number >= 1, got {value!r}; give such a number")


def neuron_maker(
    model: type[nn.Module], spiking_neuron: type[BaseNode], neuron_args: Mapping[str, Any]
) -> Callable[..., BaseNode]:
    """Return a function that makes one more neuron with each call.

    A tensor among ``neuron_args`` is copied for each neuron, so that a learned threshold is a neuron's own. Keywords of
    the call come before ``neuron_args``; one that the neuron does not have (PSN has no ``v_threshold``) is left out.

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
    # Every neuron takes these two; some hand them on in a dict, "common", that no signature shows.
    known = (_keywords(spiking_neuron) - {"common"}) | {"engine", "store_v_seq"}
    for key in neuron_args:
        if key not in known:
            names = sorted({*_keywords(model), *known} - {"step_mode", "spiking_neuron", "residual"})
            guess = nearest(key, names)
            hint = f"did you mean {guess!r}? " if guess else ""
            raise ArgumentError(f"{who}.{key}: must be one of {', '.join(names)}; {hint}use a listed name")

    def make(**more: Any) -> BaseNode:
        own = {key: value for key, value in more.items() if key in known}
        return spiking_neuron(**{**copy.deepcopy(dict(neuron_args)), **own})

    return make


def check_choice(who: str, value: object, choices: Sequence[str]) -> None:
    """Raise ArgumentError unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ArgumentError(f"{who}: must be one of {', '.join(choices)}, got {value!r}; use a listed name")


def check_share(who: str, value: object) -> None:
    """Raise ArgumentError unless ``value`` is a number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ArgumentError(f"{who}: must be a number from 0 to 1, got {value!r}; give a share")


def checked_shape(who: str, in_shape: tuple[int, int, int], halvings: int) -> tuple[int, int, int]:
    """Return ``in_shape`` (C, H, W) as a tuple, or raise ArgumentError where that many poolings 2x2 leave nothing."""
    sizes = tuple(in_shape) if isinstance(in_shape, (tuple, list)) else ()
    if len(sizes) != 3:
        raise ArgumentError(f"{who}: must be (C, H, W), got {in_shape!r}; give three numbers")
    for name, size in zip("CHW", sizes, strict=True):
        check_count(f"{who} ({name})", size)
    C, H, W = sizes
    least = 2**halvings
    if min(H, W) < least:
        raise ArgumentError(
            f"{who}: must have H and W of at least {least}, got H={H}, W={W}; "
            f"{halvings} poolings 2x2 leave nothing of less: enlarge or pad the images"
        )
    return C, H, W


def check_images(who: str, x: Tensor, in_shape: tuple[int, int, int]) -> None:
    """Raise ArgumentError unless ``x`` [..., C, H, W] are images of ``in_shape``."""
    if x.shape[-3:] != in_shape:
        raise ArgumentError(
            f"{who}: must end in the axes (C, H, W) = {in_shape}, got {list(x.shape)}; "
            f"build the net with in_shape={tuple(x.shape[-3:])}, or reshape x"
        )


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
