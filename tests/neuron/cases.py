"""The table the core is tested over (a family of neurons each in rows_*.py), and how a row is run and compared."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from neuron import (
    rows_basic,
    rows_learned,
    rows_levels,
    rows_nonlinear,
    rows_synaptic,
    rows_thresholds,
)
from neuron.row import CHANNELS, STEP_SHAPE, V_THRESHOLD, Row, surrogates
from snncore.neuron import BaseNode
from snncore.ops.neuron import state_dtype

__all__ = ["CHANNELS", "FEW", "ROWS", "STEP_SHAPE", "V_THRESHOLD", "Row", "per_channel", "surrogates", "tensors"]

FAMILIES = [rows_basic, rows_learned, rows_levels, rows_nonlinear, rows_synaptic, rows_thresholds]
ROWS: dict[str, Row] = {row.name: row for family in FAMILIES for row in family.ROWS}


def tensors(node: BaseNode) -> dict[str, Tensor]:
    """Return the node's coefficients that are tensors, learned or not."""
    return dict([*node.named_parameters(), *node.named_buffers()])


def per_channel(row: Row) -> bool:
    """True where a step must have CHANNELS channels."""
    return any(t.numel() > 1 for t in tensors(row.make()).values())


def _few() -> list[Row]:
    """Return one row of every neuron and every set of tensors, one after another with another reset or switch."""
    alike: dict[tuple[Any, ...], list[Row]] = {}
    for row in ROWS.values():
        node = row.make()
        kinds = tuple((name, t.numel() > 1, t.requires_grad) for name, t in tensors(node).items())
        common = isinstance(node.v_threshold, Tensor) or node.surrogate_alpha is not None  # as every neuron may have
        alike.setdefault((None if common else type(node), kinds), []).append(row)
    return [rows[number % len(rows)] for number, rows in enumerate(alike.values())]


# for what need not be looked at with every reset and switch
FEW = _few()


def inputs(dtype: torch.dtype, T: int = 6, shape: tuple[int, ...] = STEP_SHAPE, seed: int = 0) -> Tensor:
    """Return x_seq [T, *shape]: every other lane in steps of 1/8: exact in every dtype, often just at threshold."""
    generator = torch.Generator().manual_seed(seed)
    grid = torch.randint(-8, 25, (T, *shape), generator=generator).to(torch.float64) / 8
    free = torch.randn(T, *shape, generator=generator, dtype=torch.float64) * 0.9 + 0.6
    lane = torch.arange(grid[0].numel() if T else 0) % 2 == 0
    return torch.where(lane.view(shape), grid, free).to(dtype) if T else grid.to(dtype)


def start(node: BaseNode | Row, dtype: torch.dtype, shape: tuple[int, ...] = STEP_SHAPE, seed: int = 1) -> Tensor:
    """Return an initial state [states, *shape] for x_seq of ``dtype``: around rest, some potentials at threshold."""
    rest = (node.make() if isinstance(node, Row) else node).rest()
    generator = torch.Generator().manual_seed(seed)
    state = torch.randn((len(rest), *shape), generator=generator, dtype=torch.float64) * 0.5
    for k, value in enumerate(rest):
        state[k] += value
    state[0].view(-1)[::4] = V_THRESHOLD
    return state.to(torch.bfloat16).to(state_dtype(dtype))


def weights(x_seq: Tensor, states: int = 1, seed: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Return what the loss weighs spike_seq, v_seq and the last state with; the first exact in every dtype."""
    generator = torch.Generator().manual_seed(seed)
    spike = torch.randint(-8, 9, x_seq.shape, generator=generator).to(torch.float64) / 8
    v_seq = torch.randn(x_seq.shape, generator=generator, dtype=torch.float64).to(torch.bfloat16)
    last = torch.randn((states, *x_seq.shape[1:]), generator=generator, dtype=torch.float64).to(torch.bfloat16)
    state = state_dtype(x_seq.dtype)
    return spike.to(x_seq), v_seq.to(x_seq.device, state), last.to(x_seq.device, state)


def run(node: BaseNode, x_seq: Tensor, state_init: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return spike_seq, the last state [states, *] and v_seq; the one way to all three at once."""
    node.store_v_seq = True
    spike_seq, state, v_seq = node._run(x_seq, None if state_init is None else tuple(state_init.unbind(0)))
    return spike_seq, torch.stack(tuple(state)), v_seq


def evaluate(node: BaseNode, x_seq: Tensor, state_init: Tensor | None = None) -> dict[str, Tensor]:
    """Run ``node`` forward and backward; the loss weighs spikes, v_seq and the last state together.

    Returns:
        spike_seq, v_seq, last, and grad.x, grad.state, grad.<parameter> where there is one.
    """
    x_seq = x_seq.detach().requires_grad_()
    state_init = None if state_init is None else state_init.detach().requires_grad_()
    node.zero_grad()
    spike_seq, last, v_seq = run(node, x_seq, state_init)
    w_spike, w_v, w_last = weights(x_seq, len(last))
    loss = (spike_seq * w_spike).sum(dtype=v_seq.dtype) + (v_seq * w_v).sum() + (last * w_last).sum()
    loss.backward()
    out = {"spike_seq": spike_seq.detach(), "v_seq": v_seq.detach(), "last": last.detach(), "grad.x": x_seq.grad}
    if state_init is not None:
        out["grad.state"] = torch.zeros_like(state_init) if state_init.grad is None else state_init.grad
    for name, parameter in node.named_parameters():
        out[f"grad.{name}"] = parameter.grad.clone()
    return out


def margins(node: BaseNode, x_seq: Tensor, state_init: Tensor | None) -> Tensor:
    """Return u [T, conditions, *], how far above threshold the definition is at every step, in the state's dtype."""
    seen: list[Tensor] = []

    class Watched(type(node)):  # type: ignore[misc]
        def margin(self, h: tuple[Tensor, ...], v_threshold: Any, **own: Any) -> Any:
            u = super().margin(h, v_threshold, **own)
            seen.append(torch.stack((u,) if isinstance(u, Tensor) else u).detach())
            return u

    watched = copy.copy(node)
    watched.__class__ = Watched
    watched.engine = "torch"
    with torch.no_grad():
        run(watched, x_seq, state_init)
    return torch.stack(seen)


def identical(got: Tensor, want: Tensor) -> bool:
    """True where the bits are the same; NaN, where an equation without reset ran away, equals NaN."""
    number = ~want.isnan()
    return torch.equal(got.isnan(), ~number) and torch.equal(got[number], want[number])


def summed(x_seq: Tensor) -> float:
    """Return how large a sum of one term of size 1 per lane and step is, their signs mixed: ``least`` of ``close``."""
    return max(1.0, x_seq.numel() ** 0.5)


def close(what: str, got: Tensor, want: Tensor, tolerance: float, least: float = 0.0) -> None:
    """Assert |got - want| <= tolerance * (|want| + the largest |want|): cancellation is measured at what cancels.

    With few lanes all may cancel; then ``least``, the size of the terms, stands in for the largest.
    """
    bound = tolerance * (want.abs() + want.abs().max().clamp(min=least))
    off = (got - want).abs() > bound
    assert not off.any(), (
        f"{what}: {int(off.sum())} of {off.numel()} differ, by up to {float((got - want).abs().max()):.3g} "
        f"where the largest is {float(want.abs().max()):.3g}"
    )
