"""The definition of a neuron over time, as a plain torch loop: oracle, fallback engine and export graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

__all__ = ["fire", "multi_step", "reset", "spike", "spike_count"]

Step = Callable[[Tensor], Tensor]


def spike(u: Tensor, fired: Tensor, step: Step, smooth: bool = False) -> Tensor:
    """Give ``fired``, the spikes of ``u``, the derivative of ``step`` as gradient.

    Args:
        u: any shape, floating: how far above threshold.
        fired: the spikes, of u's shape and dtype.
        step: the surrogate's smooth step.
        smooth: return ``step(u)`` itself.
    """
    if smooth:
        return step(u)
    if not torch.is_grad_enabled():
        return fired
    soft = step(u)
    # A zero that carries the gradient of `soft`; where that is infinite or NaN the spike must not become NaN.
    return fired + torch.where(soft.isfinite(), soft - soft.detach(), 0.0)


def fire(u: Tensor, step: Step, smooth: bool = False) -> Tensor:
    """Return 1 where u >= 0, else 0, with the derivative of ``step`` as gradient."""
    return spike(u, (u >= 0).to(u.dtype), step, smooth)


def reset(h: Tensor, spike: Tensor, kind: str, v_threshold: float | Tensor, v_reset: float) -> Tensor:
    """Return the potential after the reset of ``kind`` ("hard", "soft" or "none"), same shape as ``h``."""
    if kind == "hard":
        return (1.0 - spike) * h + spike * v_reset
    return h - spike * v_threshold if kind == "soft" else h


def spike_count(spike_seq: Tensor, samples: int) -> Tensor:
    """Return how many elements of spike_seq [T, *] are not zero, per step and sample: int64 [T, samples].

    A sample is as many neighbouring elements of a step as ``samples`` leaves it: the batch of [T, B, *] with B samples.
    """
    lanes = prod(spike_seq.shape[1:]) // max(samples, 1)
    return (spike_seq.detach() != 0).reshape(spike_seq.shape[0], samples, lanes).sum(2)


def _tuple(one_or_more: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    return (one_or_more,) if isinstance(one_or_more, Tensor) else tuple(one_or_more)


def multi_step(
    stages: Any,
    step: Step,
    x_seq: Tensor,
    state: Sequence[Tensor],
    *,
    v_threshold: float | Tensor,
    own: Mapping[str, Any],
    detach_state: bool = False,
    smooth: bool = False,
) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
    """Run the stages of a neuron over the leading dimension of ``x_seq``.

    Args:
        stages: gives ``charge``, ``margin``, ``fire``, ``emit`` and ``settle`` (``snncore.neuron.Stages``).
        step: the surrogate's smooth step.
        x_seq: [T, *]; half types are computed in the dtype of the state.
        state: one tensor [*] per state, float64 or float32.
        v_threshold: a number, or a tensor that broadcasts against a step.
        own: the neuron's other coefficients, likewise.
        detach_state: no gradient goes from one step to the step before (online learning).
        smooth: fire with ``step`` itself (gradient checks).

    Returns:
        spike_seq [T, *] in x's dtype, the last state, and v_seq [T, *] (potential after reset) in the state's dtype.
    """
    states = tuple(state)
    spikes: list[Tensor] = []
    potentials: list[Tensor] = []
    for x in x_seq.unbind(0):
        if detach_state:
            states = tuple(s.detach() for s in states)
        h = _tuple(stages.charge(x.to(states[0].dtype), *states, **own))
        margins = _tuple(stages.margin(h, v_threshold, **own))
        fired = tuple(spike(u, stages.fire(u.detach()), step, smooth) for u in margins)
        spikes.append(stages.emit(fired, **own))
        states = _tuple(stages.settle(h, fired, v_threshold, **own))
        potentials.append(states[0])
    if not spikes:
        return torch.empty_like(x_seq), states, x_seq.new_empty(x_seq.shape, dtype=states[0].dtype)
    return torch.stack(spikes).to(x_seq.dtype), states, torch.stack(potentials)
