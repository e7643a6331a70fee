"""One row of the table the core is tested over: a neuron with its arguments."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from snncore import surrogate
from snncore.neuron import BaseNode
from snncore.ops.neuron import LEARNABLE_SURROGATES, state_dtype

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
        alpha: "number", or what the slope of the row's surrogates is: a tensor "fixed" or "learned", with "_channels"
            one per channel. Surrogates without a slope that can be learned are left out.
        error: roundings of the state, as a share of its largest value, that a step may differ by between the engines;
            more than the default only where an equation amplifies them, with the reason beside the row.
        exact: False where the engines' potentials are equal in float64 but for a few roundings (1e-12), with the reason
            beside the row; spikes are equal all the same.
        held: the states that carry no gradient past a step; finite differences hold them fixed.
        only: the surrogates this row is tested with; None: all. For a second row of the same equations.
    """

    name: str
    node: type[BaseNode]
    arguments: dict[str, Any] = field(default_factory=dict)
    spread: tuple[str, tuple[float, ...]] | None = None
    alpha: str = "number"
    error: float = 1.0
    exact: bool = True
    held: tuple[int, ...] = ()
    only: tuple[str, ...] | None = None

    def make(self, dtype: torch.dtype = torch.float64, **changes: Any) -> BaseNode:
        """Build the neuron in step_mode 'm', parameters in the dtype of states beside ``dtype``."""
        arguments = {"step_mode": "m", "v_threshold": V_THRESHOLD, **self.arguments, **changes}
        if self.alpha != "number":
            chosen = arguments.get("surrogate_function", surrogate.Sigmoid())
            arguments["surrogate_function"] = sloped(chosen, self.alpha)
        node = self.node(**copy.deepcopy(arguments)).to(state_dtype(dtype))
        if self.spread is not None:
            name, values = self.spread
            with torch.no_grad():
                getattr(node, name).copy_(torch.tensor(values))
        return node

    def surrogates(self) -> dict[str, surrogate.Surrogate]:
        """Return the surrogates this row is tested with."""
        tensors = self.alpha != "number"
        return {
            name: s for name, s in surrogates().items()
            if (self.only is None or name in self.only) and (name in LEARNABLE_SURROGATES or not tensors)
        }  # fmt: skip


def sloped(chosen: surrogate.Surrogate, alpha: str) -> surrogate.Surrogate:
    """Return ``chosen`` with its alpha as a tensor, as ``Row.alpha`` says."""
    number = chosen.numbers[0]
    value = torch.tensor(number)
    if alpha.endswith("_channels"):
        value = number * torch.linspace(0.9, 1.3, CHANNELS)
    return replace(chosen, alpha=nn.Parameter(value) if alpha.startswith("learned") else value)


def with_resets(rows: list[Row], resets: dict[str, Any] = RESETS) -> list[Row]:
    """Return every row with every kind of reset."""
    return [
        replace(row, name=f"{row.name}-{reset}", arguments={**row.arguments, "v_reset": v_reset})
        for row in rows
        for reset, v_reset in resets.items()
    ]


# every surrogate with numbers that are not its defaults; those without numbers stand alone
NUMBERS: dict[str, dict[str, float]] = {
    "atan": {"alpha": 1.5},
    "erf": {"alpha": 1.25},
    "fake_numerical_gradient": {"alpha": 0.7},
    "fast_sigmoid": {"alpha": 3.0},
    "leaky_k_relu": {"leak": 0.25, "k": 0.75},
    "log_tailed_relu": {"alpha": 0.125},
    "multi_level": {"low": -0.3, "high": 1.7},
    "nonzero_sign_log_abs": {"alpha": 1.75},
    "open_multi_level": {"low": -0.4, "high": 2.2},
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
