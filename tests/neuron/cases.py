"""The rows the core is tested over: every neuron with every reset, and every surrogate. A new neuron is a new row."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from snncore import surrogate
from snncore.neuron import BaseNode, IFNode, Leaky, LIFNode, ParametricLIFNode
from snncore.ops.neuron import state_dtype

CHANNELS = 3
STEP_SHAPE = (2, CHANNELS, 5)  # [B, C, L]
V_THRESHOLD = 0.75  # not 1, where a factor left out would not show

# every kind of reset of a BaseNode: v_reset
RESETS: dict[str, Any] = {"hard": 0.0, "hard-0.25": -0.25, "soft": None, "none": "none"}


@dataclass(frozen=True)
class Row:
    """One neuron with its arguments.

    Attributes:
        name: what a failing test is called.
        node, arguments: the class and how it is built.
        spread: name of a per-channel parameter and the values it gets, so that no two channels are alike.
        error: roundings of the state, as a share of its largest value, that a step may differ by between the engines;
            more than the default only where an equation amplifies them, with the reason beside the row.
        only: the surrogates this row is tested with; None: all. For a second row of the same equations.
    """

    name: str
    node: type[BaseNode]
    arguments: dict[str, Any] = field(default_factory=dict)
    spread: tuple[str, tuple[float, ...]] | None = None
    error: float = 1.0
    only: tuple[str, ...] | None = None

    def make(self, dtype: torch.dtype = torch.float64, **changes: Any) -> BaseNode:
        """Build the neuron in step_mode 'm', parameters in the dtype of states beside ``dtype``."""
        arguments = {"step_mode": "m", "v_threshold": V_THRESHOLD, **self.arguments, **changes}
        node = self.node(**arguments).to(state_dtype(dtype))
        if self.spread is not None:
            name, values = self.spread
            with torch.no_grad():
                getattr(node, name).copy_(torch.tensor(values))
        return node


    def surrogates(self) -> dict[str, surrogate.Surrogate]:
        """Return the surrogates this row is tested with."""
        return {name: s for name, s in surrogates().items() if self.only is None or name in self.only}


# the equations of the BaseNodes with a reset of their own choice
CHARGES = [
    Row("if", IFNode),
    Row("lif", LIFNode, {"tau": 1.6}),
    Row("lif-no_decay_input", LIFNode, {"tau": 2.5, "decay_input": False}),
    Row("lif-v_rest", LIFNode, {"tau": 2.0, "v_rest": -0.375}),
    Row("lif-no_decay_input-v_rest", LIFNode, {"tau": 3.0, "decay_input": False, "v_rest": 0.125}),
    Row("plif", ParametricLIFNode, {"init_tau": 1.7}),
    Row("plif-no_decay_input", ParametricLIFNode, {"init_tau": 2.2, "decay_input": False, "v_rest": -0.125}),
    Row("plif-channels", ParametricLIFNode, {"channels": CHANNELS}, ("w", (0.4, -0.3, -1.1))),
    Row(
        "plif-channels-no_decay_input",
        ParametricLIFNode,
        {"channels": CHANNELS, "decay_input": False, "v_rest": 0.25},
        ("w", (0.1, -0.7, 0.9)),
    ),
]

# Leaky brings its resets along: mechanism x timing x kinds of beta
BETAS: dict[str, dict[str, Any]] = {
    "beta": {"beta": 0.8},
    "learn_beta": {"beta": 0.7, "learn_beta": True},
    "betas": {"beta": torch.tensor([0.9, 0.35, 0.6])},
    "learn_betas": {"beta": torch.tensor([0.85, 0.2, 0.5]), "learn_beta": True},
}
LEAKY = [
    Row(
        f"leaky-{mechanism}-{'delayed' if delay else 'at_once'}-{beta}",
        Leaky,
        {"reset_mechanism": mechanism, "reset_delay": delay, **arguments},
    )
    for mechanism in ("subtract", "zero", "none")
    for delay in ((True, False) if mechanism != "none" else (True,))
    for beta, arguments in BETAS.items()
]



def with_resets(rows: list[Row], resets: dict[str, Any] = RESETS) -> list[Row]:
    """Return every row with every kind of reset."""
    return [
        replace(row, name=f"{row.name}-{reset}", arguments={**row.arguments, "v_reset": v_reset})
        for row in rows
        for reset, v_reset in resets.items()
    ]


# coefficients that every neuron shares: given per channel, and learned
PER_CHANNEL = (0.5, 0.75, 1.125)


def shared(what: str) -> dict[str, Any]:
    """Return fresh arguments: a threshold and a slope per channel, learned ("parameter") or fixed ("buffer")."""
    kind = nn.Parameter if what == "parameter" else torch.Tensor.clone
    return {
        "v_threshold": kind(torch.tensor(PER_CHANNEL, dtype=torch.float64)),
        "surrogate_function": surrogate.ATan(kind(torch.tensor((1.5, 2.0, 0.75), dtype=torch.float64))),
    }


ROWS: dict[str, Row] = {row.name: row for row in [*with_resets(CHARGES), *LEAKY]}

# one of every equation, for what need not be looked at with every reset
FEW = [
    ROWS[name]
    for name in (
        "if-soft", "if-hard-0.25", "lif-hard-0.25", "lif-no_decay_input-soft", "plif-hard", "plif-channels-soft",
        "leaky-subtract-delayed-learn_betas", "leaky-zero-delayed-beta", "leaky-subtract-at_once-learn_beta",
    )
]  # fmt: skip

# every surrogate with numbers that are not its defaults; those without numbers stand alone
NUMBERS: dict[str, dict[str, float]] = {
    "atan": {"alpha": 1.5},
    "erf": {"alpha": 1.25},
    "fake_numerical_gradient": {"alpha": 0.7},
    "fast_sigmoid": {"alpha": 3.0},
    "leaky_k_relu": {"leak": 0.25, "k": 0.75},
    "log_tailed_relu": {"alpha": 0.125},
    "nonzero_sign_log_abs": {"alpha": 1.75},
    "piecewise_exp": {"alpha": 1.5},
    "piecewise_leaky_relu": {"w": 0.6, "c": 0.05},
    "piecewise_quadratic": {"alpha": 0.8},
    "q_pseudo_spike": {"alpha": 2.5},
    "rect": {"alpha": 0.6},
    "s2nn": {"alpha": 3.0, "beta": 0.8},
    "sigmoid": {"alpha": 2.5},
    "soft_sign": {"alpha": 1.5},
    "squarewave_fourier_series": {"n": 4, "T_period": 6.0},
    "straight_through": {},
    "super_spike": {"alpha": 1.2},
}


def surrogates() -> dict[str, surrogate.Surrogate]:
    """Return one surrogate of every kind in the table, with the numbers of NUMBERS."""
    return {name: kind(**NUMBERS[name]) for name, kind in surrogate.SURROGATES.items()}


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
    return spike.to(x_seq.dtype), v_seq.to(state), last.to(state)


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
