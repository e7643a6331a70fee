"""The definition of a neuron over time, as a plain torch loop: oracle, fallback engine and export graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["fire", "multi_step", "reset"]

Charge = Callable[..., "Tensor | tuple[Tensor, ...]"]


def fire(u: Tensor, step: Callable[[Tensor], Tensor], smooth: bool = False) -> Tensor:
    """Return the spikes of ``u = h - v_threshold``: 1 where u >= 0, with the derivative of ``step`` as gradient.

    Args:
        u: any shape, floating.
        step: the surrogate's smooth step.
        smooth: return ``step(u)`` itself.
    """
    if smooth:
        return step(u)
    spike = (u >= 0).to(u.dtype)
    if not torch.is_grad_enabled():
        return spike
    soft = step(u)
    # A zero that carries the gradient of `soft`; where that is infinite or NaN the spike must not become NaN.
    return spike + torch.where(soft.isfinite(), soft - soft.detach(), 0.0)


def reset(h: Tensor, spike: Tensor, kind: str, v_threshold: float, v_reset: float, detach: bool) -> Tensor:
    """Return the potential after the reset of ``kind`` ("hard", "soft" or "none"), same shape as ``h``."""
    s = spike.detach() if detach else spike
    if kind == "hard":
        return (1.0 - s) * h + s * v_reset
    return h - s * v_threshold if kind == "soft" else h


def multi_step(
    charge: Charge,
    step: Callable[[Tensor], Tensor],
    x_seq: Tensor,
    state: Sequence[Tensor],
    *,
    v_threshold: float,
    reset_kind: str,
    v_reset: float,
    detach_reset: bool,
    smooth: bool = False,
) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
    """Run ``charge``, fire and reset over the leading dimension of ``x_seq``.

    Args:
        charge: ``charge(x, *state)`` -> state after charge (a tensor, or a tuple led by h), all shaped as ``x``.
        step: the surrogate's smooth step.
        x_seq: [T, *]; half types are computed in the dtype of the state.
        state: one tensor [*] per state, float64 or float32.
        v_threshold: fires at h >= v_threshold.
        reset_kind: "hard", "soft" or "none".
        v_reset: used by the hard reset.
        detach_reset: keep the reset out of the gradient.
        smooth: fire with ``step`` itself (gradient checks).

    Returns:
        spike_seq [T, *] in x's dtype, the last state, and v_seq [T, *] (potential after reset) in the state's dtype.
    """
    states = tuple(state)
    spikes: list[Tensor] = []
    potentials: list[Tensor] = []
    for x in x_seq.unbind(0):
        charged = charge(x.to(states[0].dtype), *states)
        h, *others = (charged,) if isinstance(charged, Tensor) else charged
        spike = fire(h - v_threshold, step, smooth)
        v = reset(h, spike, reset_kind, v_threshold, v_reset, detach_reset)
        states = (v, *others)
        spikes.append(spike)
        potentials.append(v)
    if not spikes:
        return torch.empty_like(x_seq), states, x_seq.new_empty(x_seq.shape, dtype=states[0].dtype)
    return torch.stack(spikes).to(x_seq.dtype), states, torch.stack(potentials)
