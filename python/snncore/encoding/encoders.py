"""Encoders without parameters of their own."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ArgumentError

__all__ = ["direct", "rate"]


def direct(x: Tensor, T: int) -> Tensor:
    """Show ``x`` unchanged at every time step.

    Args:
        x: [*], any dtype.
        T: number of time steps, >= 1.

    Returns:
        x_seq: [T, *], a view of ``x`` with stride 0 over ``T``. Nothing is copied, and the layers of `snncore.layer`
        compute what follows from it once instead of ``T`` times.

    Raises:
        ArgumentError: ``T`` is not a whole number >= 1.
    """
    _check_time_steps("direct", T)
    return x.unsqueeze(0).expand(T, *x.shape)


def rate(x: Tensor, T: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw a spike at every time step with probability ``x``, independently.

    The values are checked: that reads ``x`` once, and on a GPU waits for it. Not under torch.compile.

    Args:
        x: [*], floating point, values in [0, 1]; 0 never fires, 1 always does.
        T: number of time steps, >= 1.
        generator: source of the draws, on the device of ``x``; default: torch's for that device.

    Returns:
        spike_seq: [T, *], 0 or 1 in the dtype of ``x``. No gradient flows back to ``x``.

    Raises:
        ArgumentError: ``T`` is not a whole number >= 1, or ``x`` is not floating point or not within [0, 1].
    """
    _check_time_steps("rate", T)
    if not x.is_floating_point():
        raise ArgumentError(f"rate.x: must be floating point, got {x.dtype}; divide it by its largest value")
    if not torch.compiler.is_compiling() and x.numel() > 0:
        low, high = (value.item() for value in torch.aminmax(x.detach()))
        if not (low >= 0 and high <= 1):  # so said, it catches NaN
            raise ArgumentError(f"rate.x: must be within [0, 1], got values from {low:g} to {high:g}; scale it")
    # Uniform numbers and a comparison take half the time of torch.bernoulli; float32 because a half type has too few
    # of them.
    draws = torch.rand(T, *x.shape, generator=generator, device=x.device, dtype=torch.float32)
    return (draws < x.detach()).to(x.dtype)


def _check_time_steps(who: str, T: object) -> None:
    if not isinstance(T, int) or isinstance(T, bool) or T < 1:
        raise ArgumentError(f"{who}.T: must be a whole number of time steps >= 1, got {T!r}; use T=4, say")
