"""Gradients kept within bounds, and gradients that are not finite told by the name of their parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..errors import ArgumentError, NumericError
from .sharded import is_divided

__all__ = ["clip_gradients", "non_finite"]

T = TypeVar("T", bound=Tensor)


def clip_gradients(
    net: nn.Module, max_norm: float | None = None, max_value: float | None = None, *, check: bool = False
) -> Tensor | None:
    """Bound the gradients of ``net`` in place: first each element, then the norm of all of them together.

    Call it between ``backward`` and ``optimizer.step``; behind a gradient scaler after its ``unscale_``, without
    ``check``: the scaler looks for gradients that are not finite itself, passes that step over and lowers its scale.

    Args:
        net: its parameters' ``grad``; those without one are passed over.
        max_norm: the L2 norm that is not to be exceeded, > 0; None: any.
        max_value: the absolute value that no element is to exceed, > 0; None: any.
        check: raise if a gradient is not finite, before anything is changed. Waits for the device.

    Returns:
        The norm [] before it was bounded (after ``max_value``), on its device without waiting for it; None where
        neither ``max_norm`` nor ``check`` asks for it, or no parameter has a gradient.

    Raises:
        ArgumentError: a bound is not greater than 0.
        NumericError: a gradient is not finite; names the first such parameters.
    """
    for name, bound in (("max_norm", max_norm), ("max_value", max_value)):
        if bound is not None and not bound > 0:
            raise ArgumentError(f"clip_gradients.{name}: must be greater than 0, got {bound}; pass None for no bound")
    having = [parameter for parameter in net.parameters() if parameter.grad is not None]
    gradients = [parameter.grad for parameter in having if parameter.grad is not None]
    if not gradients or (max_norm is None and max_value is None and not check):
        return None
    norm = None
    if check:
        norm = _total_norm(gradients)
        if not bool(torch.isfinite(norm)):
            raise NumericError(_told(net))
    if max_value is not None:
        for alike in _alike(having):
            torch.nn.utils.clip_grad_value_(alike, max_value)
    if max_norm is not None:
        norm = _total_norm(gradients) if norm is None or max_value is not None else norm
        for alike in _alike(having):
            torch.nn.utils.clip_grads_with_norm_(alike, max_norm, norm)
    return norm


def non_finite(net: nn.Module) -> list[tuple[str, int, int]]:
    """Return (name, elements not finite, elements) of every parameter whose gradient has any. Waits for the device."""
    return list(_non_finite(net))


def _whole(value: Tensor) -> Tensor:
    """Return the value of all shards together."""
    return value.full_tensor() if is_divided(value) else value  # type: ignore[attr-defined]


def _alike(tensors: Sequence[T]) -> list[list[T]]:
    """Return ``tensors`` grouped for foreach functions, which take either shards or whole ones."""
    groups: dict[bool, list[T]] = {}
    for tensor in tensors:
        groups.setdefault(is_divided(tensor), []).append(tensor)
    return list(groups.values())


def _total_norm(gradients: Sequence[Tensor]) -> Tensor:
    """Return the norm of all ``gradients`` [], shards or not."""
    norms = [_whole(torch.nn.utils.get_total_norm(alike)) for alike in _alike(gradients)]
    return norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))


def _non_finite(net: nn.Module) -> Iterator[tuple[str, int, int]]:
    for name, parameter in net.named_parameters():
        if parameter.grad is not None:
            bad = int(_whole((~torch.isfinite(parameter.grad)).sum()))
            if bad:
                yield name, bad, parameter.grad.numel()


def _told(net: nn.Module) -> str:
    found = non_finite(net)
    if not found:  # finite elements whose squares together are not
        biggest = max(
            (
                (float(_whole(p.grad.abs().max())), name)
                for name, p in net.named_parameters()
                if p.grad is not None and p.numel()
            )
        )
        got = f"elements up to {biggest[0]:.3g} (in {biggest[1]}), whose squares overflow"
    else:
        named = ", ".join(f"{name} ({bad} of {of})" for name, bad, of in found[:3])
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        got = f"inf or nan in {named}{more}"
    tensors = chain(net.named_parameters(), net.named_buffers())
    wrong = [name for name, tensor in tensors if not bool(_whole(torch.isfinite(tensor).all()))]
    already = f"; not finite already: {', '.join(wrong[:3])}" if wrong else ""
    return (
        f"gradients: must be finite, got {got}{already}; lower the learning rate, bound the gradients from the start "
        "(--clip-grad-norm 1), or compute in float32 (--amp off), and look for inf or nan in the data"
    )
