"""What is done to a whole net: set its step mode, reset it, detach it.

Each function walks ``net.modules()`` anew, so a module added or exchanged since the last call is found too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from .errors import ArgumentError
from .layer import Recurrent, StatefulModule
from .layer.base import check_step_mode
from .neuron import BaseNode

__all__ = ["detach_net", "reset_net", "set_step_mode"]


def _stateful(net: nn.Module) -> Iterator[BaseNode | StatefulModule]:
    """Yield the modules of ``net`` that keep state between steps. Foreign modules are nobody's to reset here."""
    return (module for module in net.modules() if isinstance(module, (BaseNode, StatefulModule)))


def reset_net(net: nn.Module) -> None:
    """Make every neuron and every dropout mask of ``net`` start afresh with the next step."""
    for module in _stateful(net):
        module.reset()


def detach_net(net: nn.Module) -> None:
    """Cut the kept state of ``net`` off the graph that made it: its values stay, gradients stop there."""
    for module in _stateful(net):
        module.detach()


def _with_step_mode(net: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules of ``net`` that have a step mode, each once; not what is inside a recurrent container."""
    inside = {m for c in net.modules() if isinstance(c, Recurrent) for m in c.modules() if m is not c}
    return (m for m in net.modules() if hasattr(m, "step_mode") and m not in inside)


def set_step_mode(net: nn.Module, step_mode: str) -> None:
    """Set ``step_mode`` on every module of ``net`` that has one, ``net`` itself included.

    What is inside a recurrent container (`layer.LinearRecurrent`, ...) always takes one step at a time and stays as it
    is.

    Args:
        net: any module.
        step_mode: 's', one step [B, *] a call with state kept between calls, or 'm', all steps [T, B, *] at once.

    Raises:
        ArgumentError: ``step_mode`` is neither, or a module cannot work in it; nothing has been changed then.
    """
    check_step_mode("set_step_mode", step_mode)
    before: list[tuple[nn.Module, Any]] = []
    try:
        for module in _with_step_mode(net):
            before.append((module, module.step_mode))
            setattr(module, "step_mode", step_mode)  # noqa: B010 - nn.Module types its attributes otherwise
    except ArgumentError:
        for module, mode in before:
            setattr(module, "step_mode", mode)  # noqa: B010
        raise
