"""Neurons with a synaptic current, Lapicque's circuit, and resonate and fire."""

from __future__ import annotations

from typing import Any

import torch

from neuron.row import Row, with_resets
from snncore.neuron import Alpha, CUBALIFNode, Lapicque, RAFNode, Synaptic


def learned(*values: float) -> torch.nn.Parameter:
    """Return a parameter [] or [C]."""
    return torch.nn.Parameter(torch.tensor(values if len(values) > 1 else values[0]))


FEW = ("atan", "rect", "sigmoid")  # for the second row of the same equations

OWN_RESET = [
    Row("cubalif", CUBALIFNode, {"c_decay": 0.4, "v_decay": 0.7}),
    Row("cubalif-learned", CUBALIFNode, {"c_decay": learned(0.45), "v_decay": learned(0.6, 0.8, 0.2)}, only=FEW),
    Row("raf", RAFNode, {"b": -0.15, "omega": 0.8, "dt": 1.25}),
    Row("raf-learned", RAFNode, {"b": learned(-0.1, -0.3, -0.6), "omega": learned(1.1), "dt": 0.75}, only=FEW),
]

# the delayed neurons bring their resets along: mechanism x timing x kinds of coefficients
TIMINGS: dict[str, dict[str, Any]] = {
    "subtract-delayed": {"reset_mechanism": "subtract"},
    "subtract-at_once": {"reset_mechanism": "subtract", "reset_delay": False},
    "zero-delayed": {"reset_mechanism": "zero"},
    "zero-at_once": {"reset_mechanism": "zero", "reset_delay": False},
    "none": {"reset_mechanism": "none"},
}
COEFFICIENTS: dict[str, tuple[type, dict[str, Any]]] = {
    "synaptic": (Synaptic, {"alpha": 0.6, "beta": 0.7}),
    "synaptic-learned": (
        Synaptic,
        {
            "alpha": torch.tensor([0.3, 0.8, 0.55]), "beta": 0.65,
            "learn_alpha": True, "learn_beta": True, "learn_threshold": True,
        },
    ),
    "synaptic-learned-channels": (Synaptic, {"alpha": 0.5, "beta": learned(0.2, 0.9, 0.6), "learn_alpha": True}),
    "lapicque": (Lapicque, {"R": 1.5, "C": 1.25, "time_step": 0.75}),
    "lapicque-exact": (Lapicque, {"beta": 0.5, "R": 2.5, "exact": True}),
    "lapicque-learned": (Lapicque, {"R": learned(1.5, 1.75, 2.0), "C": learned(0.9), "learn_threshold": True}),
    "lapicque-learned-beta": (Lapicque, {"beta": torch.tensor([0.5, 0.6, 0.75]), "C": 1.5, "learn_beta": True}),
    "lapicque-learned-exact": (Lapicque, {"beta": 0.4, "C": learned(0.8, 1.0, 1.1), "learn_beta": True, "exact": True}),
}  # fmt: skip
# an alpha function answers late and low; a fast beta lets it fire within the few steps of the table
ALPHA: dict[str, dict[str, Any]] = {
    "alpha": {"alpha": 0.95, "beta": 0.3},
    "alpha-learned": {
        "alpha": torch.tensor([0.9, 0.95, 0.8]), "beta": 0.25,
        "learn_alpha": True, "learn_beta": True, "learn_threshold": True,
    },
    "alpha-learned-channels": {"alpha": 0.9, "beta": learned(0.4, 0.2, 0.3), "learn_alpha": True},
}  # fmt: skip

ALL = ("synaptic", "lapicque", "alpha")  # one of each equation meets every surrogate
ROWS = [
    *with_resets(OWN_RESET),
    *(
        Row(f"{name}-{timing}", node, {**arguments, **reset}, only=None if name in ALL else FEW)
        for name, (node, arguments) in COEFFICIENTS.items()
        for timing, reset in TIMINGS.items()
    ),
    *(
        Row(
            f"{name}-{mechanism}", Alpha, {**arguments, "reset_mechanism": mechanism}, only=None if name in ALL else FEW
        )
        for name, arguments in ALPHA.items()
        for mechanism in ("zero", "subtract", "none")
    ),
]
